//! What the program prints, and the only place that does: data to stdout, everything else to stderr.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;

/// When to use colors; `Auto`: on a terminal, unless NO_COLOR is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

/// The two streams, and how they may be written to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    quiet: bool,
    color: bool,
}

impl Output {
    pub(crate) fn new(color: Color, quiet: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let color = match color {
            Color::Auto => wanted && io::stderr().is_terminal(),
            Color::Always => true,
            Color::Never => false,
        };
        Output { quiet, color }
    }

    /// Writes data to stdout, with a line end.
    ///
    /// # Errors
    /// That stdout cannot be written; a closed pipe ends the program without a message.
    pub(crate) fn data(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            stdout.write_all(b"\n")?;
        }
        stdout.flush()
    }

    /// Writes a value to stdout as JSON.
    ///
    /// # Errors
    /// As [`Self::data`].
    pub(crate) fn json(&self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        Ok(self.data(&serde_json::to_string_pretty(value)?)?)
    }

    /// A remark on stderr, unless the user wants none.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.stderr(text);
        }
    }

    /// `error: ..` on stderr, and the lines with hints set off from it.
    pub(crate) fn error(&self, text: &str) {
        let (mut message, mut hints) = (String::new(), String::new());
        for line in seen(text).lines() {
            match line.strip_prefix("hint: ") {
                Some(hint) => hints.push_str(&format!("\n{} {hint}", self.paint("hint:", "36"))),
                None if message.is_empty() => message.push_str(line),
                None => message.push_str(&format!("\n{line}")),
            }
        }
        self.stderr(&format!("{} {message}{hints}", self.paint("error:", "1;31")));
    }

    /// `warning: ..` on stderr: what a reader of the data has to know.
    pub(crate) fn warning(&self, text: &str) {
        self.stderr(&format!("{} {}", self.paint("warning:", "1;33"), seen(text)));
    }

    /// Whether notes and progress are wanted.
    pub(crate) fn quiet(&self) -> bool {
        self.quiet
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }

    fn stderr(&self, text: &str) {
        // Nobody is left to tell when stderr is closed.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

/// A message without what a terminal would obey: parts of it are names and texts of others.
fn seen(text: &str) -> String {
    let escaped = |character: char| match character {
        '\n' | '\t' => character.to_string(),
        other if other.is_control() => other.escape_default().to_string(),
        other => other.to_string(),
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_does_nothing_to_a_terminal() {
        assert_eq!(seen("a\tb\u{1b}[2J\r\nhint: \u{e9}"), "a\tb\\u{1b}[2J\\r\nhint: \u{e9}");
    }
}
