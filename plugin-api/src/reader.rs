//! Reads TOML into values of serde.
//!
//! Configurations and saved states cross the border as TOML. The `toml` crate reads them too, but at a sixth of a plugin's size; this
//! reads all of TOML 1.0 but dates, and holds to the crate in its tests.

mod value;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use value::{Table, Value};

/// Tables and arrays within each other.
const DEEPEST: usize = 64;

/// Reads a value, for example a configuration, from TOML text. Dates are not supported.
///
/// # Errors
/// Text that is not TOML, with its line; a value that does not fit, with its key.
pub fn from_toml<T: DeserializeOwned>(text: &str) -> Result<T> {
    let table = document(text)?;
    T::deserialize(Value::Table(table)).map_err(|error| Error::config(error.to_string()))
}

fn document(text: &str) -> Result<Table> {
    let mut reader = Reader { text, at: 0 };
    reader.document().map_err(|problem| {
        let read = &text.as_bytes()[..reader.at.min(text.len())];
        let line = read.iter().filter(|byte| **byte == b'\n').count();
        let shown = text.lines().nth(line).unwrap_or_default().trim();
        Error::config(format!("line {}, `{shown}`: {problem}", line + 1))
    })
}

type Parsed<T> = std::result::Result<T, &'static str>;

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn document(&mut self) -> Parsed<Table> {
        let mut root = Table::default();
        let mut headers: Vec<Vec<String>> = Vec::new();
        let mut path: Vec<String> = Vec::new();
        loop {
            self.skip(true)?;
            match self.peek() {
                None => return Ok(root),
                Some(b'[') => {
                    self.at += 1;
                    let list = self.take(b'[');
                    path = self.key()?;
                    self.expect(b']', "a `]` is missing")?;
                    if list {
                        self.expect(b']', "a `]` is missing")?;
                        headers.retain(|header| !header.starts_with(&path));
                        root.append(&path)?;
                    } else if headers.contains(&path) {
                        return Err("this table stands there twice");
                    } else {
                        root.header(&path)?;
                        headers.push(path.clone());
                    }
                }
                Some(_) => {
                    let key = self.key()?;
                    self.expect(b'=', "a `=` is missing")?;
                    let value = self.value(0)?;
                    root.descend(&path)?.insert(&key, value)?;
                }
            }
            self.skip(false)?;
            if !matches!(self.peek(), None | Some(b'\n')) {
                return Err("something stands behind the value");
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, byte: u8, problem: &'static str) -> Parsed<()> {
        self.skip(false)?;
        if self.take(byte) { Ok(()) } else { Err(problem) }
    }

    /// Passes white space and comments, and line ends if `lines`.
    fn skip(&mut self, lines: bool) -> Parsed<()> {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' => self.at += 1,
                b'\r' if self.rest().starts_with("\r\n") => self.at += 1,
                b'\n' if lines => self.at += 1,
                b'#' => {
                    let comment = self.rest().split('\n').next().unwrap_or_default();
                    if comment.trim_end_matches('\r').chars().any(|c| c.is_control() && c != '\t') {
                        return Err("a control character in a comment");
                    }
                    self.at += comment.len();
                }
                _ => break,
            }
        }
        Ok(())
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// `a`, `"a b"`, `a.b`.
    fn key(&mut self) -> Parsed<Vec<String>> {
        let mut path = Vec::new();
        loop {
            self.skip(false)?;
            let part = match self.peek() {
                Some(b'"') => self.basic()?,
                Some(b'\'') => self.literal()?,
                _ => {
                    let word = self.word(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
                    if word.is_empty() {
                        return Err("a key is missing");
                    }
                    word.to_string()
                }
            };
            path.push(part);
            self.skip(false)?;
            if !self.take(b'.') {
                return Ok(path);
            }
        }
    }

    fn word(&mut self, part: fn(u8) -> bool) -> &str {
        let start = self.at;
        while self.peek().is_some_and(part) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    fn value(&mut self, depth: usize) -> Parsed<Value> {
        if depth == DEEPEST {
            return Err("values lie too deep in each other");
        }
        self.skip(false)?;
        match self.peek() {
            Some(b'"') if self.rest().starts_with("\"\"\"") => self.long(b'"').map(Value::String),
            Some(b'\'') if self.rest().starts_with("'''") => self.long(b'\'').map(Value::String),
            Some(b'"') => self.basic().map(Value::String),
            Some(b'\'') => self.literal().map(Value::String),
            Some(b'[') => self.array(depth),
            Some(b'{') => self.inline_table(depth),
            _ => {
                let word = self.word(|byte| byte.is_ascii_alphanumeric() || b"+-._:".contains(&byte));
                scalar(word)
            }
        }
    }

    fn array(&mut self, depth: usize) -> Parsed<Value> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.skip(true)?;
            if self.take(b']') {
                return Ok(Value::Array(items));
            }
            items.push(self.value(depth + 1)?);
            self.skip(true)?;
            if !self.take(b',') && self.peek() != Some(b']') {
                return Err("a `,` or `]` is missing");
            }
        }
    }

    fn inline_table(&mut self, depth: usize) -> Parsed<Value> {
        self.at += 1;
        let mut table = Table::default();
        self.skip(false)?;
        if self.take(b'}') {
            return Ok(Value::Table(table));
        }
        loop {
            let key = self.key()?;
            self.expect(b'=', "a `=` is missing")?;
            let value = self.value(depth + 1)?;
            table.insert(&key, value)?;
            self.skip(false)?;
            if self.take(b'}') {
                return Ok(Value::Table(table));
            }
            if !self.take(b',') {
                return Err("a `,` or `}` is missing");
            }
        }
    }

    fn character(&mut self) -> Parsed<char> {
        let next = self.rest().chars().next().ok_or("the text is not closed")?;
        self.at += next.len_utf8();
        Ok(next)
    }

    /// `'..'` on one line.
    fn literal(&mut self) -> Parsed<String> {
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.character()? {
                '\'' => return Ok(text),
                next if next.is_control() && next != '\t' => return Err("the text is not closed"),
                next => text.push(next),
            }
        }
    }

    /// `".."` on one line.
    fn basic(&mut self) -> Parsed<String> {
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.character()? {
                '"' => return Ok(text),
                '\\' => text.push(self.escape()?),
                next if next.is_control() && next != '\t' => return Err("the text is not closed"),
                next => text.push(next),
            }
        }
    }

    /// `"""..."""` or `'''...'''`: over several lines, the first line end left out.
    fn long(&mut self, quote: u8) -> Parsed<String> {
        let close = if quote == b'"' { "\"\"\"" } else { "'''" };
        self.at += 3;
        let _carriage = self.rest().starts_with("\r\n") && self.take(b'\r');
        self.take(b'\n');
        let mut text = String::new();
        loop {
            if self.rest().starts_with(close) {
                self.at += 3;
                // Up to two quotes may stand right before the closing ones.
                while self.take(quote) {
                    text.push(char::from(quote));
                    if text.len() > 2 && text.ends_with(close) {
                        return Err("too many quotes at the end of the text");
                    }
                }
                return Ok(text);
            }
            match self.character()? {
                '\\' if quote == b'"' => {
                    let blank = self.rest().trim_start_matches([' ', '\t', '\r']).starts_with('\n');
                    if blank {
                        let rest = self.rest();
                        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
                    } else {
                        text.push(self.escape()?);
                    }
                }
                '\r' if self.peek() == Some(b'\n') => {}
                next if next.is_control() && next != '\t' && next != '\n' => {
                    return Err("a control character in the text");
                }
                next => text.push(next),
            }
        }
    }

    fn escape(&mut self) -> Parsed<char> {
        Ok(match self.character()? {
            'b' => '\u{8}',
            't' => '\t',
            'n' => '\n',
            'f' => '\u{c}',
            'r' => '\r',
            'e' => '\u{1b}',
            '"' => '"',
            '\\' => '\\',
            'x' => self.code(2)?,
            'u' => self.code(4)?,
            'U' => self.code(8)?,
            _ => return Err("an unknown escape"),
        })
    }

    fn code(&mut self, digits: usize) -> Parsed<char> {
        let problem = "an escape that is no character";
        let text = self.rest().get(..digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let code =
            u32::from_str_radix(text.ok_or(problem)?, 16).ok().and_then(char::from_u32).ok_or(problem)?;
        self.at += digits;
        Ok(code)
    }
}

fn scalar(word: &str) -> Parsed<Value> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn both(text: &str) -> (Option<toml::Table>, Option<toml::Table>) {
        (from_toml::<toml::Table>(text).ok(), toml::from_str(text).ok())
    }

    #[test]
    fn it_reads_what_the_toml_crate_reads() {
        for text in [
            "",
            "# only a comment",
            "a = 1\nb = -2 # two\nc = +3\n\nd = 1_000\r\n",
            "a = 0x_ff\n",
            "a = 0xff\nb = 0o17\nc = 0b101\nd = 0",
            "a = 1.5\nb = 1e3\nc = -2.5E-2\nd = 1_0.0_1\ne = inf\nf = -inf",
            "a = true\nb = false",
            "a = \"x \\\"y\\\" \\t\\u00e9\\U0001F600 \\\\\"\nb = 'raw \\n'\n\"c d\" = 'e'\n'f.g' = \"\"",
            "a = \"\"\"\nfirst\n  second \\\n   third\"\"\"\nb = '''\nraw \\\nlines''''\nc = \"\"\"\"quoted\"\"\"\"",
            "a = [1, 2, # two\n 3,\n]\nb = []\nc = [[1], ['x', \"y\"]]",
            "a = { b = 1, c.d = 'x', e = {} }\nf = [{ g = 1 }, { g = 2 }]",
            "a.b.c = 1\na.b.d = 2\n[e]\nf = 1\n[e.g]\nh = 2\n[i.j]\nk = 3\n[i]\nl = 4",
            "[[a]]\nb = 1\n[[a]]\nb = 2\n[a.c]\nd = 3\n[[a.e]]\nf = 4\n[[a]]\n[a.c]\nd = 5",
        ] {
            let (ours, theirs) = both(text);
            assert_eq!(ours, theirs, "{text}");
        }
    }

    #[test]
    fn it_refuses_what_the_toml_crate_refuses() {
        for text in [
            "a",
            "a =",
            "= 1",
            "a = 1 b = 2",
            "a = 1\na = 2",
            "a = b",
            "a = 01",
            "a = 1.",
            "a = .5",
            "a = 1__0",
            "a = 1e",
            "a = \"x",
            "a = 'x\n'",
            "a = \"\\q\"",
            "a = \"\\ud800\"",
            "a = [1",
            "a = [1 2]",
            "a = {b = 1",
            "a = {b = 1 c = 2}",
            "[a",
            "[a]]",
            "[a]\n[a]",
            "a = 1\n[a]",
            "a = 1\na.b = 2",
            "[[a]]\n[a]",
            "a = 99999999999999999999",
            "a = \"\"\"x",
            "a = 0x",
            "a = +0x1",
            "a = tru",
            "a = \"\u{1}\"",
            "a = [,]",
            "[]",
            "a..b = 1",
            "a = '''x''''''",
        ] {
            let (ours, theirs) = both(text);
            assert_eq!((ours, theirs), (None, None), "{text}");
        }
    }

    /// Values that follow from a number, down to a depth.
    fn made_up(state: &mut u64, depth: u32) -> toml::Value {
        let mut next = |below: u64| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*state >> 33) % below
        };
        let text = |next: &mut dyn FnMut(u64) -> u64| {
            let letters = [
                'a',
                'B',
                '7',
                ' ',
                '.',
                '"',
                '\'',
                '\\',
                '\n',
                '\t',
                '=',
                '#',
                '[',
                '\u{e9}',
                '\u{1F600}',
                '\u{7f}',
            ];
            (0..next(9)).map(|_| letters[next(letters.len() as u64) as usize]).collect::<String>()
        };
        match next(if depth == 0 { 4 } else { 6 }) {
            0 => toml::Value::Integer(next(1 << 31).cast_signed() - (1 << 30)),
            1 => toml::Value::Float((next(1 << 31) as f64 - 1e9) / 1e4),
            2 => toml::Value::Boolean(next(2) == 1),
            3 => toml::Value::String(text(&mut next)),
            4 => {
                let count = next(4);
                toml::Value::Array((0..count).map(|_| made_up(state, depth - 1)).collect())
            }
            _ => {
                let keys: Vec<String> = (0..next(5)).map(|_| text(&mut next)).collect();
                toml::Value::Table(keys.into_iter().map(|key| (key, made_up(state, depth - 1))).collect())
            }
        }
    }

    #[test]
    fn what_the_toml_crate_writes_comes_back_equal() {
        let mut tables = 0;
        for seed in 0..2000 {
            let mut state = seed;
            let toml::Value::Table(table) = made_up(&mut state, 4) else { continue };
            let text = toml::to_string(&table).expect("a table can be written");
            assert_eq!(from_toml::<toml::Table>(&text).as_ref().ok(), Some(&table), "{text}");
            tables += 1;
        }
        assert!(tables > 200, "{tables}");
    }

    #[test]
    fn errors_name_line_or_key() {
        #[derive(serde::Deserialize, Debug)]
        #[serde(default, deny_unknown_fields)]
        #[allow(dead_code, reason = "only errors are looked at")]
        struct Config {
            r: i64,
            inner: Inner,
            kind: Kind,
            maybe: Option<f64>,
        }
        #[derive(serde::Deserialize, Debug, Default)]
        #[serde(default, deny_unknown_fields)]
        #[allow(dead_code, reason = "only errors are looked at")]
        struct Inner {
            names: Vec<String>,
        }
        #[derive(serde::Deserialize, Debug)]
        #[serde(rename_all = "kebab-case")]
        enum Kind {
            PlainOne,
            With { size: usize },
        }
        impl Default for Config {
            fn default() -> Self {
                Config { r: 1, inner: Inner::default(), kind: Kind::PlainOne, maybe: None }
            }
        }
        let sound: Config =
            from_toml("maybe = 2\nkind = { with = { size = 3 } }\n[inner]\nnames = [\"a\"]").expect("sound");
        assert_eq!((sound.r, sound.maybe, sound.inner.names.len()), (1, Some(2.0), 1));
        assert!(matches!(sound.kind, Kind::With { size: 3 }));
        for (text, part) in [
            ("r = 1\nr = ?", "line 2, `r = ?`: not a value"),
            ("r = \"x\"", "`r`: invalid type: string \"x\", expected i64"),
            ("rr = 1", "unknown field `rr`, expected one of `r`, `inner`, `kind`, `maybe`"),
            ("inner.names = [1]", "`inner.names`: invalid type: integer `1`, expected a string"),
            ("kind = \"other\"", "`kind`: unknown variant `other`, expected `plain-one` or `with`"),
            (
                "kind = { with = { size = -1 } }",
                "`kind.with.size`: invalid value: integer `-1`, expected usize",
            ),
        ] {
            let message = from_toml::<Config>(text).expect_err(text).to_string();
            assert_eq!(message, part);
        }
        let deep = format!("a = {}{}", "[".repeat(200), "]".repeat(200));
        assert!(from_toml::<toml::Table>(&deep).is_err());
    }
}
