//! What can be wrong with a record that was read.

use coin_plugin_api::Record;

/// Something wrong with a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: &'static str,
    pub(super) what: String,
}

/// Everything that is wrong with a record, of a task whose questions have options or not.
pub(super) fn faults(record: &Record, has_options: bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut add = |kind, what: String| faults.push(Fault { kind, what });
    if record.id.is_empty() {
        add("id", String::from("the id is empty"));
    }
    if record.question.trim().is_empty() {
        add("question", String::from("the question is empty"));
    }
    if record.answers.is_empty() {
        add("answer", String::from("there is no answer"));
    }
    if record.answers.iter().any(|answer| answer.trim().is_empty()) {
        add("answer", String::from("an answer is empty"));
    }
    if has_options && record.options.is_empty() {
        add("options", String::from("it has no options"));
    }
    if let (false, Some(answer)) = (record.options.is_empty(), record.answers.first())
        && !is_option(answer, &record.options)
    {
        add("options", format!("the answer `{answer}` is none of {} options", record.options.len()));
    }
    if let Some([left, top, right, bottom]) = record.bbox {
        let inside = [left, top, right, bottom].iter().all(|value| (0.0..=1.0).contains(value));
        if !inside || left >= right || top >= bottom {
            add("box", format!("[{left}, {top}, {right}, {bottom}] is not a box x1, y1, x2, y2 in 0..1"));
        }
    }
    faults
}

/// Whether an answer is the letter of an option, of those that scorers know, or its text.
fn is_option(answer: &str, options: &[String]) -> bool {
    let answer = answer.trim();
    let by_letter = match answer.as_bytes() {
        [letter @ b'A'..=b'E'] => usize::from(letter - b'A') < options.len(),
        _ => false,
    };
    by_letter || options.iter().any(|option| option.trim() == answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_named() {
        let good = Record {
            id: "1".into(),
            question: "which?".into(),
            options: vec!["milk".into(), "a brick".into()],
            answers: vec!["B".into()],
            bbox: Some([0.1, 0.2, 0.3, 0.4]),
            ..Record::default()
        };
        assert_eq!(faults(&good, true), []);
        assert_eq!(faults(&Record { options: vec![], ..good.clone() }, true).len(), 1);
        let of = |change: fn(&mut Record)| {
            let mut record = good.clone();
            change(&mut record);
            faults(&record, true).into_iter().map(|fault| fault.what).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(of(|record| record.answers[0] = "a brick".into()), "");
        assert_eq!(of(|record| record.answers[0] = "C".into()), "the answer `C` is none of 2 options");
        assert_eq!(of(|record| record.id.clear()), "the id is empty");
        assert_eq!(of(|record| record.question = " ".into()), "the question is empty");
        assert_eq!(of(|record| record.answers.clear()), "there is no answer");
        assert_eq!(of(|record| record.answers.push(" ".into())), "an answer is empty");
        for bbox in [[0.5, 0.1, 0.4, 0.2], [0.1, 0.1, 0.4, 1.2], [0.1, 0.3, 0.4, 0.3]] {
            let broken = Record { bbox: Some(bbox), ..good.clone() };
            assert_eq!(faults(&broken, false).len(), 1, "{bbox:?}");
        }
    }
}
