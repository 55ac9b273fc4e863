//! Published matrices: TOML files with what is known of somebody else's run, each figure with its source. What is not in the file is
//! unknown, never zero, and so is every metric that reads it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::results::{CellResult, Joint, Metrics, References, Results, ScorerResult, Status};
use crate::eval::matrix::Matrix;
use crate::eval::measure::KNOWLEDGE_JUDGE_COIN;

/// The files that come with the program, by name.
pub const EMBEDDED: [(&str, &str); 4] = [
    ("coin-llava-lora", include_str!("../../../docs/published/coin-llava-lora.toml")),
    ("coin-llava-moelora", include_str!("../../../docs/published/coin-llava-moelora.toml")),
    ("coin-qwen-vl-lora", include_str!("../../../docs/published/coin-qwen-vl-lora.toml")),
    ("coin-minigpt-v2-lora", include_str!("../../../docs/published/coin-minigpt-v2-lora.toml")),
];

/// A figure and where it is from.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    pub score: f64,
    /// A key of [`Published::sources`].
    pub source: String,
}

/// By task.
type Row = BTreeMap<String, Figure>;

/// A file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    pub name: String,
    pub title: String,
    #[serde(default)]
    pub paper: String,
    pub method: String,
    #[serde(default = "written")]
    pub order: String,
    /// Whose rules gave the scores: `coin` or `official`.
    pub scorer: crate::eval::scorer::Scorer,
    /// In the order of training.
    pub tasks: Vec<String>,
    /// Items scored a task; 0 where not known.
    #[serde(default)]
    pub items: Vec<u64>,
    pub sources: BTreeMap<String, String>,
    #[serde(default)]
    pub zero_shot: Row,
    #[serde(default)]
    pub joint: Row,
    /// By the task that was learned last.
    #[serde(default)]
    pub after: BTreeMap<String, Row>,
    /// General knowledge by a language model, as CoIN's script reads its replies, by the task that was learned last.
    #[serde(default)]
    pub knowledge: BTreeMap<String, Row>,
    /// Metrics as they were published, by their names in `results.json`.
    #[serde(default)]
    pub published: BTreeMap<String, Figure>,
}

fn written() -> String {
    String::from("written")
}

/// A file that says something it cannot mean.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {reason}\nhint: {hint}")]
pub struct PublishedError {
    name: String,
    reason: String,
    hint: String,
}

const HINT: &str = "docs/published/coin-llava-lora.toml is a whole file to compare with";

impl Published {
    /// The embedded file of this name, or the file at this path.
    ///
    /// # Errors
    /// A name that is neither, and what is wrong in the file.
    pub fn find(name: &str) -> Result<Published, PublishedError> {
        if let Some((name, text)) = EMBEDDED.iter().find(|(known, _)| *known == name) {
            return Published::parse(text, name);
        }
        let text = std::fs::read_to_string(Path::new(name)).map_err(|error| PublishedError {
            name: name.to_owned(),
            reason: format!("no published results have this name, and no such file can be read ({error})"),
            hint: format!(
                "{}, or a file like docs/published/coin-llava-lora.toml",
                EMBEDDED.map(|(name, _)| name).join(", ")
            ),
        })?;
        Published::parse(&text, name)
    }

    /// Reads and checks a file's text.
    ///
    /// # Errors
    /// Keys that are not known, tasks and sources that are not listed, scores that are no percentages.
    pub fn parse(text: &str, name: &str) -> Result<Published, PublishedError> {
        let wrong = |reason: String| PublishedError { name: name.to_owned(), reason, hint: HINT.to_owned() };
        let published: Published =
            toml::from_str(text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
        let tasks = &published.tasks;
        if tasks.is_empty() || tasks.iter().enumerate().any(|(at, task)| tasks[..at].contains(task)) {
            return Err(wrong("`tasks` is empty or names one twice".to_owned()));
        }
        if !published.items.is_empty() && published.items.len() != tasks.len() {
            return Err(wrong(format!("{} `items` for {} tasks", published.items.len(), tasks.len())));
        }
        let after = [("after", &published.after), ("knowledge", &published.knowledge)];
        let rows = after.into_iter().flat_map(|(table, rows)| {
            rows.iter().map(move |(stage, row)| (format!("{table}.{stage}"), Some(stage), row))
        });
        let single = [("zero_shot", &published.zero_shot), ("joint", &published.joint)];
        for (place, stage, row) in rows.chain(single.map(|(place, row)| (place.to_owned(), None, row))) {
            if let Some(unknown) = row.keys().chain(stage).find(|task| !tasks.contains(task)) {
                return Err(wrong(format!("`{place}`: `{unknown}` is not one of `tasks`")));
            }
            if let Some((task, figure)) =
                row.iter().find(|(_, figure)| !(0.0..=100.0).contains(&figure.score))
            {
                return Err(wrong(format!("`{place}.{task}`: {} is no percentage", figure.score)));
            }
            published.check_sources(&place, row).map_err(wrong)?;
        }
        let known = serde_json::to_value(Metrics::default()).unwrap_or_default();
        if let Some(unknown) = published.published.keys().find(|key| known.get(key).is_none()) {
            return Err(wrong(format!("`published.{unknown}` is no metric")));
        }
        published.check_sources("published", &published.published).map_err(wrong)?;
        Ok(published)
    }

    fn check_sources(&self, place: &str, row: &Row) -> Result<(), String> {
        match row.iter().find(|(_, figure)| !self.sources.contains_key(&figure.source)) {
            Some((key, figure)) => {
                Err(format!("`{place}.{key}`: `{}` is not one of `sources`", figure.source))
            }
            None => Ok(()),
        }
    }

    /// As results of one finished cell, whose metrics are computed from the cells that are known.
    pub fn results(&self) -> Results {
        let mut results = Results::new(&self.name, self.tasks.clone());
        let mut cell = CellResult::begun(&self.method, &self.order, 0, Status::Done);
        let row = |row: &Row| -> Vec<Option<f64>> {
            self.tasks.iter().map(|task| row.get(task).map(|figure| figure.score)).collect()
        };
        for (name, after) in [(self.scorer.name(), &self.after), (KNOWLEDGE_JUDGE_COIN, &self.knowledge)] {
            if after.is_empty() {
                continue;
            }
            let mut matrix = Matrix::new(self.tasks.len());
            for (stage, task) in self.tasks.iter().enumerate() {
                if let Some(known) = after.get(task) {
                    matrix.rows[stage] = row(known);
                }
            }
            if !self.items.is_empty() {
                matrix.items.clone_from(&self.items);
            }
            let metrics = Metrics::of(&matrix, None);
            cell.scorers.insert(name.to_owned(), ScorerResult { matrix, metrics });
        }
        let mut references = References::default();
        if !self.zero_shot.is_empty() {
            references.zero_shot = row(&self.zero_shot);
        }
        if !self.joint.is_empty() {
            references.joint.push(Joint { seed: 0, scores: row(&self.joint) });
        }
        results.references.insert(self.scorer.name().to_owned(), references);
        results.cells.push(cell);
        results.settle();
        results
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(name: &str, scorer: &str) -> Metrics {
        let results = Published::find(name).expect("embedded").results();
        results.cells[0].scorers[scorer].metrics.clone()
    }

    fn shown(value: Option<f64>) -> String {
        value.map_or("unknown".to_owned(), |value| format!("{value:.2}"))
    }

    #[test]
    fn published_figures_come_out_of_published_cells() {
        for (name, bwt) in [
            ("coin-llava-lora", "-32.62"),
            ("coin-llava-moelora", "-25.91"),
            ("coin-qwen-vl-lora", "-16.94"),
            ("coin-minigpt-v2-lora", "6.04"),
        ] {
            let found = metrics(name, "coin");
            assert_eq!(shown(found.bwt_t), bwt, "{name}");
            if let Some(figure) = Published::find(name).expect("embedded").published.get("bwt_t") {
                assert!((found.bwt_t.expect("known") - figure.score).abs() < 0.02, "{name}");
            }
            // ScienceQA between its own stage and the last was not stored.
            assert_eq!((found.maa, found.forgetting), (None, None), "{name}");
        }
        let lora = metrics("coin-llava-lora", "coin");
        assert_eq!(
            [lora.ap, lora.plasticity, lora.bwt_t1, lora.intransigence].map(shown),
            ["28.74", "61.36", "-37.29", "-4.18"]
        );
        assert_eq!(shown(metrics("coin-llava-lora", KNOWLEDGE_JUDGE_COIN).bwt_t), "-10.88");
    }

    /// The published MAA needs the six cells of ScienceQA that are unknown: it lies between what they allow.
    #[test]
    fn the_published_maa_is_one_that_the_known_cells_allow() {
        for name in ["coin-llava-lora", "coin-llava-moelora"] {
            let published = Published::find(name).expect("embedded");
            let cell = &published.results().cells[0];
            let mut matrix = cell.scorers["coin"].matrix.clone();
            let with = |matrix: &mut Matrix, score: f64| {
                (1..7).for_each(|stage| matrix.rows[stage][0] = Some(score));
                Metrics::of(matrix, None).maa.expect("all cells of MAA are known now")
            };
            let (low, high) = (with(&mut matrix, 0.0), with(&mut matrix, 100.0));
            let maa = published.published["maa"].score;
            assert!(low < maa && maa < high, "{name}: {low} {maa} {high}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_meant_is_refused() {
        let (_, text) = EMBEDDED[0];
        let error = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            Published::parse(&text.replacen(from, to, 1), "f.toml").expect_err("refused").to_string()
        };
        assert!(error("[after.gqa]", "[after.gqq]").contains("`after.gqq`: `gqq` is not one of `tasks`"));
        assert!(error("49.99", "149.99").contains("149.99 is no percentage"));
        assert!(error("49.99", "nan").contains("NaN is no percentage"));
        assert!(
            error("score = 49.99, source = \"git\"", "score = 49.99, source = \"me\"")
                .contains("`me` is not one of `sources`")
        );
        assert!(error("scorer = ", "score = ").contains("unknown field `score`"));
        assert!(error("\nmaa = ", "\nmaaa = ").contains("`published.maaa` is no metric"));
        assert!(Published::find("coin-llava").expect_err("no such").to_string().contains("coin-llava-lora"));
    }
}
