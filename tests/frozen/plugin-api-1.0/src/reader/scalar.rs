//! Truth values and numbers.

use super::Parsed;
use super::value::Value;

/// A truth value or a number.
pub(super) fn scalar(word: &str) -> Parsed<Value> {
    let problem = "not a value";
    match word {
        "true" => return Ok(Value::Bool(true)),
        "false" => return Ok(Value::Bool(false)),
        _ => {}
    }
    for (start, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = word.strip_prefix(start) {
            let digits = plain(digits, radix).ok_or(problem)?;
            return i64::from_str_radix(&digits, radix).map(Value::Integer).map_err(|_| problem);
        }
    }
    let (sign, digits) = match word.strip_prefix(['+', '-']) {
        Some(digits) => (&word[..1], digits),
        None => ("", word),
    };
    match digits {
        "inf" => return Ok(Value::Float(if sign == "-" { f64::NEG_INFINITY } else { f64::INFINITY })),
        "nan" => return Ok(Value::Float(if sign == "-" { -f64::NAN } else { f64::NAN })),
        _ => {}
    }
    let whole = digits.split(['.', 'e', 'E']).next().unwrap_or_default();
    let leading = whole.len() > 1 && whole.starts_with('0');
    let number = plain_number(digits).filter(|_| !leading).ok_or(problem)?;
    let number = format!("{sign}{number}");
    if digits == whole {
        number.parse().map(Value::Integer).map_err(|_| "an integer beyond 64 bits")
    } else {
        number.parse().map(Value::Float).map_err(|_| problem)
    }
}

/// Digits with `_` between them, without the `_`.
fn plain(digits: &str, radix: u32) -> Option<String> {
    let fits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_digit(radix));
    digits.split('_').all(fits).then(|| digits.replace('_', ""))
}

/// A decimal number without sign: `1`, `1_000.5`, `1e-3`.
fn plain_number(text: &str) -> Option<String> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let parts: Option<Vec<String>> = mantissa.splitn(2, '.').map(|part| plain(part, 10)).collect();
    let mut number = parts?.join(".");
    if let Some(exponent) = exponent {
        let (sign, digits) = match exponent.strip_prefix(['+', '-']) {
            Some(digits) => (&exponent[..1], digits),
            None => ("", exponent),
        };
        number.push_str(&format!("e{sign}{}", plain(digits, 10)?));
    }
    Some(number)
}
