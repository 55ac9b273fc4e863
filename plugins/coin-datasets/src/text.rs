//! The parts of a stored question: picture marks, turns, instruction line, options, boxes, paths.

use std::path::{Component, Path};

/// Lines that CoIN ends its questions with (`Instructions_Original`).
const INSTRUCTIONS: [&str; 2] = [
    "Answer the question using a single word or phrase.",
    "Answer with the option's letter from the given choices directly.",
];

/// Stands behind each earlier turn of a conversation in a question, as the host reads it (`coin_plugin_api::TURN`).
pub(crate) const TURN: char = coin_plugin_api::TURN;

/// LLaVA's picture mark.
pub(crate) const IMAGE: &str = "<image>";

/// A question without LLaVA's picture mark.
pub(crate) fn without_image_mark(text: &str) -> String {
    text.replace(IMAGE, "").trim_matches(['\n', ' ', '\r']).to_string()
}

/// Splits the instruction line off: the last of several lines, or with `known_only` the last line only where it is one that CoIN uses. A line that
/// is an option is not an instruction. Of a conversation only what is asked last is looked at.
pub(crate) fn split_instruction(text: String, known_only: bool) -> (String, Option<String>) {
    let text = text.trim_end();
    let asked = text.rfind(TURN).map_or(0, |end| end + TURN.len_utf8());
    let Some((question, last)) = text[asked..].rsplit_once('\n') else { return (text.to_string(), None) };
    let known = INSTRUCTIONS.contains(&last.trim());
    if known || !known_only && option(last).is_none() {
        let question = text[..asked + question.len()].trim_end();
        return (question.to_string(), Some(last.trim().to_string()));
    }
    (text.to_string(), None)
}

/// The options at the end of a question: lines `A. ..`, `B. ..`, and so on.
pub(crate) fn options(question: &str) -> Vec<String> {
    let mut options = Vec::new();
    let mut expected = None;
    for line in question.lines().rev() {
        let Some((letter, text)) = option(line) else { break };
        if expected.is_some_and(|expected| expected != letter) {
            break;
        }
        options.push(text.to_string());
        if letter == 'A' {
            options.reverse();
            return options;
        }
        expected = char::from_u32(u32::from(letter) - 1);
    }
    Vec::new()
}

/// Letter and text of a line `B. text`.
fn option(line: &str) -> Option<(char, &str)> {
    let (letter, text) = line.trim().split_once(". ")?;
    let mut letters = letter.chars();
    match (letters.next(), letters.next()) {
        (Some(letter @ 'A'..='Z'), None) => Some((letter, text.trim())),
        _ => None,
    }
}

/// Four numbers between commas, square brackets around them or not.
pub(crate) fn parse_box(text: &str) -> Option<[f64; 4]> {
    let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
    let numbers: Vec<f64> = inner.split(',').map(|part| part.trim().parse().ok()).collect::<Option<_>>()?;
    numbers.try_into().ok().filter(|numbers: &[f64; 4]| numbers.iter().all(|number| number.is_finite()))
}

/// A box as CoIN's answers write it.
pub(crate) fn write_box(bbox: &[f64]) -> String {
    let parts: Vec<String> = bbox.iter().map(ToString::to_string).collect();
    format!("[{}]", parts.join(","))
}

/// A relative path without `.` parts.
///
/// # Errors
/// Why the path is refused.
pub(crate) fn inside(path: &str) -> Result<String, &'static str> {
    let mut parts = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::CurDir => {}
            Component::ParentDir => return Err("climbs out of the image folder"),
            Component::RootDir | Component::Prefix(_) => return Err("is absolute"),
        }
    }
    if parts.is_empty() { Err("is empty") } else { Ok(parts.join("/")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_instruction() {
        let split = |text: &str, known_only| {
            let (question, instruction) = split_instruction(text.into(), known_only);
            (question, instruction.unwrap_or_default())
        };
        let phrase = INSTRUCTIONS[0];
        assert_eq!(
            split(&format!("Is it red?\n{phrase}"), false),
            (String::from("Is it red?"), phrase.to_string())
        );
        assert_eq!(
            split("Is it red?\nBe brief.\n", false),
            (String::from("Is it red?"), String::from("Be brief."))
        );
        assert_eq!(
            split("Is it red?\nBe brief.", true),
            (String::from("Is it red?\nBe brief."), String::new())
        );
        assert_eq!(split("Which?\nA. milk\nB. a brick", false).1, "");
        assert_eq!(split("Is it red?", false), (String::from("Is it red?"), String::new()));
        assert_eq!(split(&format!("Is it red?\r\n{phrase}\r\n"), false).0, "Is it red?");
    }

    #[test]
    fn options_are_the_lettered_lines_at_the_end() {
        assert_eq!(options("Which?\nA. milk\nB. a brick. Or two."), ["milk", "a brick. Or two."]);
        assert_eq!(options("Context: A. is first.\nA. x\nWhich?\nA. milk\nB. a brick"), ["milk", "a brick"]);
        assert_eq!(options("Which?\nB. milk\nC. a brick"), [""; 0]);
        assert_eq!(options("Which?\nA. milk\nC. a brick"), [""; 0]);
        assert_eq!(options("Which?"), [""; 0]);
    }

    #[test]
    fn boxes_are_four_finite_numbers() {
        assert_eq!(parse_box("[0.1, 0.2,0.5,1]"), Some([0.1, 0.2, 0.5, 1.0]));
        assert_eq!(parse_box("0.1,0.2,0.5,0.6"), Some([0.1, 0.2, 0.5, 0.6]));
        for text in ["", "[0.1,0.2,0.5]", "[0.1,0.2,0.5,NaN]", "[0.1,0.2,0.5,0.6,0.7]", "a,b,c,d"] {
            assert_eq!(parse_box(text), None, "{text}");
        }
        assert_eq!(parse_box(&write_box(&[0.12, 0.3, 0.4, 0.66])), Some([0.12, 0.3, 0.4, 0.66]));
    }

    #[test]
    fn paths_stay_inside() {
        assert_eq!(inside("./GQA/images//n1.jpg"), Ok(String::from("GQA/images/n1.jpg")));
        assert_eq!(inside("a/../../b"), Err("climbs out of the image folder"));
        assert_eq!(inside("/etc/passwd"), Err("is absolute"));
        assert_eq!(inside("./"), Err("is empty"));
    }

    #[test]
    fn the_image_mark_goes_wherever_it_stands() {
        assert_eq!(without_image_mark("<image>\nIs it red?\nBe brief."), "Is it red?\nBe brief.");
        assert_eq!(without_image_mark("Is it red?\n<image>"), "Is it red?");
        assert_eq!(without_image_mark("Is it red?"), "Is it red?");
    }
}
