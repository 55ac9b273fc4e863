//! What is read is what stands in the files.

use super::*;

fn folder(name: &str, train: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("example-dataset-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("train.tsv"), train).expect("written");
    std::fs::write(folder.join("test.tsv"), "t1\t\tWhat is two and two?\tfour\n").expect("written");
    folder
}

#[test]
fn records_have_pictures_questions_and_answers() {
    let folder = folder("records", "a\tcat.png\tWhat is it?\tcat\nb\t\tWhat is one and one?\ttwo\n");
    let dataset = open(&folder, "validation_tenths = 0").expect("good files");
    let train = dataset.records(Split::Train, 0, 2).expect("two records");
    assert_eq!((train[0].image.as_deref(), train[0].answers[0].as_str()), (Some("cat.png"), "cat"));
    assert_eq!((train[1].image.as_deref(), train[1].question.as_str()), (None, "What is one and one?"));
    assert_eq!(dataset.files().expect("known").len(), 2);
    assert_eq!(dataset.len(Split::Test).expect("known"), 1);
    std::fs::remove_dir_all(folder).expect("removed");
}

#[test]
fn a_line_of_another_form_is_refused_with_its_number() {
    let folder = folder("columns", "a\tcat.png\tWhat is it?\tcat\nb two\n");
    let error = open(&folder, "").err().expect("refused").to_string();
    assert!(error.contains("line 2: four columns"), "{error}");
    std::fs::remove_dir_all(folder).expect("removed");
}
