//! A stage on many records begins without reading them all.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use coin_host::compare::world::{self, PluginCache};
use coin_host::config::{self, Plugins, Request, StackEntry, Trust};
use coin_host::data::image::Transform;
use coin_host::data::source::Source;
use coin_host::data::task::{Instruction, Pictures, Task};
use coin_host::eval::scorer::Metric;
use coin_host::model::Backbone;
use coin_host::train::build::build;
use coin_host::train::cell::World;
use coin_host::train::stage;
use coin_plugin_api::{DatasetDescription, Record, Split};
use tch::{Device, Kind};

use crate::built;

const RECORDS: usize = 600_000;
const BATCH: usize = 4;

/// Made-up records, and how many were asked for.
#[derive(Default)]
struct Counted {
    asked: AtomicUsize,
    most_at_once: AtomicUsize,
    numbers: Mutex<BTreeSet<usize>>,
}

impl Source for &'static Counted {
    fn describe(&self) -> anyhow::Result<DatasetDescription> {
        Ok(DatasetDescription::default())
    }

    fn len(&self, _split: Split) -> anyhow::Result<usize> {
        Ok(RECORDS)
    }

    fn records(&self, _split: Split, start: usize, end: usize) -> anyhow::Result<Vec<Record>> {
        self.asked.fetch_add(end - start, Ordering::Relaxed);
        self.most_at_once.fetch_max(end - start, Ordering::Relaxed);
        self.numbers.lock().expect("no test panics with it").extend(start..end);
        let record = |number: usize| Record {
            id: number.to_string(),
            question: format!("what is {}", number % 7),
            answers: vec![String::from("a cat")],
            ..Record::default()
        };
        Ok((start..end).map(record).collect())
    }

    fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    fn verify(&self) -> anyhow::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn score(&self, _prediction: &str, _record: &Record) -> anyhow::Result<Option<f64>> {
        Ok(None)
    }
}

#[test]
fn the_first_steps_read_a_window_of_the_records() {
    static SOURCE: Counted = Counted {
        asked: AtomicUsize::new(0),
        most_at_once: AtomicUsize::new(0),
        numbers: Mutex::new(BTreeSet::new()),
    };
    let (backbone, tokenizer) = Backbone::builtin_tiny(Device::Cpu, Kind::Float).expect("the backbone");
    let set = [format!("training.batch_size={BATCH}"), String::from("training.epochs=1")];
    let tasks = [String::from("gqa")];
    let request = Request { set: &set, tasks: &tasks, ..Request::default() };
    let config = config::load(&request).expect("a configuration").config;
    let pictures = Pictures { root: std::env::temp_dir(), transform: Transform::tiny(), blank: false };
    let task = Task::new(
        String::from("gqa"),
        Metric::ExactMatch,
        4,
        Box::new(&SOURCE),
        Instruction::Original,
        pictures,
    );
    let prompters = world::prompters(&config, &backbone, &tokenizer).expect("a prompter");
    let world =
        World { config: &config, backbone: &backbone, tokenizer: &tokenizer, tasks: &[task], prompters };
    let dev = vec![built::plugin("lora")];
    let mut shelf = PluginCache::new(&Plugins { dirs: Vec::new(), dev, trust: Trust::Locked });
    let stack = [StackEntry { plugin: String::from("lora"), config: toml::Table::new() }];
    let (cell, mut strategies) =
        build(&world, &mut |name| Ok(shelf.plugin(name)?), &stack, 0, vec![vec![0]]).expect("a cell");
    let mut running = stage::begin(&cell, &mut strategies, 0).expect("a stage");
    assert_eq!(running.plan.steps, RECORDS / BATCH);
    assert_eq!(SOURCE.asked.load(Ordering::Relaxed), 0, "a stage begins without a record");
    for _ in 0..2 {
        stage::step(&cell, &mut strategies, &mut running).expect("a step");
    }
    // Batches of similar length are made of 128 of them at a time.
    let asked = SOURCE.asked.load(Ordering::Relaxed);
    assert!((2 * BATCH..=128 * BATCH + 2 * BATCH).contains(&asked), "{asked} records were read");
    assert!(SOURCE.most_at_once.load(Ordering::Relaxed) <= 64, "records of a batch are not neighbours");
    // They come from everywhere, not from the beginning.
    let numbers = SOURCE.numbers.lock().expect("no test panics with it");
    let beyond = numbers.iter().filter(|number| **number >= RECORDS / 2).count();
    assert!(beyond * 3 > numbers.len(), "{beyond} of {} are of the second half", numbers.len());
    // A later step reads another window.
    drop(numbers);
    let later = running.plan.batch(&cell, 100_000, 0).expect("a batch");
    assert_eq!(later.len(), BATCH);
    assert!(SOURCE.asked.load(Ordering::Relaxed) <= 2 * 128 * BATCH + 2 * BATCH);
    assert_eq!(later, running.plan.batch(&cell, 100_000, 0).expect("a batch"));
}
