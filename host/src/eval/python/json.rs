//! `json.loads`: what Python's reader takes, refuses and makes of it. Unlike a strict reader it takes `NaN` and `Infinity`, whole numbers
//! of any length and halves of surrogate pairs, and of a repeated key it keeps the last value.

use std::collections::BTreeMap;

use super::number;

/// A value as Python holds it.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    /// Its decimal digits.
    Int(String),
    Float(f64),
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

/// A value as a key of a dictionary: `1`, `1.0` and `True` are one key, `"1"` is another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Null,
    Number(String),
    Text(String),
}

/// Where a text stops being JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct JsonError {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    pub reason: &'static str,
}

impl Json {
    /// The value of a key; `None` as well where this is no object.
    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.get(key),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn list(&self) -> Option<&[Json]> {
        match self {
            Json::List(items) => Some(items),
            _ => None,
        }
    }

    /// The number that arithmetic sees; `True` counts as 1.
    pub fn number(&self) -> Option<f64> {
        match self {
            Json::Bool(value) => Some(f64::from(u8::from(*value))),
            Json::Int(digits) => digits.parse().ok(),
            Json::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// `bool(value)`.
    pub fn truthy(&self) -> bool {
        match self {
            Json::Null => false,
            Json::Text(text) => !text.is_empty(),
            Json::List(items) => !items.is_empty(),
            Json::Object(members) => !members.is_empty(),
            number => number.number() != Some(0.0),
        }
    }

    /// `str(value)`; `None` for objects, and for lists of anything but numbers, `true`, `false`, `null` and such lists.
    pub fn str(&self) -> Option<String> {
        match self {
            Json::Null => Some("None".to_owned()),
            Json::Bool(true) => Some("True".to_owned()),
            Json::Bool(false) => Some("False".to_owned()),
            Json::Int(digits) => Some(digits.clone()),
            Json::Float(value) => Some(number::repr(*value)),
            Json::Text(text) => Some(text.clone()),
            Json::List(items) => {
                let plain = items.iter().all(|item| item.text().is_none());
                let items = items.iter().map(Json::str).collect::<Option<Vec<_>>>().filter(|_| plain)?;
                Some(format!("[{}]", items.join(", ")))
            }
            Json::Object(_) => None,
        }
    }

    /// The value as a key of a dictionary; `None` for what Python cannot hash.
    pub fn key(&self) -> Option<Key> {
        match self {
            Json::Null => Some(Key::Null),
            Json::Bool(value) => Some(Key::Number(u8::from(*value).to_string())),
            Json::Int(digits) => Some(Key::Number(digits.clone())),
            // A whole number prints all its digits, and no decimals; minus zero is zero.
            Json::Float(value) if value.fract() == 0.0 => Some(Key::Number(format!("{:.0}", value + 0.0))),
            Json::Float(value) => Some(Key::Number(number::repr(*value))),
            Json::Text(text) => Some(Key::Text(text.clone())),
            Json::List(_) | Json::Object(_) => None,
        }
    }

    /// What to call it in a message.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "true or false",
            Json::Int(_) | Json::Float(_) => "a number",
            Json::Text(_) => "a text",
            Json::List(_) => "a list",
            Json::Object(_) => "an object",
        }
    }
}

/// The lines of a text file as Python iterates over it, numbered from 1, without their ends: `\n`, `\r\n` or `\r`.
pub fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = text;
    let line = move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let line = &rest[..end];
        let after = &rest[end..];
        let width = if after.starts_with("\r\n") { 2 } else { after.len().min(1) };
        rest = &after[width..];
        Some(line)
    };
    std::iter::from_fn(line).enumerate().map(|(at, line)| (at + 1, line))
}

/// Reads one JSON document.
///
/// Half of a surrogate pair is no Unicode text; it becomes a character of the last private plane (U+10F800 on), which like it
/// has no case, is no letter, no digit and no space.
///
/// # Errors
/// What Python raises `JSONDecodeError` for, and more than 900 levels.
pub fn loads(text: &str) -> Result<Json, JsonError> {
    let mut reader = Reader { text, at: 0 };
    let fault = |reader: &Reader, reason| {
        let before = &reader.text[..reader.at];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        JsonError {
            line: before.matches('\n').count() + 1,
            column: before[start..].chars().count() + 1,
            reason,
        }
    };
    if text.starts_with('\u{feff}') {
        return Err(fault(&reader, "a byte order mark"));
    }
    let value = reader.document();
    value.map_err(|reason| fault(&reader, reason))
}

const DEEPEST: usize = 900;
const HALF_PAIRS: u32 = 0x0010_f800;

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Json, &'static str> {
        self.space();
        let value = self.value(0)?;
        self.space();
        if self.at < self.text.len() { Err("something stands after the value") } else { Ok(value) }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn value(&mut self, depth: usize) -> Result<Json, &'static str> {
        if depth > DEEPEST {
            return Err("nested too deeply");
        }
        match self.peek() {
            Some(b'"') => Ok(Json::Text(self.string()?)),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            _ => self.word().map_or_else(|| self.number(), Ok),
        }
    }

    fn word(&mut self) -> Option<Json> {
        let words = [
            ("null", Json::Null),
            ("true", Json::Bool(true)),
            ("false", Json::Bool(false)),
            ("NaN", Json::Float(f64::NAN)),
            ("Infinity", Json::Float(f64::INFINITY)),
            ("-Infinity", Json::Float(f64::NEG_INFINITY)),
        ];
        words.into_iter().find_map(|(word, value)| self.take(word).then_some(value))
    }

    fn object(&mut self, depth: usize) -> Result<Json, &'static str> {
        let mut members = BTreeMap::new();
        self.at += 1;
        self.space();
        if self.take("}") {
            return Ok(Json::Object(members));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err("a key in double quotes is expected");
            }
            let key = self.string()?;
            self.space();
            if !self.take(":") {
                return Err("a colon is expected");
            }
            self.space();
            members.insert(key, self.value(depth + 1)?);
            self.space();
            if self.take("}") {
                return Ok(Json::Object(members));
            }
            if !self.take(",") {
                return Err("a comma or a closing brace is expected");
            }
            self.space();
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, &'static str> {
        let mut items = Vec::new();
        self.at += 1;
        self.space();
        if self.take("]") {
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            if self.take("]") {
                return Ok(Json::List(items));
            }
            if !self.take(",") {
                return Err("a comma or a closing bracket is expected");
            }
            self.space();
        }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<Json, &'static str> {
        let start = self.at;
        self.take("-");
        if !self.take("0") && self.digits() == 0 {
            self.at = start;
            return Err("a value is expected");
        }
        let whole = self.at;
        self.take(".");
        if self.at > whole && self.digits() == 0 {
            self.at = whole;
        }
        let mantissa = self.at;
        if self.take("e") || self.take("E") {
            let _ = self.take("+") || self.take("-");
            if self.digits() == 0 {
                self.at = mantissa;
            }
        }
        let literal = &self.text[start..self.at];
        if self.at == whole {
            return Ok(Json::Int(if literal == "-0" { "0" } else { literal }.to_owned()));
        }
        literal.parse().map(Json::Float).map_err(|_| "a value is expected")
    }

    fn string(&mut self) -> Result<String, &'static str> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = self.rest();
            let plain = rest
                .find(|letter: char| letter == '"' || letter == '\\' || letter < ' ')
                .unwrap_or(rest.len());
            out.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) => return Err("a control character stands in a text"),
                None => return Err("a text does not end"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, &'static str> {
        self.at += 1;
        let simple = match self.peek() {
            Some(b'u') => return self.code_points(),
            Some(same @ (b'"' | b'\\' | b'/')) => char::from(same),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            _ => return Err("an unknown escape"),
        };
        self.at += 1;
        Ok(simple)
    }

    /// One `\uXXXX`, or two that make a pair.
    fn code_points(&mut self) -> Result<char, &'static str> {
        let first = self.unit()?;
        if (0xd800..0xdc00).contains(&first) && self.rest().starts_with("\\u") {
            let back = self.at;
            self.at += 1;
            match self.unit()? {
                second @ 0xdc00..0xe000 => {
                    let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                    return char::from_u32(code).ok_or("an unknown escape");
                }
                _ => self.at = back,
            }
        }
        let half = |unit: u32| char::from_u32(HALF_PAIRS + unit - 0xd800);
        char::from_u32(first).or_else(|| half(first)).ok_or("an unknown escape")
    }

    /// The value of `uXXXX`.
    fn unit(&mut self) -> Result<u32, &'static str> {
        let digits = self.text.get(self.at + 1..self.at + 5).unwrap_or_default();
        if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("four hexadecimal digits are expected");
        }
        self.at += 5;
        u32::from_str_radix(digits, 16).map_err(|_| "four hexadecimal digits are expected")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(text: &str) -> Json {
        loads(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn what_python_reads_is_read() {
        let value = loaded(r#" {"a": 1, "b": [NaN, -Infinity, -0, 1E2, null], "a": "\u00e9\ud83d\ude00"} "#);
        assert_eq!(value.get("a").and_then(Json::text), Some("é😀"));
        let list = value.get("b").and_then(Json::list).expect("a list");
        assert_eq!(
            list[1..].iter().filter_map(Json::str).collect::<Vec<_>>(),
            ["-inf", "0", "100.0", "None"]
        );
        assert_eq!(
            loaded("123456789012345678901234567890").str().as_deref(),
            Some("123456789012345678901234567890")
        );
        assert_eq!(loaded("[1, 2.0, [true]]").str().as_deref(), Some("[1, 2.0, [True]]"));
        assert_eq!(loaded(r#""\ud83dx""#).text(), Some("\u{10f83d}x"));
    }

    #[test]
    fn what_python_refuses_is_refused_where_it_stands() {
        for (text, column) in [
            ("", 1),
            ("{} x", 4),
            (r#"{"a": 1,}"#, 9),
            (r#"{"a" 1}"#, 6),
            ("[1 2]", 4),
            ("01", 2),
            ("1.", 2),
            ("-", 1),
            ("\"a\u{1f}\"", 3),
            (r#""\x""#, 3),
            ("\u{feff}1", 1),
            (r#"{"a": "b"#, 9),
        ] {
            let error = loads(text).expect_err(text);
            assert_eq!((error.line, error.column), (1, column), "{text}: {error}");
        }
        assert_eq!(loads("[\n 1,\n é]").map_err(|error| (error.line, error.column)), Err((3, 2)));
        assert!(loads(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn keys_are_equal_where_python_says_so() {
        let key = |text| loaded(text).key();
        assert_eq!(key("1"), key("1.0"));
        assert_eq!(key("1"), key("true"));
        assert_eq!(key("0"), key("-0.0"));
        assert_ne!(key("1"), key("\"1\""));
        assert_ne!(key("0.5"), key("0"));
        assert_eq!((key("[1]"), key("{}"), key("null")), (None, None, Some(Key::Null)));
    }

    #[test]
    fn lines_end_at_any_line_end() {
        let found: Vec<_> = lines("a\r\nb\rc\n\nd").collect();
        assert_eq!(found, [(1, "a"), (2, "b"), (3, "c"), (4, ""), (5, "d")]);
        assert_eq!(lines("a\n").count(), 1);
        assert_eq!(lines("").count(), 0);
        assert_eq!(lines("a\u{85}b\u{2028}c").count(), 1);
    }
}
