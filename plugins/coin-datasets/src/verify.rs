//! The check of a task's records: everything that can be wrong with them. Pictures are the host's to check: it decodes them.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use coin_plugin_api::{FILE_READ, Record, Verification};

use crate::dataset::FileDataset;
use crate::file::RecordFile;
use crate::index::Layout;
use crate::json::Value;
use crate::record::record;
use crate::side::Truths;
use crate::split::held_out;

/// Lines for one kind of problem in one file before the rest is only counted.
const SHOWN: usize = 20;

/// Counts and problems of all files of a task. A file that is missing or damaged is a problem, not an error.
pub(crate) fn verify(dataset: &FileDataset) -> Verification {
    let mut found = Verification::default();
    let truths = dataset.truths().unwrap_or_else(|error| {
        found.problems.push(error.to_string());
        None
    });
    let files = &dataset.files;
    let mut held = Vec::new();
    let train = check(dataset, &files.train, None, Some(&mut held), &mut found);
    let val = files.val.as_deref().and_then(|path| check(dataset, path, None, None, &mut found));
    let test = check(dataset, &files.test, truths, None, &mut found);
    let count = |file: &Option<RecordFile>| file.as_ref().map_or(0, RecordFile::len);
    found.counts = match files.val {
        Some(_) => [count(&train), count(&val), count(&test)],
        None => [count(&train) - held.len(), held.len(), count(&test)],
    };
    dataset.remember(train, val, &held);
    dataset.remember_test(test);
    if let Some((_, path)) = files.side.as_ref().filter(|_| truths.is_some()) {
        note(dataset, path, &mut found);
    }
    found
}

/// Notes that a file was read.
fn note(dataset: &FileDataset, path: &Path, found: &mut Verification) {
    let path = path.strip_prefix(&dataset.root).unwrap_or(path);
    found.problems.push(format!("{FILE_READ}{}", path.display()));
}

/// Problems of one kind: the first ones, and how many there are.
#[derive(Default)]
struct Lines {
    shown: Vec<String>,
    count: usize,
}

/// Looks at every record of a file; `held` takes those that are set aside, where no other file is for validation.
fn check(
    dataset: &FileDataset,
    path: &Path,
    truths: Option<&Truths>,
    held: Option<&mut Vec<u32>>,
    found: &mut Verification,
) -> Option<RecordFile> {
    let file = match RecordFile::open_damaged(path, Layout::Records) {
        Ok(file) => file,
        Err(error) => {
            found.problems.push(error.to_string());
            return None;
        }
    };
    let mut held = held.filter(|_| dataset.files.val.is_none());
    let mut kinds: BTreeMap<&'static str, Lines> = BTreeMap::new();
    let mut ids: HashSet<Box<str>> = HashSet::new();
    let numbers: Vec<u32> = (0..file.len() as u32).collect();
    let read = file.each_value(&numbers, &mut |number, value| {
        let mut report = |kind, what: String| {
            let lines = kinds.entry(kind).or_default();
            lines.count += 1;
            if lines.shown.len() < SHOWN {
                lines.shown.push(format!("record {number}: {what}"));
            }
        };
        let read = value.and_then(|value| {
            if let Some(held) = &mut held
                && held_out(&value, number, dataset.validation)
            {
                held.push(number as u32);
            }
            marks(&value, &mut report);
            record(&value, number, &dataset.form, truths)
        });
        match read {
            Ok(record) => {
                faults(&record, dataset.form.options, &mut report);
                if !ids.insert(record.id.as_str().into()) {
                    report("duplicate", format!("the id `{}` stands in an earlier record too", record.id));
                }
            }
            Err(why) => report("unreadable", why),
        }
        Ok(())
    });
    let named = |what: &str| format!("{}: {what}", path.display());
    found.problems.extend(read.err().map(|error| error.to_string()));
    found.problems.extend(file.damage().map(named));
    for lines in kinds.values() {
        found.problems.extend(lines.shown.iter().map(|line| named(line)));
        if lines.count > SHOWN {
            found.problems.push(named(&format!("{} more like the last", lines.count - SHOWN)));
        }
    }
    note(dataset, path, found);
    Some(file)
}

/// Whether a record asks about a picture that it does not name.
fn marks(value: &Value, report: &mut impl FnMut(&'static str, String)) {
    let turn = value.get("conversations").and_then(Value::list).and_then(|turns| turns.first());
    let text = turn.and_then(|turn| turn.get("value")).or_else(|| value.get("text")).and_then(Value::text);
    if value.get("image").is_none() && text.is_some_and(|text| text.contains("<image>")) {
        report("picture", String::from("it asks about a picture and names none"));
    }
}

/// What is wrong with a record that can be read.
fn faults(record: &Record, has_options: bool, report: &mut impl FnMut(&'static str, String)) {
    if record.answers.iter().any(|answer| answer.trim().is_empty()) {
        report("answer", String::from("an answer is empty"));
    }
    if has_options {
        let mut letters = record.answers[0].trim().chars();
        let place =
            letters.next().filter(char::is_ascii_uppercase).map(|letter| letter as usize - 'A' as usize);
        if record.options.is_empty() {
            report("options", String::from("no options `A. ..` at the end of the question"));
        } else if letters.next().is_some() || place.is_none_or(|place| place >= record.options.len()) {
            report(
                "options",
                format!("the answer `{}` is none of {} options", record.answers[0], record.options.len()),
            );
        }
    }
    if let Some([left, top, right, bottom]) = record.bbox {
        let inside = [left, top, right, bottom].iter().all(|value| (0.0..=1.0).contains(value));
        if !inside || left >= right || top >= bottom {
            report("box", format!("[{left}, {top}, {right}, {bottom}] is not a box x1, y1, x2, y2 in 0..1"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixture::Folder;
    use crate::task::Task;

    const CHOICE: Task = Task { folder: "ScienceQA", options: true, ..Task::PHRASE };
    const BOXES: Task = Task { folder: "Grounding", boxes: true, ..Task::PHRASE };

    fn verified(folder: &Folder, config: &str) -> (Vec<String>, Vec<String>, [usize; 3]) {
        let found = folder.open(config).and_then(|dataset| dataset.verify()).expect("files to check");
        let (files, problems) = found.problems.into_iter().partition(|line| line.starts_with(FILE_READ));
        (problems, files, found.counts)
    }

    #[test]
    fn good_files_have_no_problems() {
        let folder = Folder::new(&Task::PHRASE);
        folder.write_training(40);
        folder
            .write("test.json", &json!([{"question_id": 1, "image": "p/0.gif", "text": "q", "answer": "a"}]));
        let (problems, files, counts) = verified(&folder, "validation = 0.25");
        assert_eq!(problems, [""; 0]);
        assert_eq!(
            files,
            ["file: Instructions_Original/train.json", "file: Instructions_Original/test.json"]
        );
        assert_eq!((counts[0] + counts[1], counts[2]), (40, 1));
        assert!(counts[1] > 0);
    }

    #[test]
    fn each_problem_is_named_with_its_record() {
        let folder = Folder::new(&CHOICE);
        let question =
            "Which?\nA. milk\nB. a brick\nAnswer with the option's letter from the given choices directly.";
        let item = |id: u32, image: &str| json!({"question_id": id, "image": image, "text": question, "answer": "B"});
        folder.write(
            "test.json",
            &json!([
                item(1, "good.gif"),
                item(1, "good.gif"),
                item(5, "a/../../good.gif"),
                item(6, "/good.gif"),
                {"question_id": 7, "text": question, "answer": "C"},
                {"question_id": 8, "text": "Which?", "answer": "A"},
                {"question_id": 9, "text": "<image>\nWhich?\nA. a\nB. b", "answer": " "},
                {"question_id": 10, "image": 5},
            ]),
        );
        folder.write_text(
            "train.json",
            r#"[{"id": 1, "text": "Which?\nA. a\nB. b", "answer": "A"}, {"id": 2, "te"#,
        );
        let (problems, _, counts) = verified(&folder, "validation = 0.0");
        assert_eq!(counts, [1, 0, 8]);
        let text = problems.join("\n");
        for part in [
            "train.json: record 1 begins at byte",
            "test.json: record 1: the id `1` stands in an earlier record too",
            "record 2: the image path `a/../../good.gif` climbs out of the image folder",
            "record 3: the image path `/good.gif` is absolute",
            "record 4: the answer `C` is none of 2 options",
            "record 5: no options",
            "record 6: it asks about a picture and names none",
            "record 6: an answer is empty",
            "record 7: `image` is no text",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn boxes_are_checked_and_long_lists_are_cut() {
        let folder = Folder::new(&BOXES);
        let item =
            |id: u32| json!({"question_id": id, "text": "where?", "answer_bbox": [0.5, 0.1, 0.4, 1.2]});
        folder.write("test.json", &json!((0..50).map(item).collect::<Vec<_>>()));
        let (problems, _, _) = verified(&folder, "");
        assert!(problems[0].contains("train.json` cannot be opened"), "{:?}", problems[0]);
        assert_eq!(problems.len(), 22);
        assert!(problems[21].ends_with("test.json: 30 more like the last"), "{:?}", problems[21]);
    }
}
