//! How many records the files of CoIN's release have, task by task.

/// A number of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Counted in the release by others.
    Exactly(usize),
    /// As papers and issues say; taken within a tenth.
    About(usize),
}

/// A task of the release.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub dataset: &'static str,
    /// Records for training, those that an adapter sets aside for validation among them.
    pub train: Count,
    /// Records of the file that CoIN's script scores.
    pub test: Count,
}

use Count::{About, Exactly};

/// All tasks, in CoIN's order.
pub const SIZES: [Size; 8] = [
    Size { dataset: "coin-datasets/scienceqa", train: Exactly(12_726), test: Exactly(4_241) },
    Size { dataset: "coin-datasets/textvqa", train: Exactly(34_602), test: Exactly(5_000) },
    Size { dataset: "coin-datasets/imagenet", train: Exactly(129_833), test: Exactly(5_050) },
    Size { dataset: "coin-datasets/gqa", train: Exactly(72_140), test: Exactly(12_578) },
    Size { dataset: "coin-datasets/vizwiz", train: About(20_000), test: About(4_319) },
    Size { dataset: "coin-datasets/grounding", train: About(55_000), test: Exactly(30_969) },
    Size { dataset: "coin-datasets/vqav2", train: About(82_783), test: About(107_000) },
    Size { dataset: "coin-datasets/ocrvqa", train: About(165_000), test: About(100_000) },
];

impl Count {
    /// The number, exact or not.
    pub fn number(self) -> usize {
        match self {
            Exactly(count) | About(count) => count,
        }
    }

    /// Whether a number is it.
    pub fn is(self, found: usize) -> bool {
        match self {
            Exactly(count) => found == count,
            About(count) => found.abs_diff(count) * 10 <= count,
        }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exactly(count) => write!(f, "{count}"),
            About(count) => write!(f, "about {count}"),
        }
    }
}

/// What is other than in the release, for a dataset of it.
pub fn differences(dataset: &str, counts: [usize; 3]) -> Vec<String> {
    let Some(size) = SIZES.iter().find(|size| size.dataset == dataset) else { return Vec::new() };
    // A validation file of its own is no part of the training file.
    let has_file = dataset == "coin-datasets/ocrvqa";
    let train = counts[0] + if has_file && size.train.is(counts[0]) { 0 } else { counts[1] };
    let found = [("training", train, size.train), ("test", counts[2], size.test)];
    found
        .into_iter()
        .filter(|(_, found, expected)| !expected.is(*found))
        .map(|(split, found, expected)| {
            format!("{found} {split} records, where the release of CoIN has {expected}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_other_than_the_release_are_noted() {
        assert_eq!(differences("coin-datasets/gqa", [70_000, 2_140, 12_578]), [""; 0]);
        assert_eq!(
            differences("coin-datasets/gqa", [70_000, 2_141, 4_000]),
            [
                "72141 training records, where the release of CoIN has 72140",
                "4000 test records, where the release of CoIN has 12578"
            ]
        );
        assert_eq!(differences("coin-datasets/ocrvqa", [170_000, 30_000, 95_000]), [""; 0]);
        assert_eq!(differences("coin-datasets/vizwiz", [15_000, 0, 4_319]).len(), 1);
        assert_eq!(differences("own/task", [1, 1, 1]), [""; 0]);
    }
}
