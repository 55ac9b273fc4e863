//! State of strategies as bytes, for `save` and `load`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::reader::from_toml;

/// A value as TOML text. The value is a struct or a map; integers fit into 63 bits.
pub fn to_bytes<T: Serialize>(state: &T) -> Result<Vec<u8>> {
    match toml::to_string(state) {
        Ok(text) => Ok(text.into_bytes()),
        Err(error) => Err(Error::new(format!("the state of the strategy cannot be saved: {error}"))),
    }
}

/// What [`to_bytes`] wrote.
///
/// # Errors
/// Bytes of another type, or damaged ones.
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Error::new(format!("the saved state of the strategy is damaged: {error}")))?;
    from_toml(text)
        .map_err(|error| Error::new(format!("the saved state of the strategy cannot be read: {error}")))
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
    }
}
