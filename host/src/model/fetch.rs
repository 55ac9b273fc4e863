//! Models, fetched from where they are published and written as folders that this program loads.
//!
//! A folder appears whole or not at all, and one that is there already is left as it is. What a hub has sent of one that is not whole yet
//! is kept beside it.

mod bpe;
mod http;
mod hub;
mod lite0;
mod llama;
mod package;
mod smollm2;

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use super::construction;

pub use hub::{Repository, hub};
pub use smollm2::smollm2;

/// What a folder was made from, as JSON; written last.
const MARKER: &str = "fetched.json";

/// A folder that is fetched, beside the place it is meant for.
struct Construction<'a>(construction::Construction<'a>);

impl Construction<'_> {
    /// Nothing, where `out` is there already and was made from the same.
    fn begin<'a>(out: &'a Path, origin: &Value) -> Result<Option<Construction<'a>>> {
        Ok(match is_there(out, origin) {
            true => None,
            false => Some(Construction(construction::Construction::begin(out)?)),
        })
    }

    /// The same in a folder that stays where the work is broken off, and is gone on with under the same `mark`.
    fn resume<'a>(out: &'a Path, origin: &Value, mark: &str) -> Result<Option<Construction<'a>>> {
        Ok(match is_there(out, origin) {
            true => None,
            false => Some(Construction(construction::Construction::resume(out, mark)?)),
        })
    }

    fn discard(self) -> Result<()> {
        self.0.discard()
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn others(&self) -> Result<Vec<PathBuf>> {
        self.0.others()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.0.write(name, bytes)
    }

    fn write_json(&self, name: &str, value: &Value) -> Result<()> {
        self.0.write_json(name, value)
    }

    /// Gives the folder its name.
    fn finish(self, origin: &Value) -> Result<()> {
        self.write_json(MARKER, origin)?;
        self.0.finish()
    }
}

fn is_there(out: &Path, origin: &Value) -> bool {
    let found = std::fs::read(out.join(MARKER)).ok();
    found.and_then(|text| serde_json::from_slice::<Value>(&text).ok()).as_ref() == Some(origin)
}

#[cfg(test)]
mod tests;
