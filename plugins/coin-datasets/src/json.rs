//! JSON as it is needed here: one record at a time, texts borrowed from its bytes where nothing in them is escaped. A reader of our own,
//! because serde's code for these types takes a tenth of the library.

use std::borrow::Cow;

/// Lists and objects within each other.
const DEEPEST: u32 = 64;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    /// As it is written.
    Number(&'a str),
    Text(Cow<'a, str>),
    List(Vec<Value<'a>>),
    /// In written order.
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

/// What is wrong, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) why: &'static str,
}

type Parsed<T> = Result<T, Fault>;

impl<'a> Value<'a> {
    /// The value of a key of an object; of a key that is there twice the last, as in Python. `null` counts as not there.
    pub(crate) fn get(&self, key: &str) -> Option<&Value<'a>> {
        let Value::Object(members) = self else { return None };
        let found = members.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value);
        found.filter(|value| **value != Value::Null)
    }

    /// A text.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }

    /// A text, or the digits of a number that stands for one.
    pub(crate) fn scalar(&self) -> Option<&str> {
        if let Value::Number(number) = self { Some(number) } else { self.text() }
    }

    /// The items of a list.
    pub(crate) fn list(&self) -> Option<&[Value<'a>]> {
        if let Value::List(items) = self { Some(items) } else { None }
    }

    /// A list of numbers.
    pub(crate) fn numbers(&self) -> Option<Vec<f64>> {
        let number = |item: &Value| if let Value::Number(text) = item { text.parse().ok() } else { None };
        self.list()?.iter().map(number).collect()
    }
}

/// Reads one value that is all there is.
pub(crate) fn parse(bytes: &[u8]) -> Parsed<Value<'_>> {
    let mut reader = Reader::new(bytes)?;
    let value = reader.value(0)?;
    reader.end()?;
    Ok(value)
}

/// Reads one member of an object, `"key": value`.
pub(crate) fn member(bytes: &[u8]) -> Parsed<(Cow<'_, str>, Value<'_>)> {
    let mut reader = Reader::new(bytes)?;
    let member = reader.member(0)?;
    reader.end()?;
    Ok(member)
}

/// Reads these keys of an object and passes over the others, whose values are not looked at; a key that is there twice has its last value.
pub(crate) fn pick<'a, const N: usize>(bytes: &'a [u8], keys: [&str; N]) -> Parsed<[Value<'a>; N]> {
    let mut reader = Reader::new(bytes)?;
    let mut found = [const { Value::Null }; N];
    if reader.peek() != b'{' {
        return reader.fault("an object is missing");
    }
    reader.items(b'}', |reader| {
        let key = reader.key()?;
        match keys.iter().position(|wanted| *wanted == key) {
            Some(place) => found[place] = reader.value(1)?,
            None => reader.pass()?,
        }
        Ok(())
    })?;
    reader.end()?;
    Ok(found)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Parsed<Reader<'a>> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Reader { text, at: 0 }),
            Err(error) => Err(Fault { at: error.valid_up_to(), why: "invalid UTF-8" }),
        }
    }

    fn fault<T>(&self, why: &'static str) -> Parsed<T> {
        Err(Fault { at: self.at, why })
    }

    /// The next byte behind blanks; 0, which JSON has no use for, at the end.
    fn peek(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        bytes.get(self.at).copied().unwrap_or(0)
    }

    fn end(&mut self) -> Parsed<()> {
        self.peek();
        if self.at == self.text.len() { Ok(()) } else { self.fault("something follows the value") }
    }

    fn value(&mut self, depth: u32) -> Parsed<Value<'a>> {
        if depth == DEEPEST {
            return self.fault("lists and objects are nested too deeply");
        }
        match self.peek() {
            b'"' => self.string().map(Value::Text),
            b'{' => self.items(b'}', |reader| reader.member(depth + 1)).map(Value::Object),
            b'[' => self.items(b']', |reader| reader.value(depth + 1)).map(Value::List),
            b't' => self.word("true", Value::Bool(true)),
            b'f' => self.word("false", Value::Bool(false)),
            b'n' => self.word("null", Value::Null),
            b'-' | b'0'..=b'9' => self.number(),
            _ => self.fault("a value is missing"),
        }
    }

    fn member(&mut self, depth: u32) -> Parsed<(Cow<'a, str>, Value<'a>)> {
        let key = self.key()?;
        Ok((key, self.value(depth)?))
    }

    fn key(&mut self) -> Parsed<Cow<'a, str>> {
        if self.peek() != b'"' {
            return self.fault("a key is missing");
        }
        let key = self.string()?;
        if self.peek() != b':' {
            return self.fault("a `:` is missing");
        }
        self.at += 1;
        Ok(key)
    }

    /// Passes over a value: to the comma or bracket behind it.
    fn pass(&mut self) -> Parsed<()> {
        let bytes = self.text.as_bytes();
        let (mut depth, mut in_text) = (0u32, false);
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'\\' if in_text => self.at += 1,
                b'"' => in_text = !in_text,
                _ if in_text => {}
                b'{' | b'[' => depth += 1,
                b',' | b'}' | b']' if depth == 0 => return Ok(()),
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
        self.fault("a value has no end")
    }

    fn items<T>(&mut self, close: u8, mut item: impl FnMut(&mut Reader<'a>) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.at += 1;
        let mut items = Vec::new();
        if self.peek() == close {
            self.at += 1;
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            match self.peek() {
                b',' => self.at += 1,
                byte if byte == close => {
                    self.at += 1;
                    return Ok(items);
                }
                _ => return self.fault("a `,` or the end of a list or object is missing"),
            }
        }
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Parsed<Value<'a>> {
        if !self.text[self.at..].starts_with(word) {
            return self.fault("a value is missing");
        }
        self.at += word.len();
        Ok(value)
    }

    fn number(&mut self) -> Parsed<Value<'a>> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let digits = |at: usize| bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut at = start + usize::from(bytes[start] == b'-');
        let whole = digits(at);
        let mut sound = whole > 0 && (whole == 1 || bytes[at] != b'0');
        at += whole;
        if bytes.get(at) == Some(&b'.') {
            let places = digits(at + 1);
            sound &= places > 0;
            at += 1 + places;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let places = digits(at);
            sound &= places > 0;
            at += places;
        }
        if !sound {
            return self.fault("a number is malformed");
        }
        self.at = at;
        Ok(Value::Number(&self.text[start..at]))
    }

    fn string(&mut self) -> Parsed<Cow<'a, str>> {
        let text = self.text;
        self.at += 1;
        let mut start = self.at;
        let mut owned = String::new();
        loop {
            match text.as_bytes().get(self.at) {
                Some(b'"') => {
                    let rest = &text[start..self.at];
                    self.at += 1;
                    if owned.is_empty() {
                        return Ok(Cow::Borrowed(rest));
                    }
                    owned.push_str(rest);
                    return Ok(Cow::Owned(owned));
                }
                Some(b'\\') => {
                    owned.push_str(&text[start..self.at]);
                    owned.push(self.escaped()?);
                    start = self.at;
                }
                Some(0..0x20) => return self.fault("a control character stands in a text"),
                Some(_) => self.at += 1,
                None => return self.fault("a text has no end"),
            }
        }
    }

    /// The character of an escape.
    fn escaped(&mut self) -> Parsed<char> {
        let letter = self.text.as_bytes().get(self.at + 1).copied().unwrap_or(0);
        self.at += 2;
        Ok(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'u' => {
                let first = self.hexadecimal()?;
                let mut code = first;
                if (0xD800..0xDC00).contains(&first) && self.text[self.at..].starts_with("\\u") {
                    self.at += 2;
                    let second = self.hexadecimal()?;
                    code = if (0xDC00..0xE000).contains(&second) {
                        0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
                    } else {
                        first
                    };
                }
                match char::from_u32(code) {
                    Some(character) => character,
                    None => return self.fault("half of a surrogate pair"),
                }
            }
            _ => {
                self.at -= 2;
                return self.fault("an unknown escape");
            }
        })
    }

    fn hexadecimal(&mut self) -> Parsed<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let Some(digits) = digits else { return self.fault("`\\u` without four digits") };
        self.at += 4;
        Ok(digits.iter().fold(0, |sum, digit| sum * 16 + char::from(*digit).to_digit(16).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Known, json};

    use super::*;

    /// As serde_json has it; numbers by their value.
    fn known(value: &Value) -> Known {
        match value {
            Value::Null => Known::Null,
            Value::Bool(value) => json!(value),
            Value::Number(text) => serde_json::from_str(text).expect("a number"),
            Value::Text(text) => json!(text),
            Value::List(items) => items.iter().map(known).collect(),
            Value::Object(members) => {
                members.iter().map(|(name, value)| (name.to_string(), known(value))).collect()
            }
        }
    }

    fn any_value() -> impl Strategy<Value = Known> {
        let leaf = prop_oneof![
            Just(Known::Null),
            any::<bool>().prop_map(|value| json!(value)),
            any::<i64>().prop_map(|value| json!(value)),
            (-1e300..1e300).prop_map(|value| json!(value)),
            any::<String>().prop_map(|value| json!(value)),
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Known::Array),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| Known::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_are_read_as_serde_json_reads_them(value in any_value(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let text = text.expect("JSON");
            prop_assert_eq!(known(&parse(text.as_bytes()).expect("JSON")), value);
        }

        #[test]
        fn what_is_cut_is_refused(value in any_value(), cut in 0.0..1.0) {
            let text = format!("[{value}]");
            let bytes = &text.as_bytes()[..(cut * text.len() as f64) as usize];
            prop_assert!(parse(bytes).is_err());
        }

        #[test]
        fn bytes_are_taken_and_refused_as_by_serde_json(bytes in prop::collection::vec(
            prop_oneof![
                prop::sample::select(b"{}[]\",:\\u0d8 1-+.eEtrufalsn\n".to_vec()), any::<u8>()
            ], 0..40))
        {
            let reference = serde_json::from_slice::<Known>(&bytes);
            let read = parse(&bytes);
            // A number beyond all floats is no error here: it stays as it is written.
            let huge = reference.as_ref().is_err_and(|error| error.to_string().contains("out of range"));
            prop_assert!(read.is_ok() == reference.is_ok() || huge, "{:?} {:?}", read, reference);
        }
    }

    proptest! {
        #[test]
        fn picked_keys_are_read_and_the_rest_is_passed(value in any_value(), other in any_value()) {
            let text = json!({"before": other, "id": value, "last": [other]}).to_string();
            let [id, missing] = pick(text.as_bytes(), ["id", "missing"]).expect("JSON");
            prop_assert_eq!((known(&id), missing), (value, Value::Null));
        }
    }

    #[test]
    fn faults_name_the_byte() {
        let fault = |text: &[u8]| parse(text).expect_err("refused");
        assert_eq!(fault(b"{\"a\": \"\xff\"}"), Fault { at: 7, why: "invalid UTF-8" });
        assert_eq!(fault(b"{\"a\": 01}").why, "a number is malformed");
        assert_eq!(fault(b"\"\\ud800\"").why, "half of a surrogate pair");
        assert_eq!(fault(b"\"a\nb\"").at, 2);
        let deep = "[".repeat(100);
        assert_eq!(fault(deep.as_bytes()).why, "lists and objects are nested too deeply");
        let (key, value) = member(br#""7": {"answer": 1}"#).expect("a member");
        assert_eq!((&*key, value.get("answer").and_then(Value::scalar)), ("7", Some("1")));
    }
}
