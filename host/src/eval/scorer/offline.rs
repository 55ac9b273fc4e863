//! The offline judge of general knowledge: whether an answer holds the right content, in whatever form. Deterministic, without a
//! language model; a stand-in for one, and labelled as such wherever it is shown (`docs/judge.md`).

use super::normalise::vqa;
use super::{Metric, Reference, form, grounding, multiple_choice};

/// Longest answer of one word or phrase that a listing of guesses is told from, in words.
const LISTING: usize = 40;

/// The credit of an answer, from 0.0 to 1.0.
pub fn credit(metric: Metric, prediction: &str, reference: &Reference) -> f64 {
    match metric {
        Metric::MultipleChoice => super::binary(chooses(prediction, reference)),
        Metric::Grounding => super::binary(encloses(prediction, reference)),
        _ => says(prediction, reference),
    }
}

/// Whether the option that the answer names, by letter or by its text, is the right one.
fn chooses(prediction: &str, reference: &Reference) -> bool {
    let right = multiple_choice::target(reference);
    right.is_some() && option(prediction, &reference.options) == right
}

/// The option that an answer names: it is one option's text; else it begins with a letter set off by a mark, or is one; else it ends
/// in "answer is B"; else it holds the text of exactly one option; else the letter that CoIN's script finds.
fn option(prediction: &str, options: &[String]) -> Option<usize> {
    let count = if options.is_empty() { multiple_choice::OPTIONS.len() } else { options.len() };
    let said = vqa(prediction);
    let texts: Vec<String> = options.iter().map(|option| vqa(option)).collect();
    if let Some(place) = texts.iter().position(|text| !text.is_empty() && *text == said) {
        return Some(place);
    }
    if let Some(place) = form::letter(prediction).filter(|place| *place < count) {
        return Some(place);
    }
    let last = prediction.trim().trim_end_matches(['.', '!', ')', '*']).rsplit_once("answer is");
    if let Some(place) = last.and_then(|(_, rest)| form::letter(rest.trim())).filter(|place| *place < count) {
        return Some(place);
    }
    let mut named = (0..texts.len()).filter(|&place| holds(&said, &texts[place]));
    match (named.next(), named.next()) {
        (Some(place), None) => Some(place),
        _ => multiple_choice::chosen(&multiple_choice::parsed(prediction), count),
    }
}

/// Whether a box in the answer overlaps the right one by one half. Any four numbers are a box, corners in any order; numbers beyond 1
/// are read as parts of 100, of 1000 and, where the picture's size is known, as its pixels.
fn encloses(prediction: &str, reference: &Reference) -> bool {
    let (Some(truth), Some(numbers)) = (reference.bbox, four_numbers(prediction)) else { return false };
    let largest = numbers.iter().copied().fold(0.0, f64::max);
    let mut scales = Vec::new();
    if largest <= 1.0 {
        scales.push(1.0);
    } else {
        scales.extend([100.0, 1000.0].into_iter().filter(|scale| largest <= *scale));
        // Boxes are in parts of the picture padded to a square.
        let side = reference.size.map(|[width, height]| f64::from(width.max(height)));
        scales.extend(side.filter(|side| largest <= *side));
    }
    scales.iter().any(|scale| {
        let [x1, y1, x2, y2] = numbers.map(|number| number / scale);
        let sorted = [x1.min(x2), y1.min(y2), x1.max(x2), y1.max(y2)];
        grounding::iou(&sorted, &truth) >= 0.5
    })
}

/// The numbers of a text that holds exactly four, none of them negative.
pub(super) fn four_numbers(text: &str) -> Option<[f64; 4]> {
    let bytes = text.as_bytes();
    let negative = |at: usize| {
        let digit = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_digit() || *byte == b'.');
        bytes[at] == b'-'
            && digit(bytes.get(at + 1))
            && !digit(at.checked_sub(1).and_then(|at| bytes.get(at)))
    };
    if (0..bytes.len()).any(negative) {
        return None;
    }
    let numbers: Vec<f64> = text
        .split(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .filter_map(|part| part.trim_end_matches('.').parse().ok())
        .collect();
    <[f64; 4]>::try_from(numbers).ok()
}

/// The best of the accepted answers that the answer gives: `min(1, annotators / 3)`, or 1 where fewer than four were asked.
fn says(prediction: &str, reference: &Reference) -> f64 {
    let said = vqa(prediction);
    if said.is_empty() {
        return 0.0;
    }
    let accepted: Vec<String> = reference.answers.iter().flat_map(|answer| names(answer)).collect();
    let few = reference.answers.len() < 4;
    let weight = |answer: &String| {
        let count = accepted.iter().filter(|other| *other == answer).count();
        if few { 1.0 } else { (count as f64 / 3.0).min(1.0) }
    };
    let given = accepted.iter().filter(|answer| gives(&said, answer));
    given.map(weight).fold(0.0, f64::max)
}

/// An answer as normalised, and each of its names where it is a list of synonyms as WordNet writes them.
fn names(answer: &str) -> Vec<String> {
    let mut names = vec![vqa(answer)];
    if answer.contains(", ") {
        names.extend(answer.split(", ").map(vqa));
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Whether a normalised answer says an accepted one: it is it, or holds it as words of its own, not negated and not in a list of
/// contraries.
fn gives(said: &str, accepted: &str) -> bool {
    if said == accepted {
        return true;
    }
    let words: Vec<&str> = said.split(' ').collect();
    if words.len() > LISTING || !holds(said, accepted) {
        return false;
    }
    let has = |word: &str| words.contains(&word);
    match accepted {
        "yes" => !has("no") && !has("not"),
        "no" => !has("yes"),
        // "2 or 3" does not count to 2.
        number if number.parse::<f64>().is_ok() => {
            words.iter().filter(|word| word.parse::<f64>().is_ok()).all(|other| *other == number)
        }
        _ => {
            let wanted: Vec<&str> = accepted.split(' ').collect();
            let negates = |word: &str| word == "not" || word == "no" || word.ends_with("n't");
            let places = words.windows(wanted.len()).enumerate().filter(|(_, window)| *window == wanted);
            let mut before = places.map(|(place, _)| place.checked_sub(1).map_or("", |place| words[place]));
            before.any(|word| !negates(word))
        }
    }
}

/// Whether the words of `part` stand in `text` one after another.
fn holds(text: &str, part: &str) -> bool {
    !part.is_empty() && format!(" {text} ").contains(&format!(" {part} "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(prediction: &str) -> f64 {
        let reference = Reference {
            answers: vec!["B".to_owned()],
            options: ["milk", "a brick", "brick dust"].map(str::to_owned).to_vec(),
            ..Reference::default()
        };
        credit(Metric::MultipleChoice, prediction, &reference)
    }

    #[test]
    fn an_option_is_named_by_letter_or_text() {
        for right in
            ["B", "b", "(B)", "B. a brick", "Brick", "It is a brick.", "The answer is B.", "B: a brick"]
        {
            assert_eq!(choice(right), 1.0, "{right}");
        }
        for wrong in ["A", "milk", "brick dust", "milk or a brick", "", "D", "stone"] {
            assert_eq!(choice(wrong), 0.0, "{wrong}");
        }
    }

    #[test]
    fn a_box_counts_in_any_writing() {
        let reference =
            Reference { bbox: Some([0.1, 0.2, 0.5, 0.6]), size: Some([640, 480]), ..Reference::default() };
        for right in [
            "[0.1,0.2,0.5,0.6]",
            "(0.1, 0.2), (0.5, 0.6)",
            "x1=0.5 y1=0.6 0.1 0.2",
            "10, 20, 50, 60",
            "[64, 128, 320, 384]",
        ] {
            let right = right.replace("x1=", "").replace("y1=", "");
            assert_eq!(credit(Metric::Grounding, &right, &reference), 1.0, "{right}");
        }
        for wrong in
            ["", "left", "[-0.1,-0.2,0.5,0.6]", "[0.1,0.2,0.5]", "[0.6,0.7,0.9,0.9]", "[6400, 1, 2, 3]"]
        {
            assert_eq!(credit(Metric::Grounding, wrong, &reference), 0.0, "{wrong}");
        }
    }

    #[test]
    fn a_phrase_counts_inside_a_sentence_unless_it_is_denied() {
        let one =
            |prediction: &str, answer: &str| credit(Metric::Gqa, prediction, &Reference::answer(answer));
        for (said, answer) in [
            ("The man is on the left side.", "left"),
            ("Yes, it is.", "yes"),
            ("there are two", "2"),
            ("not leftover, left", "left"),
            ("A goldfish swimming", "goldfish, Carassius auratus"),
            ("No", "no"),
        ] {
            assert_eq!(one(said, answer), 1.0, "{said} / {answer}");
        }
        for (said, answer) in [
            ("", "left"),
            ("yes and no", "yes"),
            ("2 or 3", "2"),
            ("a colored wall, not red", "red"),
            ("it is not red", "red"),
            ("leftover", "left"),
            ("B", "brick"),
        ] {
            assert_eq!(one(said, answer), 0.0, "{said} / {answer}");
        }
    }

    #[test]
    fn annotators_weigh_as_in_soft_accuracy() {
        let answers = ["sofa", "couch", "couch", "bed", "sofa", "sofa", "chair", "bench", "seat", "stool"];
        let reference = Reference { answers: answers.map(str::to_owned).to_vec(), ..Reference::default() };
        let credit = |said: &str| credit(Metric::VqaSoft, said, &reference);
        assert_eq!(credit("a sofa"), 1.0);
        assert!((credit("on the couch") - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(credit("table"), 0.0);
    }
}
