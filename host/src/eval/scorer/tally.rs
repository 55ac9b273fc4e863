//! What scoring a whole file gives.

use std::collections::BTreeMap;

use crate::eval::python::number;

/// The figures of one predictions file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// In percent, as the original prints it.
    pub total: f64,
    /// The same, not rounded.
    pub exact: f64,
    /// What the total was divided by: items, or prediction lines.
    pub count: usize,
    /// Scores by id, in the order of the file that was gone through; the second line with an id is `id#2`. `None`: not counted.
    pub per_sample: Vec<(String, Option<f64>)>,
    /// What a reader of the total should know: missing answers, repeated ids, ..
    pub remarks: Vec<String>,
}

impl Tally {
    /// A total that is printed with two decimals.
    pub(super) fn new(exact: f64, count: usize, per_sample: Vec<(String, Option<f64>)>) -> Self {
        Tally { total: number::two_decimals(exact), exact, count, per_sample, remarks: Vec::new() }
    }

    pub(super) fn remark(mut self, remark: Option<String>) -> Self {
        self.remarks.extend(remark);
        self
    }
}

/// Gives every line a key of its own.
#[derive(Default)]
pub(super) struct Keys {
    used: BTreeMap<String, usize>,
}

impl Keys {
    /// `id`, then `id#2`, `id#3`, ..
    pub(super) fn key(&mut self, id: &str) -> String {
        let count = self.used.entry(id.to_owned()).or_insert(0);
        *count += 1;
        if *count == 1 { id.to_owned() } else { format!("{id}#{count}") }
    }

    /// How many lines had an id that was there before.
    pub(super) fn repeated(&self) -> usize {
        self.used.values().map(|count| count - 1).sum()
    }
}

/// `3 predictions`, `1 prediction`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
