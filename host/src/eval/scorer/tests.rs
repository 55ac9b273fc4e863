//! Synthetic items with the scores that the original evaluation code of each project gave (`tests/fixtures/scorers`).

use super::*;

#[derive(Deserialize)]
struct Item {
    id: String,
    case: String,
    /// Absent: the item was never answered and scores 0.
    prediction: Option<String>,
    #[serde(default)]
    answers: Vec<String>,
    /// The single answer that CoIN's script reads where the official one reads ten.
    answer: Option<String>,
    #[serde(default)]
    options: Vec<String>,
    bbox: Option<[f64; 4]>,
    size: Option<[u32; 2]>,
    official: f64,
    coin: Option<f64>,
    /// Variant of classification: trimmed, case-insensitive.
    trimmed: Option<f64>,
}

impl Item {
    fn reference(&self) -> Reference {
        Reference {
            answers: self.answers.clone(),
            options: self.options.clone(),
            bbox: self.bbox,
            size: self.size,
        }
    }

    fn check(&self, scorer: Scorer, metric: Metric, reference: &Reference, expected: f64) {
        let Some(prediction) = &self.prediction else {
            return assert_eq!(expected, 0.0, "{}", self.id);
        };
        let got = score(scorer, metric, prediction, reference);
        let Item { id, case, .. } = self;
        assert!(
            (got - expected).abs() < 1e-9,
            "{scorer} {metric} {id} ({case}): {prediction:?} got {got}, not {expected}"
        );
    }
}

fn items(metric: Metric) -> Vec<Item> {
    let path = format!("{}/../tests/fixtures/scorers/{metric}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The official rule plus the option's text: the items where the two differ.
const OPTION_TEXTS: [&str; 5] = ["34", "40", "43", "46", "160"];

#[test]
fn official_scores_agree_with_the_reference_implementations() {
    for metric in Metric::ALL.into_iter().filter(|&metric| metric != Metric::ExactMatch) {
        let items = items(metric);
        assert!(items.len() > 50, "{metric}");
        for item in items {
            let option_text = metric == Metric::MultipleChoice && OPTION_TEXTS.contains(&item.id.as_str());
            item.check(
                Scorer::Official,
                metric,
                &item.reference(),
                if option_text { 1.0 } else { item.official },
            );
        }
    }
}

#[test]
fn coin_scores_agree_with_its_scripts() {
    for metric in Metric::ALL.into_iter().filter(|&metric| metric != Metric::ExactMatch) {
        for item in items(metric) {
            let mut reference = item.reference();
            if let Some(answer) = &item.answer {
                reference.answers = vec![answer.clone()];
            }
            if let Some(expected) = item.coin {
                item.check(Scorer::Coin, metric, &reference, expected);
            }
        }
    }
}

#[test]
fn exact_match_forgives_case_outer_space_and_a_final_period_only() {
    for item in items(Metric::Classification) {
        let expected = item.trimmed.expect("a variant");
        item.check(Scorer::Official, Metric::ExactMatch, &item.reference(), expected);
    }
    assert_eq!(score(Scorer::Official, Metric::ExactMatch, "", &Reference::answer("")), 0.0);
}

#[test]
fn an_option_is_chosen_by_letter_or_text() {
    let options = vec!["milk".to_owned(), "a brick".to_owned(), "honey".to_owned()];
    let reference = Reference { answers: vec!["B".to_owned()], options, ..Reference::default() };
    for right in ["B", "b", "B.", "(B)", "B) a brick", "a brick", "A brick.", " B\n", "The answer is B"] {
        assert_eq!(score(Scorer::Official, Metric::MultipleChoice, right, &reference), 1.0, "{right:?}");
    }
    for wrong in ["", "A", "D", "brick", "milk", "a milk"] {
        assert_eq!(score(Scorer::Official, Metric::MultipleChoice, wrong, &reference), 0.0, "{wrong:?}");
    }
    let by_text = Reference { answers: vec!["A brick".to_owned()], ..reference };
    assert_eq!(score(Scorer::Official, Metric::MultipleChoice, "B", &by_text), 1.0);
}

#[test]
fn a_single_answer_needs_no_ten_annotators() {
    for metric in [Metric::VqaSoft, Metric::TextVqa, Metric::VizWiz] {
        assert_eq!(score(Scorer::Official, metric, "The two.", &Reference::answer("2")), 1.0, "{metric}");
        assert_eq!(score(Scorer::Official, metric, "three", &Reference::answer("2")), 0.0, "{metric}");
        assert_eq!(score(Scorer::Official, metric, "2", &Reference::default()), 0.0, "{metric}");
    }
}

#[test]
fn names_survive_the_round_trip() {
    for metric in Metric::ALL {
        assert_eq!(metric.name().parse::<Metric>().expect("a metric"), metric);
        assert_eq!(serde_json::to_value(metric).expect("a string"), metric.name());
    }
    let error = "accuracy".parse::<Metric>().expect_err("no metric").to_string();
    assert!(error.contains("hint: one of multiple-choice"), "{error}");
}
