//! Texts in their four forms of quotes.

use super::{Parsed, Reader};

impl Reader<'_> {
    fn character(&mut self) -> Parsed<char> {
        let next = self.rest().chars().next().ok_or("the text is not closed")?;
        self.at += next.len_utf8();
        Ok(next)
    }

    /// `'..'` on one line.
    pub(super) fn literal(&mut self) -> Parsed<String> {
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
    pub(super) fn basic(&mut self) -> Parsed<String> {
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
    pub(super) fn long(&mut self, quote: u8) -> Parsed<String> {
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
