//! Synthetic items with the scores that the original evaluation code of each project gave (`tests/fixtures/scorers`).

use proptest::prelude::*;

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
            target: None,
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

#[test]
fn official_scores_agree_with_the_reference_implementations() {
    for metric in Metric::ALL.into_iter().filter(|&metric| metric != Metric::ExactMatch) {
        let items = items(metric);
        assert!(items.len() > 50, "{metric}");
        for item in items {
            item.check(Scorer::Official, metric, &item.reference(), item.official);
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
fn an_option_is_chosen_by_its_letter() {
    let options = vec!["milk".to_owned(), "a brick".to_owned(), "honey".to_owned()];
    let reference = Reference { answers: vec!["B".to_owned()], options, ..Reference::default() };
    for right in ["B", "b", "B.", "(B)", "B) a brick", "B. a brick", " B\n", "The answer is B"] {
        assert_eq!(score(Scorer::Official, Metric::MultipleChoice, right, &reference), 1.0, "{right:?}");
    }
    for wrong in ["", "A", "D", "brick", "a brick", "I think B", "It's B", "BB", "B²"] {
        assert_eq!(score(Scorer::Official, Metric::MultipleChoice, wrong, &reference), 0.0, "{wrong:?}");
    }
    let by_text = Reference { answers: vec!["a brick".to_owned()], ..reference };
    assert_eq!(score(Scorer::Official, Metric::MultipleChoice, "B", &by_text), 1.0);
}

#[test]
fn what_the_scripts_make_of_an_answer_agrees() {
    let read = |name: &str| {
        let path = format!("{}/../tests/fixtures/golden/coin/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let compared = |task: &str, key: &str, made: &dyn Fn(&str) -> serde_json::Value| {
        let expected: serde_json::Value =
            serde_json::from_slice(&read(&format!("{task}/expected.json"))).expect("JSON");
        let predictions =
            input::predictions(task, &read(&format!("{task}/predictions.jsonl"))).expect("lines");
        let mut texts = std::collections::BTreeMap::new();
        let mut keys = tally::Keys::default();
        for line in &predictions.lines {
            let id = input::id_text(&line.value).expect("an id");
            let text = line.value.get("text").and_then(|text| text.text()).expect("a text").to_owned();
            // ScienceQA's script keeps the last line with an id.
            let id = if task == "ScienceQA" { id } else { keys.key(&id) };
            texts.insert(id, text);
        }
        for (id, expected) in expected[key].as_object().expect("values by id") {
            let text = texts.get(id).map_or("FAILED", String::as_str);
            assert_eq!(made(text), *expected, "{task} {id}: {text:?}");
        }
    };
    compared("TextVQA", "normalized", &|text| normalise::textvqa(text).into());
    compared("ScienceQA", "parsed", &|text| multiple_choice::parsed(text).into());
}

#[test]
fn a_judge_is_read_strictly_or_as_the_original_does() {
    for (reply, strict, original) in [
        ("Score: 10", Some(10.0), Ok(1.0)),
        ("8 / 10", Some(8.0), Ok(0.0)),
        ("7.5/10", Some(7.5), Ok(0.0)),
        ("0.8, I think", Some(0.8), Ok(8.0)),
        ("010", Some(10.0), Ok(10.0)),
        ("-3", None, Ok(-3.0)),
        ("11", None, Ok(0.0)),
        ("1e1", Some(10.0), Ok(10.0)),
        ("3e", Some(3.0), Ok(3.0)),
        ("nan", None, Ok(0.0)),
        ("٧/10", Some(7.0), Ok(7.0)),
        ("none", None, Ok(0.0)),
        ("²/10", Some(10.0), Err(())),
        ("三/10", Some(10.0), Err(())),
    ] {
        assert_eq!(judge::score(reply), strict, "{reply:?}");
        assert_eq!(coin::judge::points(reply).map_err(|_| ()), original, "{reply:?}");
    }
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

/// Texts that the rules care about, more often than chance would have it.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![".*", r"[\[( ]?[0-9._, \-naif²٧]{0,24}[\])./ ]?", "[A-E .'İΣßſ1½/]{0,8}"]
}

proptest! {
    #[test]
    fn every_answer_has_a_score(
        prediction in any_text(),
        answers in proptest::collection::vec(any_text(), 0..11),
        bbox in proptest::option::of(proptest::array::uniform4(0.0..1.0)),
    ) {
        let reference = Reference { answers, bbox, ..Reference::default() };
        for metric in Metric::ALL {
            for scorer in [Scorer::Official, Scorer::Coin] {
                let score = score(scorer, metric, &prediction, &reference);
                prop_assert!((0.0..=1.0).contains(&score), "{scorer} {metric}: {score}");
            }
        }
    }

    #[test]
    fn every_reply_is_read_or_refused(reply in any_text()) {
        prop_assert!(judge::score(&reply).is_none_or(|score| (0.0..=10.0).contains(&score)));
        prop_assert!(coin::judge::points(&reply).is_ok_and(|points| points <= 10.0) || reply.contains('/'));
    }

    #[test]
    fn no_bytes_break_the_reader(
        bytes in proptest::collection::vec(any::<u8>(), 0..64),
        text in r#"[\[\]{}",:0-9eE.\\u \-ad\n]{0,40}"#,
    ) {
        for bytes in [&bytes[..], text.as_bytes()] {
            let fault = input::document("a", bytes).err().into_iter().chain(input::predictions("a", bytes).err());
            for fault in fault {
                prop_assert!(fault.place.starts_with('a') && !fault.reason.is_empty(), "{fault}");
            }
        }
    }
}
