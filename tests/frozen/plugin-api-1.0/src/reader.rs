//! Reads TOML into values of serde.
//!
//! Configurations and saved states cross the border as TOML. The `toml` crate reads them too, but at a sixth of a plugin's size; this
//! reads all of TOML 1.0 but dates, and holds to the crate in its tests.

mod scalar;
#[cfg(test)]
mod tests;
mod text;
mod value;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use scalar::scalar;
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
}
