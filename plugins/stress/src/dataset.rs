//! A dataset that misbehaves on purpose: questions from `questions.txt`, a line each with question and answer between tabs.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use coin_plugin_api::{Dataset, DatasetDescription, Error, Record, Result, Split, bail, from_toml};
use serde::Deserialize;

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Fault {
    #[default]
    None,
    /// A metric that no host has.
    Metric,
    /// Names a file that is not there.
    Files,
    /// Two records with one id.
    Twins,
    /// A record without a question.
    Speechless,
    /// A picture that is not there.
    Picture,
    /// A picture outside of the root.
    Escape,
    /// A record beyond the last one.
    Beyond,
    /// Panics where a range does not fit.
    Slice,
    /// Ids that go by the range that was asked for.
    Unordered,
    /// A score of two.
    Score,
    /// A panic in `score`.
    ScorePanic,
    /// Takes keys that it does not know.
    Lax,
    /// Takes for granted that the file is there.
    Missing,
    /// Takes for granted that the file is sound.
    Damaged,
    /// A crash while records are read.
    Segfault,
    /// A crash while they are counted.
    CountCrash,
    /// No end of counting them.
    CountHang,
    /// A line on stdout for each prediction.
    Print,
    /// A panic in its `Drop`.
    DropPanic,
    /// The same, where it has scored.
    Spent,
}

#[derive(Deserialize)]
#[serde(default)]
struct Config {
    fault: Fault,
    #[serde(flatten)]
    unknown: std::collections::BTreeMap<String, i64>,
}

impl Default for Config {
    fn default() -> Self {
        Config { fault: Fault::None, unknown: std::collections::BTreeMap::new() }
    }
}

struct Questions {
    fault: Fault,
    lines: Vec<(String, String)>,
    scored: AtomicBool,
}

pub(crate) fn open(root: &Path, config: &str) -> Result<Box<dyn Dataset>> {
    let Config { fault, unknown } = from_toml(config)?;
    if let Some(key) = unknown.keys().next().filter(|_| fault != Fault::Lax) {
        return Err(Error::config(format!("unknown field `{key}`\nhint: it has fault")));
    }
    let path: PathBuf = root.join("questions.txt");
    let read = std::fs::read(&path);
    let bytes = match fault {
        Fault::Missing => read.expect("the file is there"),
        _ => read.map_err(|error| Error::new(format!("{} cannot be read: {error}", path.display())))?,
    };
    let text = String::from_utf8_lossy(&bytes);
    let line = |line: &str| match line.split_once('\t') {
        Some((question, answer)) => Ok((question.to_string(), answer.to_string())),
        None if fault == Fault::Damaged => panic!("a line has a tab"),
        None => Err(Error::new(format!("{}: a line has no tab: {line:?}", path.display()))),
    };
    let lines = text.lines().map(line).collect::<Result<_>>()?;
    Ok(Box::new(Questions { fault, lines, scored: AtomicBool::new(false) }))
}

impl Dataset for Questions {
    fn describe(&self) -> DatasetDescription {
        let metric = if self.fault == Fault::Metric { "no-such-metric" } else { "exact-match" };
        DatasetDescription {
            task_type: "questions".into(),
            metric: metric.into(),
            answer_form: "a word".into(),
        }
    }

    fn len(&self, _split: Split) -> Result<usize> {
        match self.fault {
            Fault::CountCrash => crate::fault::segfault(),
            Fault::CountHang => loop {
                std::thread::sleep(std::time::Duration::from_secs(1));
            },
            _ => {}
        }
        Ok(self.lines.len())
    }

    fn records(&self, _split: Split, start: usize, end: usize) -> Result<Vec<Record>> {
        if self.fault == Fault::Segfault {
            crate::fault::segfault();
        }
        let filler = (String::from("what"), String::from("a"));
        let beyond = self.fault == Fault::Beyond;
        if !beyond && self.fault != Fault::Slice && self.lines.get(start..end).is_none() {
            bail!("no records {start}..{end}: there are {}", self.lines.len());
        }
        let line = |number: usize| {
            if beyond { self.lines.get(number).unwrap_or(&filler) } else { &self.lines[number] }
        };
        let mut records: Vec<Record> = (start..end).map(|number| self.record(number, line(number))).collect();
        if self.fault == Fault::Unordered {
            records.reverse();
        }
        Ok(records)
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        Ok(vec![PathBuf::from(if self.fault == Fault::Files { "answers.txt" } else { "questions.txt" })])
    }

    fn score(&self, _prediction: &str, _record: &Record) -> Result<Option<f64>> {
        self.scored.store(true, Ordering::Relaxed);
        match self.fault {
            Fault::Score => Ok(Some(2.0)),
            Fault::ScorePanic => panic!("no score"),
            #[expect(clippy::print_stdout, reason = "what the host is tested against")]
            Fault::Print => {
                println!("stress was here");
                Ok(None)
            }
            _ => Ok(None),
        }
    }
}

impl Drop for Questions {
    fn drop(&mut self) {
        let ends = self.fault != Fault::Spent || !self.scored.load(Ordering::Relaxed);
        assert!(ends && self.fault != Fault::DropPanic, "no end");
    }
}

impl Questions {
    fn record(&self, number: usize, (question, answer): &(String, String)) -> Record {
        let last = number + 1 == self.lines.len();
        let image = match self.fault {
            Fault::Picture if last => Some("none.png"),
            Fault::Escape if last => Some("../none.png"),
            _ => None,
        };
        Record {
            id: if last && self.fault == Fault::Twins { "0".into() } else { number.to_string() },
            question: if last && self.fault == Fault::Speechless { String::new() } else { question.clone() },
            answers: vec![answer.clone()],
            image: image.map(String::from),
            ..Record::default()
        }
    }
}
