//! Sequences that are longer than the model's context: found before the first step, all of them, by task and record. Where a method puts
//! soft tokens into them, in its first step.

use anyhow::{Context, Result, ensure};
use coin_plugin_api::Split;

use crate::data::prompt::Prompter;
use crate::data::task::Task;
use crate::report::format::count;

/// Records that are named; the others are counted.
const SHOWN: usize = 5;

/// Looks at the training records, as each seed words them, of the tasks that are still `trained`, and at the first `limit` test records,
/// or all, of every task. Few of them are tokenised: most are short enough by their bytes alone.
///
/// # Errors
/// Records that do not fit into what `soft` tokens of a method leave of `positions`.
pub fn check(
    tasks: &[Task],
    prompters: &[Prompter],
    seeds: &[u64],
    limit: Option<usize>,
    positions: usize,
    soft: usize,
    trained: &dyn Fn(usize) -> bool,
) -> Result<()> {
    let room = positions.saturating_sub(soft);
    for (place, (task, prompter)) in tasks.iter().zip(prompters).enumerate() {
        let mut long: Vec<String> = Vec::new();
        let mut found = 0;
        for (split, seeds, limit, name) in
            [(Split::Train, seeds, None, "training"), (Split::Test, &[0][..], limit, "test")]
        {
            if split == Split::Train && !trained(place) {
                continue;
            }
            let mut number = 0;
            task.each_record(split, limit, &mut |record| {
                let has_image = record.image.is_some();
                let answer = match split {
                    Split::Train => record.answers.first().map_or("", String::as_str),
                    _ => "",
                };
                let mut longest = 0;
                for &seed in seeds {
                    let prompt = task.worded(split, number, &record, seed);
                    if prompter.at_most(&prompt, answer) <= room {
                        continue;
                    }
                    let tokens = match split {
                        Split::Train => prompter.example(&prompt, has_image, answer).map(|it| it.input_ids),
                        _ => prompter.prompt(&prompt, has_image),
                    };
                    let tokens = tokens
                        .with_context(|| format!("task {}: {name} record `{}`", task.name, record.id))?;
                    longest = longest.max(tokens.len());
                }
                if longest > room {
                    found += 1;
                    if long.len() < SHOWN {
                        long.push(format!("{name} record `{}` has {longest} tokens", record.id));
                    }
                }
                number += 1;
                Ok(())
            })?;
        }
        ensure!(
            found == 0,
            "task {}: {} {} not fit {}: {}{}\nhint: shorten them or take them out of the annotation files, or choose a model with a longer context",
            task.name,
            count(found as f64),
            if found == 1 { "record does" } else { "records do" },
            match soft {
                0 => format!("the model's {positions} positions"),
                _ => format!("beside {soft} soft tokens into the model's {positions} positions"),
            },
            long.join(", "),
            if found > long.len() { ", .." } else { "" }
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use coin_plugin_api::{DatasetDescription, Record};
    use tch::{Device, Kind};

    use super::*;
    use crate::data::image::Transform;
    use crate::data::prompt::Template;
    use crate::data::source::Source;
    use crate::data::task::{Instruction, Pictures};
    use crate::eval::scorer::Metric;
    use crate::model::Backbone;

    /// Words of the training and of the test questions; answers have three.
    struct Made([Vec<usize>; 2]);

    impl Made {
        fn of(&self, split: Split) -> &[usize] {
            &self.0[usize::from(split == Split::Test)]
        }
    }

    impl Source for Made {
        fn describe(&self) -> Result<DatasetDescription> {
            Ok(DatasetDescription::default())
        }

        fn len(&self, split: Split) -> Result<usize> {
            Ok(self.of(split).len())
        }

        fn records(&self, split: Split, start: usize, end: usize) -> Result<Vec<Record>> {
            let made = |(number, words): (usize, &usize)| Record {
                id: format!("{}-{}", split.name(), start + number),
                question: vec!["is"; *words].join(" "),
                answers: vec![String::from("a cat cat")],
                ..Record::default()
            };
            Ok(self.of(split)[start..end].iter().enumerate().map(made).collect())
        }

        fn files(&self) -> Result<Vec<PathBuf>> {
            Ok(Vec::new())
        }

        fn verify(&self) -> Result<Vec<String>> {
            Ok(Vec::new())
        }

        fn score(&self, _: &str, _: &Record) -> Result<Option<f64>> {
            Ok(None)
        }
    }

    fn checked(train: &[usize], test: &[usize], limit: Option<usize>, soft: usize) -> Result<()> {
        checked_of(train, test, limit, soft, true)
    }

    fn checked_of(
        train: &[usize],
        test: &[usize],
        limit: Option<usize>,
        soft: usize,
        trained: bool,
    ) -> Result<()> {
        let (_, tokenizer) = Backbone::builtin_tiny(Device::Cpu, Kind::Float).unwrap();
        let prompter = Prompter::new(Template::named("tiny").unwrap(), &tokenizer, 4, 16).unwrap();
        let source = Box::new(Made([train.to_vec(), test.to_vec()]));
        let pictures = Pictures { root: PathBuf::new(), transform: Transform::tiny(), blank: false };
        let instruction = Instruction::new(&crate::config::Instruction::original());
        let task = Task::new("gqa".into(), Metric::ExactMatch, 4, source, instruction, pictures);
        check(&[task], &[prompter], &[0, 1], limit, 100, soft, &|_| trained)
    }

    /// Of 100 positions the template takes three tokens of a prompt, and answer and end four more of an example.
    #[test]
    fn what_fits_to_the_last_position_is_taken_and_what_does_not_is_named() {
        checked(&[1, 93], &[97], None, 0).unwrap();
        let error = checked(&[94, 1, 200], &[98], None, 0).unwrap_err().to_string();
        for said in [
            "task gqa: 3 records",
            "100 positions",
            "training record `train-0` has 101 tokens",
            "training record `train-2` has 207 tokens",
            "test record `test-0` has 101 tokens",
            "hint:",
        ] {
            assert!(error.contains(said), "{said}: {error}");
        }
        checked(&[1], &[1, 98], Some(1), 0).unwrap();
        checked(&[1, 88], &[92], None, 5).unwrap();
        checked_of(&[89], &[92], None, 5, false).unwrap();
        checked_of(&[89], &[93], None, 5, false).unwrap_err();
        let error = checked(&[1, 89], &[92], None, 5).unwrap_err().to_string();
        assert!(error.contains("1 record does not fit beside 5 soft tokens into the model's 100"), "{error}");
        let error = checked(&[200; 9], &[1], None, 0).unwrap_err().to_string();
        assert!(
            error.contains("9 records") && error.contains("`train-4`") && !error.contains("`train-5`"),
            "{error}"
        );
    }
}
