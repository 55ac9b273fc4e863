//! Whether an answer is in the form that was asked for, right or wrong: an option's letter, a word or phrase, a box.

use super::{Metric, Reference, multiple_choice, offline};

/// Words that a phrase may always have; more where the accepted answers are longer themselves.
const PHRASE: usize = 10;

/// Whether the answer is not in the asked form at all. See `docs/metrics.md` for the rules.
pub fn fails(metric: Metric, prediction: &str, reference: &Reference) -> bool {
    let said = prediction.trim();
    match metric {
        Metric::MultipleChoice => {
            let count = if reference.options.is_empty() {
                multiple_choice::OPTIONS.len()
            } else {
                reference.options.len()
            };
            letter(said).is_none_or(|place| place >= count)
        }
        Metric::Grounding => !is_box(said),
        _ => !is_phrase(said, reference),
    }
}

/// The place of the option whose letter an answer gives: `b`, `B`, `(B)`, `B.`, `B: a brick`, `B) a brick`.
pub(super) fn letter(text: &str) -> Option<usize> {
    let text = text.trim();
    let (inner, bracket) = text.strip_prefix('(').map_or((text, false), |inner| (inner, true));
    let mut letters = inner.chars();
    let first = letters.next()?.to_ascii_uppercase();
    let place = multiple_choice::OPTIONS.iter().position(|option| option.starts_with(first))?;
    match (letters.next(), bracket) {
        (None, false) | (Some(')'), true) => Some(place),
        (Some('.' | ':' | ')' | ','), false) => {
            let rest = letters.as_str();
            (rest.is_empty() || rest.starts_with(char::is_whitespace)).then_some(place)
        }
        _ => None,
    }
}

/// `[x1,y1,x2,y2]`, four numbers in 0..1.
fn is_box(said: &str) -> bool {
    let Some(inner) = said.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else { return false };
    let numbers: Option<Vec<f64>> = inner.split(',').map(|part| part.trim().parse().ok()).collect();
    numbers.is_some_and(|numbers| {
        numbers.len() == 4 && numbers.iter().all(|number| (0.0..=1.0).contains(number))
    })
}

/// One line of a few words that is no box, and no letter where no letter was accepted.
fn is_phrase(said: &str, reference: &Reference) -> bool {
    let words = |text: &str| text.split_whitespace().count();
    let longest = reference.answers.iter().map(|answer| words(answer)).max().unwrap_or(0);
    let a_letter = |text: &str| letter(text).is_some() && words(text) == 1;
    let accepted = |test: &dyn Fn(&str) -> bool| reference.answers.iter().any(|answer| test(answer.trim()));
    let bracketed = |text: &str| text.starts_with('[') && offline::four_numbers(text).is_some();
    !said.is_empty()
        && !said.contains(['\n', '\r'])
        && words(said) <= PHRASE.max(2 * longest)
        && (!bracketed(said) || accepted(&bracketed))
        && (!a_letter(said) || accepted(&a_letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_has_its_form() {
        let options = Reference { options: vec!["milk".into(), "a brick".into()], ..Reference::answer("B") };
        for (said, fails_) in [
            ("B", false),
            ("A.", false),
            ("(b)", false),
            ("B. a brick", false),
            ("C", true),
            ("a brick", true),
            ("", true),
            ("Answer", true),
        ] {
            assert_eq!(fails(Metric::MultipleChoice, said, &options), fails_, "{said}");
        }
        let box_ = Reference { bbox: Some([0.0, 0.0, 1.0, 1.0]), ..Reference::default() };
        for (said, fails_) in [
            ("[0.1,0.2,0.5,0.6]", false),
            ("[0.1, 0.2, 0.5, 1]", false),
            ("0.1,0.2,0.5,0.6", true),
            ("[10,20,50,60]", true),
            ("left", true),
            ("[a,b,c,d]", true),
        ] {
            assert_eq!(fails(Metric::Grounding, said, &box_), fails_, "{said}");
        }
        let phrase = Reference::answer("left");
        for (said, fails_) in [
            ("right", false),
            ("on the left side", false),
            ("7", false),
            ("", true),
            ("B", true),
            ("[0.1,0.2,0.5,0.6]", true),
            ("two\nlines", true),
            ("The image shows a man who stands on the left side of a car.", true),
        ] {
            assert_eq!(fails(Metric::Gqa, said, &phrase), fails_, "{said}");
        }
        assert!(
            !fails(Metric::TextVqa, "B", &Reference::answer("A")),
            "a letter may be what the picture shows"
        );
    }
}
