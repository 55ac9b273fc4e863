//! Where the records of a JSON file begin and end, found in one pass without holding the file.

use std::io::{ErrorKind, Read};

/// Bytes that are held at a time.
const BUFFER: usize = 1 << 18;

/// First byte of a record and the one after its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// What was found: the whole records, and why there are no more where the file is damaged.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) spans: Vec<Span>,
    pub(crate) damage: Option<String>,
}

/// Where in a file the records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `[{..}, {..}]`, or one object after the other, as in JSON lines.
    Records,
    /// `{.., "key": [{..}, {..}], ..}`.
    Under(&'static str),
    /// `{"id": {..}, "id": {..}}`: the spans begin with the id.
    Members,
}

/// Finds the records of a file.
pub(crate) fn index(reader: impl Read, layout: Layout) -> Index {
    let mut scanner = Scanner { reader, buffer: vec![0; BUFFER], start: 0, end: 0, base: 0 };
    let mut spans = Vec::new();
    let outcome = match layout {
        Layout::Records => scanner.records(&mut spans),
        Layout::Under(key) => scanner.under(key, &mut spans),
        Layout::Members => scanner.members(&mut spans),
    };
    Index { spans, damage: outcome.err() }
}

type Scanned<T> = Result<T, String>;

struct Scanner<R> {
    reader: R,
    buffer: Vec<u8>,
    /// What is held and not yet passed: `buffer[start..end]`.
    start: usize,
    end: usize,
    /// Where in the file `buffer[0]` stands.
    base: u64,
}

impl<R: Read> Scanner<R> {
    fn at(&self) -> u64 {
        self.base + self.start as u64
    }

    /// The bytes that follow; none at the end of the file.
    fn ahead(&mut self) -> Scanned<&[u8]> {
        if self.start == self.end {
            self.base += self.end as u64;
            (self.start, self.end) = (0, 0);
            self.end = loop {
                match self.reader.read(&mut self.buffer) {
                    Ok(read) => break read,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(format!("byte {} cannot be read: {error}", self.base)),
                }
            };
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// The byte behind blanks, which stays; none at the end of the file.
    fn peek(&mut self) -> Scanned<Option<u8>> {
        loop {
            let ahead = self.ahead()?;
            let blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
            let blanks = ahead.iter().take_while(blank).count();
            let found = ahead.get(blanks).copied();
            let is_end = ahead.is_empty();
            self.start += blanks;
            if found.is_some() || is_end {
                return Ok(found);
            }
        }
    }

    /// Passes a text whose opening quote was passed; false if the file ends in it.
    fn pass_text(&mut self) -> Scanned<bool> {
        loop {
            let ahead = self.ahead()?;
            let Some(last) = ahead.len().checked_sub(1) else { return Ok(false) };
            match ahead.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
                None => self.start = self.end,
                Some(place) if ahead[place] == b'"' => {
                    self.start += place + 1;
                    return Ok(true);
                }
                Some(place) if place < last => self.start += place + 2,
                Some(_) => {
                    self.start = self.end;
                    if self.ahead()?.is_empty() {
                        return Ok(false);
                    }
                    self.start += 1;
                }
            }
        }
    }

    /// Passes an object or a list; false if the file ends in it.
    fn pass_nested(&mut self) -> Scanned<bool> {
        let mut depth = 0u32;
        loop {
            let ahead = self.ahead()?;
            if ahead.is_empty() {
                return Ok(false);
            }
            let mut text = false;
            let mut passed = ahead.len();
            for (place, byte) in ahead.iter().enumerate() {
                match byte {
                    b'"' => text = true,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => continue,
                }
                if text || depth == 0 {
                    passed = place + 1;
                    break;
                }
            }
            self.start += passed;
            if text {
                if !self.pass_text()? {
                    return Ok(false);
                }
            } else if depth == 0 {
                return Ok(true);
            }
        }
    }

    /// Passes any value; false if the file ends in it.
    fn pass_value(&mut self) -> Scanned<bool> {
        match self.peek()? {
            None => Ok(false),
            Some(b'{' | b'[') => self.pass_nested(),
            Some(b'"') => {
                self.start += 1;
                self.pass_text()
            }
            Some(_) => loop {
                let ahead = self.ahead()?;
                let end = ahead.iter().position(|byte| matches!(byte, b',' | b'}' | b']'));
                let (length, is_end) = (ahead.len(), ahead.is_empty());
                self.start += end.unwrap_or(length);
                if end.is_some() || is_end {
                    return Ok(!is_end);
                }
            },
        }
    }

    /// Passes a record and notes it.
    fn record(&mut self, spans: &mut Vec<Span>) -> Scanned<()> {
        let start = self.at();
        if !self.pass_nested()? {
            return Err(format!(
                "record {} begins at byte {start} and is cut off at byte {}, the end of the file",
                spans.len(),
                self.at()
            ));
        }
        spans.push(Span { start, end: self.at() });
        Ok(())
    }

    fn opening(&mut self) -> Scanned<u8> {
        // Some editors put a byte order mark first.
        for mark in *b"\xEF\xBB\xBF" {
            if self.ahead()?.first() == Some(&mark) {
                self.start += 1;
            }
        }
        self.peek()?.ok_or_else(|| String::from("the file is empty"))
    }

    fn records(&mut self, spans: &mut Vec<Span>) -> Scanned<()> {
        match self.opening()? {
            b'[' => {
                self.list(spans)?;
                self.closed("the list of records")
            }
            b'{' => loop {
                self.record(spans)?;
                match self.peek()? {
                    None => return Ok(()),
                    Some(b'{') => {}
                    Some(byte) => return Err(self.unexpected(byte, spans)),
                }
            },
            _ => Err(format!("byte {}: the file is not a JSON list of records", self.at())),
        }
    }

    fn closed(&mut self, what: &str) -> Scanned<()> {
        match self.peek()? {
            None => Ok(()),
            Some(_) => Err(format!("byte {}: something follows {what}", self.at())),
        }
    }

    fn list(&mut self, spans: &mut Vec<Span>) -> Scanned<()> {
        self.start += 1;
        let mut after_comma = false;
        loop {
            match self.peek()? {
                Some(b'{') => self.record(spans)?,
                Some(b']') if !after_comma => {
                    self.start += 1;
                    return Ok(());
                }
                Some(byte) => return Err(self.unexpected(byte, spans)),
                None => return Err(self.cut(spans)),
            }
            match self.peek()? {
                Some(b',') => {
                    self.start += 1;
                    after_comma = true;
                }
                Some(b']') => after_comma = false,
                Some(byte) => return Err(self.unexpected(byte, spans)),
                None => return Err(self.cut(spans)),
            }
        }
    }

    fn cut(&self, spans: &[Span]) -> String {
        format!(
            "the list is cut off after {} records at byte {}, the end of the file",
            spans.len(),
            self.at()
        )
    }

    fn unexpected(&self, byte: u8, spans: &[Span]) -> String {
        format!(
            "byte {}: `{}` where a record was expected, after {} of them",
            self.at(),
            byte.escape_ascii(),
            spans.len()
        )
    }

    /// Passes the members of the object that the file is; `each` is called at each key's opening quote.
    fn object(&mut self, mut each: impl FnMut(&mut Self) -> Scanned<bool>) -> Scanned<()> {
        if self.opening()? != b'{' {
            return Err(format!("byte {}: the file is not a JSON object", self.at()));
        }
        self.start += 1;
        loop {
            match self.peek()? {
                Some(b'}') => {
                    self.start += 1;
                    return self.closed("the object");
                }
                Some(b'"') if each(self)? => {}
                Some(b'"') | None => {
                    return Err(format!("the object is cut off or broken at byte {}", self.at()));
                }
                Some(byte) => {
                    return Err(format!(
                        "byte {}: `{}` where a key was expected",
                        self.at(),
                        byte.escape_ascii()
                    ));
                }
            }
            if self.peek()? == Some(b',') {
                self.start += 1;
            }
        }
    }

    fn members(&mut self, spans: &mut Vec<Span>) -> Scanned<()> {
        self.object(|scanner| {
            let start = scanner.at();
            let whole = scanner.pass_key()? && scanner.pass_value()?;
            if whole {
                spans.push(Span { start, end: scanner.at() });
            }
            Ok(whole)
        })
    }

    fn under(&mut self, key: &str, spans: &mut Vec<Span>) -> Scanned<()> {
        self.object(|scanner| {
            // Within one buffer: such keys are short, and a key on the border of two is read again.
            let is_key = scanner.stands_at(key)?;
            if !scanner.pass_key()? {
                return Ok(false);
            }
            match scanner.peek()? {
                Some(b'[') if is_key => scanner.list(spans).map(|()| true),
                _ => scanner.pass_value(),
            }
        })
    }

    /// Whether the key `"key"` follows.
    fn stands_at(&mut self, key: &str) -> Scanned<bool> {
        if self.end - self.start < key.len() + 2 {
            // What is held moves to the front, so that more can be read behind it.
            self.buffer.copy_within(self.start..self.end, 0);
            self.base += self.start as u64;
            (self.start, self.end) = (0, self.end - self.start);
            while self.end < key.len() + 2 {
                match self.reader.read(&mut self.buffer[self.end..]) {
                    Ok(0) => break,
                    Ok(read) => self.end += read,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(format!("byte {} cannot be read: {error}", self.base)),
                }
            }
        }
        let held = &self.buffer[self.start..self.end];
        let rest = held.strip_prefix(b"\"").and_then(|rest| rest.strip_prefix(key.as_bytes()));
        Ok(rest.is_some_and(|rest| rest.starts_with(b"\"")))
    }

    /// Passes `"key":`; false if the file ends in it.
    fn pass_key(&mut self) -> Scanned<bool> {
        self.start += 1;
        if !self.pass_text()? {
            return Ok(false);
        }
        let colon = self.peek()? == Some(b':');
        self.start += usize::from(colon);
        Ok(colon)
    }
}

#[cfg(test)]
mod tests;
