//! Vision features of a frozen tower on disk, between runs: one file for the picture's bytes, the tower that saw it and how it was prepared.
//!
//! A file holds what was computed to the last bit and its sha256: one that is damaged or cut is computed again. What cannot be written is
//! left out. Each version of the program has a folder of its own in the cache's, since it may compute in another way. Nothing else is in the
//! folder, which may be removed at any time, whole or a version's part.

mod room;
mod tower;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};
use tch::{Device, Kind, Tensor};

use crate::data::image::Transform;
use crate::files;
use crate::model::{Backbone, weights};

/// Tells programs that make copies of a disk that this folder need not be one of them (bford.info/cachedir).
const TAG: (&str, &str) = (
    "CACHEDIR.TAG",
    "Signature: 8a477f597d28d172789f06886806bc55\n# Vision features that coin-host computed; the folder may be removed.\n",
);
const FEATURES: &str = "features";
const DIGEST: usize = 32;

/// A folder of features of one tower on one kind of machine; others may lie in it too.
pub struct FeatureCache {
    folder: PathBuf,
    /// Of this version of the program, in that folder.
    own: PathBuf,
    /// Bytes of other versions.
    others: u64,
    /// Begins the hash that names a file.
    tower: Sha256,
    kind: Kind,
    device: Device,
    most: u64,
    held: AtomicU64,
}

impl FeatureCache {
    /// The cache in a folder, which is made when the first picture was seen; it does not grow beyond `most` bytes.
    ///
    /// # Errors
    /// What is there is no folder, or cannot be read.
    pub fn open(folder: &Path, most: u64, backbone: &Backbone) -> Result<FeatureCache> {
        let place = || {
            format!(
                "{} cannot hold picture features\nhint: `feature_cache` in `[backbone]` names a folder",
                folder.display()
            )
        };
        let program = tower::program()?;
        let own = folder.join(&program[..room::NAMED]);
        let held = room::held(folder).with_context(place)?;
        let tag = std::fs::metadata(folder.join(TAG.0)).map_or(0, |metadata| metadata.len());
        Ok(FeatureCache {
            tower: tower::tower(backbone, &program)?,
            others: held.saturating_sub(tag + room::held(&own).with_context(place)?),
            own,
            kind: backbone.kind(),
            device: backbone.device(),
            most,
            held: AtomicU64::new(held),
            folder: folder.to_owned(),
        })
    }

    /// Bytes that all files in the folder take.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Bytes that other versions of the program keep there, which this one does not read, and the folder that is this one's.
    pub fn others(&self) -> (u64, &Path) {
        (self.others, &self.own)
    }

    /// The name of a picture's features: its file's bytes, how it is prepared, and whether it is made grey.
    pub fn key(&self, picture: &[u8], transform: &Transform, blank: bool) -> Result<String> {
        let mut hash = self.tower.clone();
        hash.update(serde_json::to_vec(&(transform, blank))?);
        hash.update(Sha256::digest(picture));
        Ok(format!("{:x}", hash.finalize()))
    }

    fn path(&self, key: &str) -> PathBuf {
        self.own.join(&key[..2]).join(key)
    }

    /// The features `[N, d_v]` under a name, if they are there and sound.
    pub fn read(&self, key: &str) -> Option<Tensor> {
        let bytes = std::fs::read(self.path(key)).ok()?;
        let (digest, stored) = bytes.split_at_checked(DIGEST)?;
        if *digest != *Sha256::digest(stored) {
            return None;
        }
        let features = weights::deserialized(stored).ok()?.remove(FEATURES)?;
        let is_sound = features.kind() == self.kind && features.size().len() == 2;
        features.f_to_device(self.device).ok().filter(|_| is_sound)
    }

    /// Keeps features, unless the cache is full or the disk refuses.
    pub fn write(&self, key: &str, features: &Tensor) {
        // A run does not depend on it.
        let _left_out = self.try_write(key, features);
    }

    fn try_write(&self, key: &str, features: &Tensor) -> Result<()> {
        let stored = weights::serialized(&BTreeMap::from([(FEATURES.to_owned(), features.shallow_clone())]))?;
        let size = (DIGEST + stored.len()) as u64;
        let path = self.path(key);
        let folder = path.parent().unwrap_or(&self.folder);
        if self.held().saturating_add(size) > self.most {
            return Ok(());
        }
        std::fs::create_dir_all(folder)?;
        if !self.folder.join(TAG.0).is_file() {
            files::replace(&self.folder.join(TAG.0), TAG.1.as_bytes())?;
        }
        let mut file = files::temporary(folder)?;
        file.write_all(&Sha256::digest(&stored))?;
        file.write_all(&stored)?;
        file.persist(&path)?;
        self.held.fetch_add(size, Ordering::Relaxed);
        Ok(())
    }
}

/// Bytes of the features of one picture.
pub fn entry_bytes(config: &crate::model::ModelConfig, element: u64) -> u64 {
    (config.image_tokens() * config.image_feature_size()) as u64 * element
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(folder: &Path, most: u64) -> (FeatureCache, Backbone) {
        let (backbone, _) = Backbone::builtin_tiny(Device::Cpu, Kind::Float).unwrap();
        (FeatureCache::open(folder, most, &backbone).unwrap(), backbone)
    }

    fn features() -> Tensor {
        Tensor::from_slice(&[1.0f32 / 3.0, 2.0, -0.0, 1e-30]).view([2, 2])
    }

    fn bits(tensor: &Tensor) -> Vec<u32> {
        Vec::<f32>::try_from(&tensor.flatten(0, -1)).unwrap().into_iter().map(f32::to_bits).collect()
    }

    #[test]
    fn what_is_kept_comes_back_to_the_bit_and_what_is_damaged_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, _) = opened(folder.path(), 1 << 20);
        let transform = Transform::tiny();
        let key = cache.key(b"picture", &transform, false).unwrap();
        assert!(cache.read(&key).is_none());
        cache.write(&key, &features());
        let (again, _) = opened(folder.path(), 1 << 20);
        assert_eq!(again.key(b"picture", &transform, false).unwrap(), key);
        assert_eq!(again.held(), cache.held() + TAG.1.len() as u64);
        assert_eq!(bits(&again.read(&key).unwrap()), bits(&features()));
        let path = again.path(&key);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(again.read(&key).is_none(), "cut to {length}");
        }
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            std::fs::write(&path, changed).unwrap();
            assert!(again.read(&key).is_none(), "byte {place}");
        }
        again.write(&key, &features());
        assert_eq!(bits(&again.read(&key).unwrap()), bits(&features()));
    }

    #[test]
    fn another_picture_transform_or_tower_is_another_entry() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, backbone) = opened(folder.path(), 1 << 20);
        let tiny = Transform::tiny();
        let key = cache.key(b"picture", &tiny, false).unwrap();
        let wider = Transform { size: 72, ..tiny.clone() };
        for other in [
            cache.key(b"pictures", &tiny, false),
            cache.key(b"picture", &wider, false),
            cache.key(b"picture", &tiny, true),
        ] {
            assert_ne!(other.unwrap(), key);
        }
        let mut tensors: BTreeMap<String, Tensor> = backbone
            .parameters()
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .collect();
        let of = |tensors: BTreeMap<String, Tensor>| {
            let other = Backbone::from_tensors(backbone.config().clone(), tensors).unwrap();
            let cache = FeatureCache::open(folder.path(), 1, &other).unwrap();
            cache.key(b"picture", &tiny, false).unwrap()
        };
        let copies = |tensors: &BTreeMap<String, Tensor>| {
            tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect()
        };
        let norm = tensors["language_model.model.norm.weight"].shallow_clone();
        tensors.insert("language_model.model.norm.weight".to_owned(), norm + 1.0);
        assert_eq!(of(copies(&tensors)), key, "the language model sees no picture");
        let bias = "vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias";
        let changed = tensors[bias].shallow_clone() + 1e-6;
        tensors.insert(bias.to_owned(), changed);
        assert_ne!(of(tensors), key);
    }

    #[test]
    fn a_full_cache_grows_no_further() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, _) = opened(folder.path(), 1 << 20);
        let key =
            |cache: &FeatureCache, picture: &[u8]| cache.key(picture, &Transform::tiny(), false).unwrap();
        cache.write(&key(&cache, b"a"), &features());
        let (full, _) = opened(folder.path(), TAG.1.len() as u64 + cache.held() + 10);
        full.write(&key(&full, b"b"), &features());
        assert!(full.read(&key(&full, b"a")).is_some() && full.read(&key(&full, b"b")).is_none());
        assert_eq!(full.held(), cache.held() + TAG.1.len() as u64);
    }
    #[test]
    fn features_of_other_versions_are_counted_apart_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, _) = opened(folder.path(), 1 << 20);
        assert_eq!(cache.others().0, 0);
        let key =
            |cache: &FeatureCache, picture: &[u8]| cache.key(picture, &Transform::tiny(), false).unwrap();
        cache.write(&key(&cache, b"a"), &features());
        let one = cache.held();
        // As earlier versions laid them out, too.
        for name in ["0123456789abcdef/00", "ab"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("entry"), vec![0; one as usize]).unwrap();
        }
        let (full, _) = opened(folder.path(), 3 * one + TAG.1.len() as u64);
        assert_eq!(full.others().0, 2 * one);
        assert!(full.path(&key(&full, b"a")).starts_with(full.others().1));
        full.write(&key(&full, b"b"), &features());
        assert!(full.read(&key(&full, b"a")).is_some() && full.read(&key(&full, b"b")).is_none());
        assert_eq!(full.held(), 3 * one + TAG.1.len() as u64);
        assert!(folder.path().join("0123456789abcdef/00/entry").exists());
    }
}
