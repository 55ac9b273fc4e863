//! A file of records that is read by ranges.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use coin_plugin_api::{Error, Result};

use crate::index::{Index, Layout, Span, index};
use crate::json::{self, Value};

/// Bytes between two wanted records that are rather read along than jumped over.
const GAP: u64 = 1 << 16;
/// Bytes read at a time.
const BLOCK: u64 = 1 << 20;

/// What a record is read to: its value, or why it is none.
pub(crate) type Read<'a> = std::result::Result<Value<'a>, String>;

/// A file of records. Called from several threads at once: reading needs no position.
pub(crate) struct RecordFile {
    pub(crate) path: PathBuf,
    file: File,
    spans: Vec<Span>,
}

impl RecordFile {
    /// Finds the records of a file.
    ///
    /// # Errors
    /// There is no such file, it cannot be opened, or it is damaged.
    pub(crate) fn open(path: &Path, layout: Layout) -> Result<RecordFile> {
        let file = File::open(path).map_err(|error| {
            Error::new(format!(
                "`{}` cannot be opened: {error}\nhint: CoIN's instruction files lie in `<root>/Instructions_Original/<Task>/`; set the task's `root`, or the names in its `config`",
                path.display()
            ))
        })?;
        let Index { spans, damage } = index(&file, layout);
        match damage {
            Some(damage) => Err(Error::new(format!(
                "`{}`: {damage}\nhint: the file may be cut off or was edited; fetch it again",
                path.display()
            ))),
            None => Ok(RecordFile { path: path.to_path_buf(), file, spans }),
        }
    }

    /// Number of whole records.
    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Calls `body` with the number and the bytes of each of these records, which are in ascending order.
    pub(crate) fn each(
        &self,
        numbers: &[u32],
        body: &mut dyn FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut rest = numbers;
        let mut bytes = Vec::new();
        while let Some(first) = rest.first() {
            let start = self.spans[*first as usize].start;
            let mut end = self.spans[*first as usize].end;
            let mut count = 1;
            while let Some(span) = rest.get(count).map(|number| self.spans[*number as usize])
                && span.start < end + GAP
                && span.end < start + BLOCK
            {
                end = span.end;
                count += 1;
            }
            bytes.resize((end - start) as usize, 0);
            self.file
                .read_exact_at(&mut bytes, start)
                .map_err(|error| self.error(*first as usize, &error.to_string()))?;
            for number in &rest[..count] {
                let span = self.spans[*number as usize];
                body(*number as usize, &bytes[(span.start - start) as usize..(span.end - start) as usize])?;
            }
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Calls `body` with the number of each of these records and what it is read to.
    pub(crate) fn each_value(
        &self,
        numbers: &[u32],
        body: &mut dyn FnMut(usize, Read<'_>) -> Result<()>,
    ) -> Result<()> {
        self.each(numbers, &mut |number, bytes| {
            let place = |fault: json::Fault| {
                format!("byte {} of the file: {}", self.spans[number].start + fault.at as u64, fault.why)
            };
            body(number, json::parse(bytes).map_err(place))
        })
    }

    /// An error of one record.
    pub(crate) fn error(&self, number: usize, why: &str) -> Error {
        Error::new(format!(
            "`{}`: record {number}: {why}\nhint: mend this record, or take it out of the file",
            self.path.display()
        ))
    }
}
