//! The check of a task's files: everything that can be wrong with them, without reading pictures in full.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use coin_plugin_api::{Record, Result, Verification};

use crate::dataset::{CoinDataset, Part};
use crate::file::RecordFile;
use crate::item::Item;
use crate::record::{Annotations, record};

/// Lines for one kind of problem in one file before the rest is only counted.
const SHOWN: usize = 20;

/// Counts and problems of all files of a task. A file that is missing or damaged is a problem, not an error.
pub(crate) fn verify(dataset: &CoinDataset) -> Result<Verification> {
    let mut found = Verification::default();
    let mut pictures = Pictures { dataset, states: BTreeMap::new() };
    let annotations = dataset.annotations().unwrap_or_else(|error| {
        found.problems.push(error.to_string());
        None
    });
    if let Some(file) = check(&mut pictures, &dataset.path("train.json"), None, &mut found.problems) {
        let val = dataset.val_path();
        let parts = if val.is_some() {
            [Part::whole(file).numbers.len(), 0]
        } else {
            dataset.split(file)?.map(|part| part.numbers.len())
        };
        found.counts = [parts[0], parts[1], 0];
        if let Some(file) = val.and_then(|path| check(&mut pictures, &path, None, &mut found.problems)) {
            found.counts[1] = file.len();
        }
    }
    if let Some(file) =
        check(&mut pictures, &dataset.path(dataset.task.test), annotations, &mut found.problems)
    {
        found.counts[2] = file.len();
    }
    Ok(found)
}

/// Looks at every record of a file.
fn check(
    pictures: &mut Pictures<'_>,
    path: &Path,
    annotations: Option<&Annotations>,
    problems: &mut Vec<String>,
) -> Option<RecordFile> {
    let file = match RecordFile::open_damaged(path) {
        Ok(file) => file,
        Err(error) => {
            problems.push(error.to_string());
            return None;
        }
    };
    let mut kinds: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    let mut ids = HashSet::new();
    let numbers: Vec<u32> = (0..file.len() as u32).collect();
    let read = file.each(&numbers, |number, bytes| {
        let mut report =
            |kind, what: String| kinds.entry(kind).or_default().push(format!("record {number}: {what}"));
        let item: Item = match serde_json::from_slice(bytes) {
            Ok(item) => item,
            Err(error) => {
                report("unreadable", error.to_string());
                return Ok(());
            }
        };
        if item.conversations.len() > 2 {
            report("turns", format!("{} turns, only the first two are used", item.conversations.len()));
        }
        let first = item.conversations.first().map(|turn| turn.value.as_str()).or(item.text.as_deref());
        if item.image.is_none() && first.is_some_and(|text| text.contains("<image>")) {
            report("picture", String::from("it asks about a picture and names none"));
        }
        match record(item, number, pictures.dataset.task, &pictures.dataset.config.images, annotations) {
            Ok(record) => {
                faults(&record, pictures, &mut report);
                if let Some(id) = ids.replace(record.id) {
                    report("duplicate", format!("the id `{id}` stands in an earlier record too"));
                }
            }
            Err(why) => report("unreadable", why),
        }
        Ok(())
    });
    let named = |what: &str| format!("{}: {what}", path.display());
    problems.extend(read.err().map(|error| error.to_string()));
    problems.extend(file.damage().map(named));
    for lines in kinds.values() {
        problems.extend(lines.iter().take(SHOWN).map(|line| named(line)));
        if lines.len() > SHOWN {
            problems.push(named(&format!("{} more like the last", lines.len() - SHOWN)));
        }
    }
    Some(file)
}

/// What is wrong with a record that can be read.
fn faults(record: &Record, pictures: &mut Pictures<'_>, report: &mut impl FnMut(&'static str, String)) {
    if let Some(image) = &record.image
        && let Some(why) = pictures.fault(image)
    {
        report("picture", format!("`{image}` {why}"));
    }
    if record.answers.iter().any(|answer| answer.trim().is_empty()) {
        report("answer", String::from("an answer is empty"));
    }
    if pictures.dataset.task.options {
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

/// Pictures that were looked at, each once.
struct Pictures<'a> {
    dataset: &'a CoinDataset,
    states: BTreeMap<String, Option<&'static str>>,
}

impl Pictures<'_> {
    fn fault(&mut self, image: &str) -> Option<&'static str> {
        if let Some(known) = self.states.get(image) {
            return *known;
        }
        let fault = fault(&self.dataset.root.join(image));
        self.states.insert(image.to_string(), fault);
        fault
    }
}

/// Why a file is no picture, by its first bytes.
fn fault(path: &Path) -> Option<&'static str> {
    let mut start = [0; 12];
    let read = File::open(path).and_then(|mut file| {
        let mut filled = 0;
        while filled < start.len() {
            match file.read(&mut start[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    });
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some("is missing"),
        Err(_) => Some("cannot be read"),
        Ok(0) => Some("is an empty file"),
        Ok(_) => {
            let known: [&[u8]; 4] = [b"\xFF\xD8\xFF", b"\x89PNG\r\n\x1A\n", b"GIF8", b"BM"];
            let picture = known.iter().any(|mark| start.starts_with(mark))
                || start.starts_with(b"RIFF") && start.ends_with(b"WEBP");
            (!picture).then_some("is not a JPEG, PNG, GIF, BMP or WebP picture")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::fixture::Folder;
    use crate::task::Task;

    const CHOICE: Task = Task { folder: "ScienceQA", options: true, ..Task::PHRASE };
    const BOXES: Task = Task { folder: "Grounding", boxes: true, ..Task::PHRASE };

    #[test]
    fn good_files_have_no_problems() {
        let folder = Folder::new(&Task::PHRASE);
        folder.write_training(40);
        (0..40).for_each(|i| folder.write_image_file(&format!("p/{i}.gif"), "GIF89a"));
        folder
            .write("test.json", &json!([{"question_id": 1, "image": "p/0.gif", "text": "q", "answer": "a"}]));
        let found =
            folder.open("validation = 0.25").and_then(|dataset| dataset.verify()).expect("files to check");
        assert_eq!(found.problems, [""; 0]);
        assert_eq!((found.counts[0] + found.counts[1], found.counts[2]), (40, 1));
        assert!(found.counts[1] > 0);
    }

    #[test]
    fn each_problem_is_named_with_its_record() {
        let folder = Folder::new(&CHOICE);
        folder.write_image_file("good.gif", "GIF89a");
        folder.write_image_file("empty.gif", "");
        folder.write_image_file("page.jpg", "<html>404</html>");
        let question =
            "Which?\nA. milk\nB. a brick\nAnswer with the option's letter from the given choices directly.";
        let item = |id: u32, image: &str| json!({"question_id": id, "image": image, "text": question, "answer": "B"});
        folder.write(
            "test.json",
            &json!([
                item(1, "good.gif"),
                item(1, "good.gif"),
                item(2, "gone.gif"),
                item(3, "empty.gif"),
                item(4, "page.jpg"),
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
        let found =
            folder.open("validation = 0.0").and_then(|dataset| dataset.verify()).expect("files to check");
        assert_eq!(found.counts, [1, 0, 11]);
        let text = found.problems.join("\n");
        for part in [
            "train.json: record 1 begins at byte",
            "test.json: record 1: the id `1` stands in an earlier record too",
            "record 2: `cl_dataset/gone.gif` is missing",
            "record 3: `cl_dataset/empty.gif` is an empty file",
            "record 4: `cl_dataset/page.jpg` is not a JPEG",
            "record 5: the image path `a/../../good.gif` climbs out of the image folder",
            "record 6: the image path `/good.gif` is absolute",
            "record 7: the answer `C` is none of 2 options",
            "record 8: no options",
            "record 9: it asks about a picture and names none",
            "record 9: an answer is empty",
            "record 10: invalid type",
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
        let found = folder.open("").and_then(|dataset| dataset.verify()).expect("files to check");
        assert!(found.problems[0].contains("train.json` cannot be opened"), "{:?}", found.problems[0]);
        assert_eq!(found.problems.len(), 22);
        assert!(found.problems[21].ends_with("test.json: 30 more like the last"), "{:?}", found.problems[21]);
    }
}
