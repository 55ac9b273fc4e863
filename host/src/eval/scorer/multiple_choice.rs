//! Multiple choice (ScienceQA, Lu et al., 2022): which option an answer means, and whether it is the right one.

use super::Reference;
use crate::eval::python::text::{is_word, upper};

/// The letters that options may have.
pub(super) const OPTIONS: [&str; 5] = ["A", "B", "C", "D", "E"];

/// Whether the answer chooses the right option. Nothing is guessed, and a letter beyond the options is wrong.
pub(super) fn right(prediction: &str, reference: &Reference) -> bool {
    let count = if reference.options.is_empty() { OPTIONS.len() } else { reference.options.len() };
    let chosen = chosen(&parsed(prediction), count);
    chosen.is_some() && chosen == target(reference)
}

/// What an answer says, as CoIN's `eval_science_qa.py` reads it: a letter alone or before a period and a space, else the first
/// character that stands alone as a word, in upper case. `FAILED` where there is none.
pub(super) fn parsed(text: &str) -> String {
    let mut letters = text.chars();
    let start = (letters.next(), letters.next(), letters.next());
    match (OPTIONS.into_iter().find(|option| text.starts_with(option)), start) {
        (Some(option), (Some(_), None, _) | (Some(_), Some('.'), Some(' '))) => option.to_owned(),
        _ => first_lone_character(text)
            .map_or("FAILED".to_owned(), |lone| upper(lone.encode_utf8(&mut [0; 4]))),
    }
}

/// The index of an option among the first `count`.
pub(super) fn chosen(parsed: &str, count: usize) -> Option<usize> {
    OPTIONS.iter().take(count).position(|option| *option == parsed)
}

/// The right option: a letter, or the option's text.
pub(super) fn target(reference: &Reference) -> Option<usize> {
    let answer = reference.target()?.trim();
    let letter = OPTIONS.iter().position(|option| option.eq_ignore_ascii_case(answer));
    letter.or_else(|| reference.options.iter().position(|option| option == answer))
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
