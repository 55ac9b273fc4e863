//! The shipped datasets on files in CoIN's layout: those of the quickstart.

use coin_host::config::{Plugins, Trust};
use coin_host::plugin::Catalog;
use coin_host::plugin::discover::Surroundings;
use coin_host::quickstart;
use coin_plugin_api::Split;

use crate::built;

#[test]
fn all_eight_tasks_of_the_quickstart_are_read() {
    let root = tempfile::tempdir().expect("a temporary folder");
    quickstart::generate(root.path()).expect("the quickstart's files");
    let plugins = Plugins { dirs: Vec::new(), dev: vec![built::folder()], trust: Trust::Locked };
    let surroundings = Surroundings { program: Some(built::folder()), ..Surroundings::default() };
    let plugin =
        Catalog::open_in(&plugins, &surroundings).load("coin-datasets").expect("the plugin was built");
    for (place, (name, metric)) in [
        ("scienceqa", "multiple-choice"),
        ("textvqa", "textvqa"),
        ("imagenet", "classification"),
        ("gqa", "gqa"),
        ("vizwiz", "vizwiz"),
        ("grounding", "grounding"),
        ("vqav2", "vqa-soft"),
        ("ocrvqa", "ocr-vqa"),
    ]
    .into_iter()
    .enumerate()
    {
        let dataset =
            plugin.open_dataset(name, root.path(), &toml::Table::new()).expect("a task of the quickstart");
        assert_eq!(dataset.describe().expect("a description").metric, metric);
        let counts =
            [Split::Train, Split::Val, Split::Test].map(|split| dataset.len(split).expect("files to read"));
        assert_eq!(
            (counts[0] + counts[1], counts[2]),
            (quickstart::tasks::TRAIN_ITEMS, quickstart::tasks::TEST_ITEMS)
        );
        assert!(counts[1] > 0, "{name}");

        let records = dataset.records(Split::Test, 0..counts[2]).expect("good records");
        let questions = quickstart::tasks::pictures(place, quickstart::tasks::Split::Test);
        for (record, question) in records.iter().zip(questions.iter().flat_map(|picture| &picture.questions))
        {
            let stored: Vec<&str> = [Some(record.question.as_str()), record.instruction.as_deref()]
                .into_iter()
                .flatten()
                .collect();
            assert_eq!(stored.join("\n"), question.stored_text(), "{name}");
            assert_eq!(
                (&record.options, &record.answers[0], record.bbox),
                (&question.options, &question.answer, question.bbox)
            );
            let image = record.image.as_ref().expect("every question has a picture");
            assert!(root.path().join(image).is_file(), "{image}");
        }
    }
}
