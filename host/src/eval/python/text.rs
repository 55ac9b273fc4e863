//! `str` methods and the character classes of `re`, as of Unicode 14.0.

use super::tables::{CASED, DIGITS, IGNORABLE, NUMERIC, WORD};

/// `str.upper`: the full mapping, so that `ß` becomes `SS`.
pub fn upper(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if within(YOUNGER, letter).is_some() { out.push(letter) } else { out.extend(letter.to_uppercase()) }
    }
    out
}

/// `str.lower`: the full mapping, with the rule of the final sigma.
pub fn lower(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, letter) in text.char_indices() {
        match letter {
            'Σ' => out.push(if ends_word(text, at) { 'ς' } else { 'σ' }),
            _ if within(YOUNGER, letter).is_some() => out.push(letter),
            _ => out.extend(letter.to_lowercase()),
        }
    }
    out
}

/// Characters that got their other case after Unicode 14.0.
const YOUNGER: &[(u32, u32)] = &[
    (0x19b, 0x19b),
    (0x264, 0x264),
    (0x1c89, 0x1c8a),
    (0xa7cb, 0xa7cf),
    (0xa7d2, 0xa7d5),
    (0xa7da, 0xa7dc),
    (0x10d50, 0x10d65),
    (0x10d70, 0x10d85),
    (0x16ea0, 0x16eb8),
    (0x16ebb, 0x16ed3),
];

/// Whether the sigma at a place stands behind a letter and before none, marks aside.
fn ends_word(text: &str, at: usize) -> bool {
    let before = text[..at].chars().rev().find(|&letter| !is_case_ignorable(letter));
    let after = text[at + 'Σ'.len_utf8()..].chars().find(|&letter| !is_case_ignorable(letter));
    before.is_some_and(is_cased) && !after.is_some_and(is_cased)
}

fn is_case_ignorable(letter: char) -> bool {
    matches!(letter, '\'' | '.' | ':' | '^' | '`') || within(IGNORABLE, letter).is_some()
}

fn is_cased(letter: char) -> bool {
    letter.is_ascii_alphabetic() || within(CASED, letter).is_some()
}

/// `str.isspace` of one character: Unicode white space and the four information separators.
pub fn is_space(letter: char) -> bool {
    letter.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&letter)
}

/// `str.strip()`.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `str.split()`: the words between white space.
pub fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// `\w`: letters, anything with a numeric value, the underscore; no combining marks, no circled letters.
pub fn is_word(letter: char) -> bool {
    match letter.is_ascii() {
        true => letter.is_ascii_alphanumeric() || letter == '_',
        false => within(WORD, letter).is_some(),
    }
}

/// `\d`, and the value of the digit: decimal digits of all scripts.
pub fn digit(letter: char) -> Option<u32> {
    match letter.is_ascii() {
        true => letter.to_digit(10),
        false => within(DIGITS, letter).map(|first| (u32::from(letter) - first) % 10),
    }
}

/// `str.isnumeric`: not empty, and every character has a numeric value, `²`, `½` and `三` included.
pub fn is_numeric(text: &str) -> bool {
    let numeric = |letter: char| letter.is_ascii_digit() || within(NUMERIC, letter).is_some();
    !text.is_empty() && text.chars().all(numeric)
}

/// The start of the range that holds a character.
fn within(ranges: &[(u32, u32)], letter: char) -> Option<u32> {
    let code = u32::from(letter);
    let at = ranges.partition_point(|&(_, last)| last < code);
    ranges.get(at).map(|&(first, _)| first).filter(|&first| first <= code)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    /// What CPython 3.11.7 says, joined over all code points:
    /// `(c.upper() + "\n" + c.lower() + "\n").encode()`
    const CASES: &str = "12cfb0ca4b6274aef34bcd3efcb12b0355c182694242f0c399795c4b63a5acef";
    /// `bytes([c.isspace(), bool(re.match(r"\w", c)), c.isnumeric(), unicodedata.decimal(c, 255)])`
    const CLASSES: &str = "843271bfa639fa1d4ca4af9ed54df9ae63b2d3b7579873f7c3a657941d50582c";
    /// `("A" + c + "Σ AΣ" + c + "A").lower().encode()`
    const SIGMAS: &str = "5a9093e680b6fb0d6a5b62b762ad230cb260e9c00124616ad4a67efa85d8756b";

    fn checksum(of: impl Fn(char) -> Vec<u8>) -> String {
        let all = ('\0'..=char::MAX).fold(Sha256::new(), |sum, letter| sum.chain_update(of(letter)));
        all.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn every_code_point_is_mapped_as_python_maps_it() {
        let cases = checksum(|letter| {
            let text = letter.to_string();
            format!("{}\n{}\n", upper(&text), lower(&text)).into_bytes()
        });
        assert_eq!(cases, CASES, "a newer Unicode than that of the list YOUNGER?");
        assert_eq!(checksum(|letter| lower(&format!("A{letter}Σ AΣ{letter}A")).into_bytes()), SIGMAS);
    }

    #[test]
    fn every_code_point_is_of_the_class_that_python_gives_it() {
        let classes = checksum(|letter| {
            let value = digit(letter).and_then(|value| u8::try_from(value).ok());
            let class = |holds: bool| u8::from(holds);
            let numeric = is_numeric(letter.encode_utf8(&mut [0; 4]));
            vec![class(is_space(letter)), class(is_word(letter)), class(numeric), value.unwrap_or(255)]
        });
        assert_eq!(classes, CLASSES);
    }

    #[test]
    fn words_are_cut_at_white_space_of_all_kinds() {
        assert_eq!(strip("\u{1c}\u{85} a b\u{3000}"), "a b");
        let words: Vec<&str> = split("a\u{1f}b\u{200b}c \u{2028}d").collect();
        assert_eq!(words, ["a", "b\u{200b}c", "d"]);
        assert!(!is_numeric("") && is_numeric("½三٧") && !is_numeric("7.5"));
    }
}
