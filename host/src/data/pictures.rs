//! The pictures of a task: read, decoded and prepared on rayon threads, ahead of need where it is known.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use tch::Tensor;

use crate::data::feature_cache::FeatureCache;
use crate::data::image::{Limits, Transform, decode};

/// Where a task's pictures are, and how they become a tower's input.
#[derive(Clone, Debug)]
pub struct Pictures {
    pub root: PathBuf,
    pub transform: Transform,
    /// Every picture is grey: shows what a task asks of the eyes.
    pub blank: bool,
}

/// What a picture is before the tower sees it.
pub enum Prepared {
    /// The tower saw it in an earlier run.
    Seen(Tensor),
    /// `[3, size, size]`, and under which name its features are to be kept.
    Pixels { values: Vec<f32>, key: Option<String> },
}

/// Prepares pictures, some of them before they are needed.
#[derive(Default)]
pub struct Reader {
    /// By path, those that are being read ahead.
    expected: RefCell<HashMap<String, Receiver<Result<Prepared>>>>,
}

impl Reader {
    /// Begins to read these pictures, and forgets those that were expected before and not taken.
    pub fn expect(
        &self,
        paths: &BTreeSet<&str>,
        pictures: &Arc<Pictures>,
        cache: Option<&Arc<FeatureCache>>,
    ) {
        let mut expected = self.expected.borrow_mut();
        expected.retain(|path, _| paths.contains(path.as_str()));
        for path in paths {
            if expected.contains_key(*path) {
                continue;
            }
            let (sender, receiver) = sync_channel(1);
            let (pictures, cache, own) = (pictures.clone(), cache.cloned(), (*path).to_string());
            rayon::spawn(move || {
                // A panic would end the process; where nothing is sent, the picture is read again when it is needed.
                let prepared = catch_unwind(AssertUnwindSafe(|| pictures.prepare(&own, cache.as_deref())));
                let _nobody_waits = prepared.map(|prepared| sender.send(prepared));
            });
            expected.insert((*path).to_string(), receiver);
        }
    }

    /// Those on their way, and those that wait to be taken.
    #[cfg(test)]
    pub fn expected(&self) -> Vec<String> {
        self.expected.borrow().keys().cloned().collect()
    }

    /// These pictures, in this order; those that were not expected are read now.
    ///
    /// # Errors
    /// The first that cannot be read or decoded.
    pub fn prepared(
        &self,
        paths: &[&str],
        pictures: &Pictures,
        cache: Option<&Arc<FeatureCache>>,
    ) -> Result<Vec<Prepared>> {
        // What is expected is waited for here: a rayon thread that waited might be the one that is to read it.
        let mut early: Vec<Option<Prepared>> = Vec::with_capacity(paths.len());
        for path in paths {
            let coming = self.expected.borrow_mut().remove(*path);
            early.push(coming.and_then(|coming| coming.recv().ok()).transpose()?);
        }
        let now = |(path, early): (&&str, Option<Prepared>)| match early {
            Some(prepared) => Ok(prepared),
            None => pictures.prepare(path, cache.map(Arc::as_ref)),
        };
        paths.par_iter().zip(early).map(now).collect()
    }
}

impl Pictures {
    /// A picture below the root as the tower takes it, `[3, size, size]`.
    ///
    /// # Errors
    /// It cannot be read or decoded, or is not below the root.
    pub fn pixels(&self, path: &str) -> Result<Vec<f32>> {
        self.decoded(path, &self.bytes(path)?)
    }

    fn prepare(&self, path: &str, cache: Option<&FeatureCache>) -> Result<Prepared> {
        let bytes = self.bytes(path)?;
        let key = cache.map(|cache| cache.key(&bytes, &self.transform, self.blank)).transpose()?;
        if let Some(seen) = cache.zip(key.as_deref()).and_then(|(cache, key)| cache.read(key)) {
            return Ok(Prepared::Seen(seen));
        }
        Ok(Prepared::Pixels { values: self.decoded(path, &bytes)?, key })
    }

    /// A picture's file.
    fn bytes(&self, path: &str) -> Result<Vec<u8>> {
        let within = Path::new(path);
        let climbs = within.is_absolute() || within.components().any(|part| part == Component::ParentDir);
        ensure!(
            !climbs,
            "image path `{path}` leaves the image root\nhint: paths in the annotation files are relative to it"
        );
        let full = self.root.join(within);
        std::fs::read(&full).with_context(|| {
            format!(
                "image `{}` cannot be read\nhint: paths of pictures are relative to the image root, {}",
                full.display(),
                self.root.display()
            )
        })
    }

    fn decoded(&self, path: &str, bytes: &[u8]) -> Result<Vec<f32>> {
        let name = self.root.join(path).display().to_string();
        let mut picture = decode(bytes, &name, Limits::default())?.to_rgb8();
        if self.blank {
            picture.pixels_mut().for_each(|pixel| *pixel = image::Rgb([128, 128, 128]));
        }
        self.transform.apply(&picture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Arc<Pictures>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, shade) in [("one.png", 10u8), ("two.png", 200)] {
            let picture = image::RgbImage::from_pixel(9, 5, image::Rgb([shade, 2 * shade / 3, 0]));
            picture.save(folder.path().join(name)).unwrap();
        }
        std::fs::write(folder.path().join("broken.png"), b"no picture").unwrap();
        let root = folder.path().to_path_buf();
        (folder, Arc::new(Pictures { root, transform: Transform::tiny(), blank: false }))
    }

    fn values(prepared: Vec<Prepared>) -> Vec<Vec<f32>> {
        let values = |prepared| match prepared {
            Prepared::Pixels { values, key: None } => values,
            _ => panic!("there is no cache"),
        };
        prepared.into_iter().map(values).collect()
    }

    #[test]
    fn what_was_expected_is_what_is_read_when_it_is_needed() {
        let (_folder, pictures) = folder();
        let reader = Reader::default();
        reader.expect(&BTreeSet::from(["one.png", "two.png"]), &pictures, None);
        assert_eq!(reader.expected.borrow().len(), 2);
        let read = values(reader.prepared(&["two.png", "one.png"], &pictures, None).unwrap());
        assert_eq!(read, [pictures.pixels("two.png").unwrap(), pictures.pixels("one.png").unwrap()]);
        assert!(reader.expected.borrow().is_empty(), "what is taken is not held");
    }

    #[test]
    fn what_is_expected_no_more_is_forgotten() {
        let (_folder, pictures) = folder();
        let reader = Reader::default();
        reader.expect(&BTreeSet::from(["one.png"]), &pictures, None);
        reader.expect(&BTreeSet::from(["two.png"]), &pictures, None);
        assert_eq!(reader.expected.borrow().keys().collect::<Vec<_>>(), ["two.png"]);
        reader.expect(&BTreeSet::new(), &pictures, None);
        assert!(reader.expected.borrow().is_empty());
        assert_eq!(values(reader.prepared(&["one.png"], &pictures, None).unwrap()).len(), 1);
    }

    #[test]
    fn a_picture_that_cannot_be_read_is_an_error_where_it_is_needed() {
        let (_folder, pictures) = folder();
        let reader = Reader::default();
        reader.expect(&BTreeSet::from(["broken.png", "gone.png", "../one.png", "one.png"]), &pictures, None);
        let error = |path| match reader.prepared(&[path], &pictures, None) {
            Ok(_) => panic!("{path} was read"),
            Err(error) => format!("{error:#}"),
        };
        assert!(error("broken.png").contains("broken.png"));
        assert!(error("gone.png").contains("cannot be read"));
        assert!(error("../one.png").contains("leaves the image root"));
        assert_eq!(values(reader.prepared(&["one.png"], &pictures, None).unwrap()).len(), 1);
    }
}
