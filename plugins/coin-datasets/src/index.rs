//! Where the records of a JSON list begin and end, found in one pass without holding the file.

use std::io::{ErrorKind, Read};

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

#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// Before the list.
    Start,
    /// Where a record or the end of the list may follow.
    Gap { after_comma: bool },
    /// In a record that began at a byte.
    Record { start: u64, depth: u32, string: bool, escaped: bool },
    /// Behind a record.
    Behind,
    /// Behind the list.
    End,
}

/// Finds the records of `[{..}, {..}]`.
pub(crate) fn index(mut reader: impl Read) -> Index {
    let mut found = Index::default();
    let mut place = Place::Start;
    let mut buffer = vec![0; 1 << 18];
    let mut at = 0u64;
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => {
                found.damage = Some(format!("byte {at} cannot be read: {error}"));
                return found;
            }
        };
        if read == 0 {
            found.damage = ending(place, found.spans.len());
            return found;
        }
        for byte in &buffer[..read] {
            match next(place, *byte, at, &mut found.spans) {
                Ok(following) => place = following,
                Err(why) => {
                    found.damage = Some(format!("byte {at}: {why}"));
                    return found;
                }
            }
            at += 1;
        }
    }
}

fn ending(place: Place, records: usize) -> Option<String> {
    match place {
        Place::End => None,
        Place::Start => Some(String::from("the file is empty")),
        Place::Record { start, .. } => {
            Some(format!("record {records} begins at byte {start} and is cut off by the end of the file"))
        }
        Place::Gap { .. } | Place::Behind => {
            Some(format!("the list is cut off after {records} records by the end of the file"))
        }
    }
}

fn next(place: Place, byte: u8, at: u64, spans: &mut Vec<Span>) -> Result<Place, String> {
    let blank = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    Ok(match place {
        Place::Record { start, depth, string, escaped } => {
            let inside = |depth, string, escaped| Place::Record { start, depth, string, escaped };
            match byte {
                _ if escaped => inside(depth, string, false),
                b'\\' if string => inside(depth, true, true),
                b'"' => inside(depth, !string, false),
                _ if string => place,
                b'{' | b'[' => inside(depth + 1, false, false),
                b'}' | b']' if depth == 1 => {
                    spans.push(Span { start, end: at + 1 });
                    Place::Behind
                }
                b'}' | b']' => inside(depth - 1, false, false),
                _ => place,
            }
        }
        _ if blank => place,
        // Some editors put a byte order mark first.
        Place::Start if at < 3 && b"\xEF\xBB\xBF"[at as usize] == byte => Place::Start,
        Place::Start if byte == b'[' => Place::Gap { after_comma: false },
        Place::Start => return Err(String::from("the file is not a JSON list of records")),
        Place::Gap { .. } if byte == b'{' => {
            Place::Record { start: at, depth: 1, string: false, escaped: false }
        }
        Place::Gap { after_comma: false } if byte == b']' => Place::End,
        Place::Behind if byte == b',' => Place::Gap { after_comma: true },
        Place::Behind if byte == b']' => Place::End,
        Place::Gap { .. } | Place::Behind => {
            return Err(format!(
                "`{}` where a record was expected, after {} of them",
                byte.escape_ascii(),
                spans.len()
            ));
        }
        Place::End => return Err(String::from("something follows the list of records")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte at a time, so that every border falls between two reads.
    struct Slowly<'a>(&'a [u8]);

    impl Read for Slowly<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            buffer[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    fn records(text: &str) -> (Vec<&str>, Option<String>) {
        let found = index(Slowly(text.as_bytes()));
        (found.spans.iter().map(|span| &text[span.start as usize..span.end as usize]).collect(), found.damage)
    }

    #[test]
    fn records_are_found_whatever_stands_in_their_strings() {
        let first = r#"{"a": "}],{\"\\", "b": [1, {"c": []}]}"#;
        let second = r#"{"ä": "[\\\\"}"#;
        let text = format!("\u{feff} [\n{first} ,{second}]\n");
        assert_eq!(records(&text), (vec![first, second], None));
        assert_eq!(records("[]"), (vec![], None));
    }

    #[test]
    fn damage_is_named_and_whole_records_are_kept() {
        let damage = |text| {
            let (records, damage) = records(text);
            (records.len(), damage.unwrap_or_default())
        };
        assert_eq!(
            damage(r#"[{"a": 1}, {"b": "#),
            (1, String::from("record 1 begins at byte 11 and is cut off by the end of the file"))
        );
        assert_eq!(
            damage(r#"[{"a": 1},"#),
            (1, String::from("the list is cut off after 1 records by the end of the file"))
        );
        assert_eq!(damage(""), (0, String::from("the file is empty")));
        assert_eq!(
            damage(r#"{"data": []}"#),
            (0, String::from("byte 0: the file is not a JSON list of records"))
        );
        assert!(damage(r#"[{"a": 1} {"b": 2}]"#).1.contains("`{` where a record was expected"));
        assert!(damage(r#"[{"a": 1},]"#).1.contains("`]` where a record was expected"));
        assert!(damage("[1]").1.contains("`1` where a record was expected"));
        assert!(damage("[]{}").1.contains("something follows"));
    }
}
