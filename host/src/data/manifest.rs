//! `data-manifest.json`: what the data was when it was found sound, so that later checks notice what changed.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::data::bad_input::BadInput;
use crate::data::verify::Content;
use crate::files;

/// Its name in the root folder of the data.
pub const FILE_NAME: &str = "data-manifest.json";

const SCHEMA: u32 = 1;

/// The tasks of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    schema: u32,
    /// By dataset and its keys.
    pub tasks: BTreeMap<String, Content>,
}

impl Default for Manifest {
    fn default() -> Self {
        Manifest { schema: SCHEMA, tasks: BTreeMap::new() }
    }
}

/// What a task is called in a manifest: its dataset, and the keys of the dataset where there are some.
pub fn key(dataset: &str, keys: &toml::Table) -> String {
    if keys.is_empty() { dataset.to_string() } else { format!("{dataset} {}", serde_json::json!(keys)) }
}

impl Manifest {
    /// Reads one; an empty one where there is no file.
    ///
    /// # Errors
    /// A file that is no manifest.
    pub fn read(path: &Path) -> Result<Manifest> {
        let name = path.display();
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Manifest::default()),
            Err(error) => return Err(error).with_context(|| format!("{name} cannot be read")),
        };
        let parsed = || -> Result<Manifest> {
            let found: Manifest = serde_json::from_slice(&bytes)?;
            ensure!(found.schema == SCHEMA, "schema {} is unknown", found.schema);
            Ok(found)
        };
        let refused =
            |error: anyhow::Error| error.context(format!("{name} is no manifest of data\nhint: remove it"));
        Ok(parsed().map_err(refused).map_err(BadInput::from)?)
    }

    /// Writes it.
    ///
    /// # Errors
    /// That it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        files::replace(path, text.as_bytes()).with_context(|| {
            format!(
                "{} cannot be written\nhint: `--manifest FILE` names another place for it",
                path.display()
            )
        })
    }

    /// What is other than when the task was found sound; `None` for a task that it does not know.
    pub fn differences(&self, key: &str, found: &Content) -> Option<Vec<String>> {
        let known = self.tasks.get(key)?;
        let mut differences = Vec::new();
        for file in &known.files {
            match found.files.iter().find(|other| other.path == file.path) {
                None => differences.push(format!("{} was read then and is not now", file.path)),
                Some(other) if other.sha256 != file.sha256 => differences.push(format!(
                    "{} has other content: sha256 {}, {} bytes, then {}, {} bytes",
                    file.path, other.sha256, other.bytes, file.sha256, file.bytes
                )),
                Some(_) => {}
            }
        }
        for file in found.files.iter().filter(|file| known.files.iter().all(|known| known.path != file.path))
        {
            differences.push(format!("{} was not read then and is now", file.path));
        }
        let (now, then) = (&found.pictures, &known.pictures);
        if (now.count, now.bytes) != (then.count, then.bytes) {
            differences.push(format!(
                "there are {} pictures of {} bytes, then {} of {}",
                now.count, now.bytes, then.count, then.bytes
            ));
        } else if now.sha256 != then.sha256 {
            differences.push(String::from("paths or sizes of pictures are other than then"));
        } else if let (Some(now), Some(then)) = (&now.contents_sha256, &then.contents_sha256)
            && now != then
        {
            differences.push(String::from("the content of a picture is other than then"));
        }
        Some(differences)
    }

    /// Takes a task in. What was known of the contents of its pictures is kept where they were not read again.
    pub fn insert(&mut self, key: String, mut content: Content) {
        if let Some(known) = self.tasks.get(&key)
            && known.pictures.sha256 == content.pictures.sha256
            && content.pictures.contents_sha256.is_none()
        {
            content.pictures.contents_sha256.clone_from(&known.pictures.contents_sha256);
        }
        self.tasks.insert(key, content);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::verify::{FileContent, PictureContent};

    fn content(sha256: &str, contents: Option<&str>) -> Content {
        Content {
            files: vec![FileContent { path: "train.json".into(), bytes: 3, sha256: sha256.into() }],
            pictures: PictureContent {
                count: 1,
                bytes: 2,
                sha256: "p".into(),
                contents_sha256: contents.map(String::from),
            },
        }
    }

    #[test]
    fn changes_are_named() {
        let mut manifest = Manifest::default();
        let key = key("coin-datasets/gqa", &toml::Table::new());
        assert_eq!(manifest.differences(&key, &content("a", None)), None);
        manifest.insert(key.clone(), content("a", Some("c")));
        assert_eq!(manifest.differences(&key, &content("a", None)), Some(vec![]));
        manifest.insert(key.clone(), content("a", None));
        let of = |found: &Content| manifest.differences(&key, found).unwrap().join("; ");
        assert_eq!(of(&content("a", Some("d"))), "the content of a picture is other than then");
        assert!(of(&content("b", None)).starts_with("train.json has other content: sha256 b"));
        let mut found = content("a", None);
        found.pictures.count = 2;
        assert!(of(&found).starts_with("there are 2 pictures"));
        found = content("a", None);
        found.files[0].path = "test.json".into();
        assert!(of(&found).contains("was read then") && of(&found).contains("was not read then"));
    }

    #[test]
    fn it_is_written_read_and_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        assert_eq!(Manifest::read(&path).unwrap(), Manifest::default());
        let mut manifest = Manifest::default();
        manifest.insert(String::from("a/b"), content("a", None));
        manifest.write(&path).unwrap();
        assert_eq!(Manifest::read(&path).unwrap(), manifest);
        std::fs::write(&path, "{\"schema\": 2, \"tasks\": {}}").unwrap();
        let error = Manifest::read(&path).unwrap_err();
        assert!(error.chain().any(|cause| cause.is::<BadInput>()), "{error:#}");
    }
}
