//! `config explain`: each value of a resolved configuration with its origin.

use serde::Serialize;

use crate::config::flat::flat;
use crate::config::schema::find;
use crate::config::{Loaded, Origin, Origins};

/// One row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explained {
    pub key: String,
    pub value: serde_json::Value,
    pub origin: Origin,
}

/// All values, in the order of the documentation.
pub fn explain(loaded: &Loaded) -> Vec<Explained> {
    let rows = flat(&loaded.config).into_iter();
    rows.map(|(key, value)| {
        let origin = of_value(&loaded.origins, &key);
        Explained { key, value, origin }
    })
    .collect()
}

/// The origin of a value, looked for up to the key that it is part of: a key that nobody wrote has no origin, even
/// where its table was written.
fn of_value(origins: &Origins, path: &str) -> Origin {
    let mut path = path;
    loop {
        if let Some(origin) = origins.exactly(path) {
            return origin.clone();
        }
        match path.rfind('.') {
            Some(end) if find(path).is_none() => path = &path[..end],
            _ => return Origin::Default,
        }
    }
}
