//! State of strategies as bytes, for `save` and `load`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::reader::from_toml;

/// Begins the line with the length; to TOML it is a comment.
const MARK: &str = "# bytes: ";

/// A value as TOML text behind a line with its length. The value is a struct or a map; integers fit into 63 bits.
pub fn to_bytes<T: Serialize>(state: &T) -> Result<Vec<u8>> {
    match toml::to_string(state) {
        Ok(text) => Ok(format!("{MARK}{}\n{text}", text.len()).into_bytes()),
        Err(error) => Err(Error::new(format!("the state of the strategy cannot be saved: {error}"))),
    }
}

/// What [`to_bytes`] wrote.
///
/// # Errors
/// Bytes of another type, or damaged ones: half a text may be TOML as well, so its length is compared.
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Error::new(format!("the saved state of the strategy is damaged: {error}")))?;
    from_toml(whole(text)?)
        .map_err(|error| Error::new(format!("the saved state of the strategy cannot be read: {error}")))
}

/// The text behind the line with its length; api 1.0 wrote no such line, and no comment.
fn whole(text: &str) -> Result<&str> {
    let cut = || Error::new("the saved state of the strategy is damaged: it ends within its first line");
    let Some(marked) = text.strip_prefix(MARK) else {
        return if !text.is_empty() && MARK.starts_with(text) { Err(cut()) } else { Ok(text) };
    };
    let (length, text) = marked.split_once('\n').ok_or_else(cut)?;
    match length.parse() {
        Ok(length) if text.len() == length => Ok(text),
        _ => Err(Error::new(format!(
            "the saved state of the strategy is damaged: of {length} bytes there are {}",
            text.len()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_and_damage_is_an_error() {
        let value = (vec![(3u64, 1usize)],);
        let table = std::collections::BTreeMap::from([("slots", value.0.clone())]);
        let bytes = to_bytes(&table).expect("a map can be saved");
        let back: std::collections::BTreeMap<String, Vec<(u64, usize)>> =
            from_bytes(&bytes).expect("and read");
        assert_eq!(back["slots"], value.0);
        assert!(from_bytes::<toml::Table>(&bytes[..bytes.len() - 3]).is_err());
        assert!(from_bytes::<toml::Table>(&[0xff]).is_err());
        let text = b"a = 1\n[[b]]\nc = 2\n[[b]]\nc = 3\n";
        let table: toml::Table = from_bytes(text).expect("as api 1.0 wrote it");
        let bytes = to_bytes(&table).expect("saved");
        assert_eq!(from_bytes::<toml::Table>(&bytes).expect("whole"), table);
        for length in 1..bytes.len() {
            assert!(from_bytes::<toml::Table>(&bytes[..length]).is_err(), "{length} bytes of it");
        }
    }

    #[derive(Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Nones {
        slot: Option<u64>,
        name: Option<String>,
    }

    #[test]
    fn a_state_of_nothing_comes_back_and_no_part_of_it_does() {
        let map = to_bytes(&toml::Table::new()).expect("saved");
        let nones = to_bytes(&Nones::default()).expect("saved");
        assert_eq!(from_bytes::<toml::Table>(&map).expect("whole"), toml::Table::new());
        assert_eq!(from_bytes::<Nones>(&nones).expect("whole"), Nones::default());
        // As api 1.0 wrote it.
        assert_eq!(from_bytes::<Nones>(b"").expect("whole"), Nones::default());
        for length in 1..map.len() {
            assert!(from_bytes::<toml::Table>(&map[..length]).is_err(), "{length} bytes of a map");
        }
        for length in 1..nones.len() {
            assert!(from_bytes::<Nones>(&nones[..length]).is_err(), "{length} bytes of a struct");
        }
    }
}
