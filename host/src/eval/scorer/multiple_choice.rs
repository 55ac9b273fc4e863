//! Multiple choice (ScienceQA, Lu et al., 2022): which option an answer means, and whether it is the right one.

use super::Reference;

/// The answer may be a letter (`B`, `b`, `B.`, `(B)`, `B. a brick`, `The answer is B.`) or the text of exactly one option.
/// Otherwise the first character that stands alone as a word is taken as the letter. A letter beyond the options is wrong.
pub(super) fn official(prediction: &str, reference: &Reference) -> bool {
    let count = if reference.options.is_empty() { 5 } else { reference.options.len() };
    let chosen = by_text(prediction, &reference.options)
        .or_else(|| letter(prediction, count))
        .filter(|&at| at < count);
    chosen.is_some() && chosen == target(reference)
}

/// CoIN (`eval_science_qa.py`): letters only, so that the option text `a brick` is read as A.
pub(super) fn coin(prediction: &str, reference: &Reference) -> bool {
    let chosen =
        letter(prediction, 5).filter(|&at| reference.options.is_empty() || at < reference.options.len());
    chosen.is_some() && chosen == target(reference)
}

/// The right option: a letter, or the option's text.
fn target(reference: &Reference) -> Option<usize> {
    let answer = reference.target()?.trim();
    let mut letters = answer.chars();
    match (letters.next(), letters.next()) {
        (Some(only), None) if only.is_ascii_alphabetic() => Some(index(only)),
        _ => by_text(answer, &reference.options),
    }
}

/// The one option whose text this is, up to case, outer spaces and a final period. A lone letter is a label, not a text.
fn by_text(text: &str, options: &[String]) -> Option<usize> {
    let text = fold(text);
    text.chars().nth(1)?;
    let mut found = options.iter().enumerate().filter(|(_, option)| fold(option) == text);
    match (found.next(), found.next()) {
        (Some((at, _)), None) => Some(at),
        _ => None,
    }
}

fn fold(text: &str) -> String {
    text.trim().trim_end_matches('.').trim_end().to_lowercase()
}

/// The index of the letter an answer gives, if it is one of the first `count`.
fn letter(text: &str, count: usize) -> Option<usize> {
    let labels = |letter: &char| letter.is_ascii_uppercase() && index(*letter) < count;
    let mut start = text.chars();
    match (start.next(), start.next(), start.next()) {
        (Some(first), Some('.'), Some(' ')) if labels(&first) => Some(index(first)),
        _ => first_lone_character(text)
            .and_then(|lone| {
                let mut upper = lone.to_uppercase();
                upper.next().filter(|_| upper.next().is_none())
            })
            .filter(labels)
            .map(index),
    }
}

/// The first match of the regular expression `\b(\w)\b`.
fn first_lone_character(text: &str) -> Option<char> {
    let mut before = None;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let alone = !before.is_some_and(is_word) && !letters.peek().copied().is_some_and(is_word);
        if is_word(letter) && alone {
            return Some(letter);
        }
        before = Some(letter);
    }
    None
}

/// Python's `\w`: letters, numbers, underscore; circled letters are none of them.
fn is_word(letter: char) -> bool {
    letter == '_' || (letter.is_alphanumeric() && !('\u{24b6}'..='\u{24e9}').contains(&letter))
}

fn index(letter: char) -> usize {
    (letter.to_ascii_uppercase() as usize).wrapping_sub('A' as usize)
}
