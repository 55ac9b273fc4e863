//! Numbers as Python reads, rounds and prints them.

use super::text;

/// `float(text)`: decimal digits of any script, single underscores between digits, outer white space, `inf` and `nan`.
/// `None` where Python raises `ValueError`.
pub fn float(text: &str) -> Option<f64> {
    // White space is stripped after every Unicode space has become a blank, so that U+001C..U+001F are not.
    let outer = |letter: char| {
        if letter.is_ascii() { matches!(letter, ' ' | '\t'..='\r') } else { text::is_space(letter) }
    };
    let mut plain = String::with_capacity(text.len());
    for letter in text.trim_matches(outer).chars() {
        plain.push(match text::digit(letter) {
            Some(value) => char::from_digit(value, 10)?,
            None => letter,
        });
    }
    let bytes = plain.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let stray = |at: usize| !(digit(at.checked_sub(1)) && digit(Some(at + 1)));
    if bytes.iter().enumerate().any(|(at, &byte)| byte == b'_' && stray(at)) {
        return None;
    }
    plain.replace('_', "").parse().ok()
}

/// What `'{:.2f}'.format(value)` prints, as a number: rounded by the exact binary value.
pub fn two_decimals(value: f64) -> f64 {
    format!("{value:.2}").parse().unwrap_or(value)
}

/// `max(one, other)`: the first, unless the second is greater; so a NaN in first place stays.
pub fn max(one: f64, other: f64) -> f64 {
    if other > one { other } else { one }
}

/// `min(one, other)`, likewise.
pub fn min(one: f64, other: f64) -> f64 {
    if other < one { other } else { one }
}

/// `repr(value)`: the shortest digits that read back as the same number, with an exponent below 1e-4 and from 1e16.
pub fn repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent @ -4..=15) => {
            let decimals = digits.trim_start_matches('-').len().saturating_sub(2) as i32;
            format!("{value:.*}", (decimals - exponent).max(1) as usize)
        }
        Ok(exponent) => format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
        Err(_) => scientific,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_python_reads_them() {
        for (text, value) in [
            ("1_0", 10.0),
            ("1e1_0", 1e10),
            (" 7\n", 7.0),
            ("\u{85}1", 1.0),
            ("\u{a0}٠.١\u{3000}", 0.1),
            ("1e９", 1e9),
            ("1.e5", 1e5),
            (".5", 0.5),
            ("+Infinity", f64::INFINITY),
            ("-1e400", f64::NEG_INFINITY),
            ("1e-400", 0.0),
        ] {
            assert_eq!(float(text), Some(value), "{text:?}");
        }
        assert!(float("-nAn").is_some_and(f64::is_nan));
        for text in [
            "", ".", "1e", "e5", "_1", "1_", "1__0", "1._0", "1_.0", "0x1", "in_f", "1 1", "\u{1c}1", "1\0",
            "−1", "²",
        ] {
            assert_eq!(float(text), None, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_printed_as_python_prints_them() {
        for (value, text) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (1e16, "1e+16"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-2.5e-7, "-2.5e-07"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(repr(value), text);
        }
        assert_eq!([53.125, 0.005, 2.675, 60.9375].map(two_decimals), [53.12, 0.01, 2.67, 60.94]);
    }

    #[test]
    fn a_nan_in_first_place_stays() {
        assert!(max(f64::NAN, 1.0).is_nan() && min(f64::NAN, 1.0).is_nan());
        assert_eq!((max(0.0, f64::NAN), min(1.0, f64::NAN)), (0.0, 1.0));
    }
}
