//! What a checkpoint says about its pictures: `preprocessor_config.json`, or the `image_processor` of `processor_config.json`, as
//! transformers writes them for CLIP's, SigLIP's and LLaVA's processors.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::data::image::{Aspect, Transform};

/// CLIP's own values stand for keys that are left out.
#[derive(Deserialize)]
#[serde(default)]
struct Preprocessor {
    do_resize: bool,
    size: Option<Size>,
    resample: i64,
    do_center_crop: Option<bool>,
    crop_size: Option<Size>,
    do_rescale: bool,
    rescale_factor: f64,
    do_normalize: bool,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
    /// LLaVA's processor: to a square with the mean colour, before anything else.
    do_pad: Option<bool>,
}

impl Default for Preprocessor {
    fn default() -> Self {
        Preprocessor {
            do_resize: true,
            size: None,
            resample: BICUBIC,
            do_center_crop: None,
            crop_size: None,
            do_rescale: true,
            rescale_factor: 1.0 / 255.0,
            do_normalize: true,
            image_mean: None,
            image_std: None,
            do_pad: None,
        }
    }
}

/// Pillow's number.
const BICUBIC: i64 = 3;

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Size {
    Side(u32),
    Shortest { shortest_edge: u32 },
    Sides { height: u32, width: u32 },
}

impl Transform {
    /// The transform of the checkpoint in `folder`, whose tower takes squares of `side` pixels; `aspect` is used in place of the
    /// checkpoint's where it is given.
    ///
    /// # Errors
    /// No file, or one that asks for something else than resizing, cutting, scaling and normalising to that square.
    pub fn of_checkpoint(folder: &Path, side: u32, aspect: Option<Aspect>) -> Result<Transform> {
        let (own, joint) = (folder.join("preprocessor_config.json"), folder.join("processor_config.json"));
        let (path, value) = if own.is_file() {
            let value = read(&own)?;
            (own, value)
        } else if joint.is_file() {
            let mut value = read(&joint)?;
            let part = value.get_mut("image_processor").map(Value::take);
            let part = part.with_context(|| format!("{} has no `image_processor`", joint.display()))?;
            (joint, part)
        } else {
            bail!(
                "{} holds neither preprocessor_config.json nor processor_config.json\nhint: it says how the checkpoint's pictures are resized and normalised; copy it too",
                folder.display()
            );
        };
        let preprocessor: Preprocessor =
            serde_json::from_value(value).with_context(|| path.display().to_string())?;
        preprocessor.transform(side, aspect).with_context(|| path.display().to_string())
    }
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

impl Preprocessor {
    fn transform(&self, side: u32, aspect: Option<Aspect>) -> Result<Transform> {
        ensure!(
            self.do_resize && self.do_rescale && (self.rescale_factor * 255.0 - 1.0).abs() < 1e-6,
            "pictures must be resized and scaled by 1/255\nhint: other ways of preparing them are not supported"
        );
        ensure!(
            self.resample == BICUBIC,
            "`resample` is {}, and only {BICUBIC} (bicubic) is supported",
            self.resample
        );
        let clip = Transform::clip(side, Aspect::Crop);
        let (found, own) = match (self.size, self.crop_size) {
            (Some(Size::Sides { height, width }), _) if height == width => (height, Aspect::Stretch),
            (Some(Size::Sides { height, width }), _) => bail!("`size` {width}x{height} is not a square"),
            (Some(Size::Side(edge) | Size::Shortest { shortest_edge: edge }), crop) => {
                ensure!(
                    self.do_center_crop != Some(false),
                    "the short side is resized and nothing is cut, which leaves no square\nhint: set do_center_crop"
                );
                let cut = match crop {
                    None => edge,
                    Some(Size::Side(side) | Size::Shortest { shortest_edge: side }) => side,
                    Some(Size::Sides { height, width }) if height == width => height,
                    Some(Size::Sides { height, width }) => {
                        bail!("`crop_size` {width}x{height} is not a square")
                    }
                };
                ensure!(cut == edge, "`crop_size` {cut} differs from `size` {edge}, which is not supported");
                (edge, Aspect::Crop)
            }
            (None, _) => (side, Aspect::Crop),
        };
        ensure!(
            found == side,
            "pictures become {found}x{found} pixels, and the vision tower takes {side}x{side}\nhint: preprocessor_config.json and config.json must come from the same checkpoint"
        );
        let own = if self.do_pad == Some(true) { Aspect::Pad } else { own };
        let (mean, std) = match self.do_normalize {
            true => (self.image_mean.unwrap_or(clip.mean), self.image_std.unwrap_or(clip.std)),
            false => ([0.0; 3], [1.0; 3]),
        };
        Ok(Transform { aspect: aspect.unwrap_or(own), mean, std, ..clip })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, text: &str, aspect: Option<Aspect>) -> Result<Transform> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), text).unwrap();
        Transform::of_checkpoint(folder.path(), 28, aspect)
    }

    const CLIP: &str = r#"{"crop_size": {"height": 28, "width": 28}, "do_center_crop": true, "do_convert_rgb": true,
        "do_normalize": true, "do_rescale": true, "do_resize": true, "image_mean": [0.5, 0.4, 0.3],
        "image_processor_type": "CLIPImageProcessor", "image_std": [0.2, 0.3, 0.4], "resample": 3,
        "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 28}}"#;

    #[test]
    fn both_files_and_all_sizes_are_read() {
        let clip = of("preprocessor_config.json", CLIP, None).unwrap();
        assert_eq!((clip.size, clip.aspect, clip.mean), (28, Aspect::Crop, [0.5, 0.4, 0.3]));
        let joint = format!(r#"{{"image_processor": {CLIP}, "patch_size": 7}}"#);
        assert_eq!(of("processor_config.json", &joint, None).unwrap(), clip);
        assert_eq!(of("preprocessor_config.json", CLIP, Some(Aspect::Pad)).unwrap().aspect, Aspect::Pad);
        let stretched = of("preprocessor_config.json", r#"{"size": {"height": 28, "width": 28}}"#, None);
        assert_eq!(stretched.unwrap().aspect, Aspect::Stretch);
        let older = of("preprocessor_config.json", r#"{"size": 28, "crop_size": 28, "do_pad": true}"#, None);
        assert_eq!(older.unwrap(), Transform::clip(28, Aspect::Pad));
    }

    #[test]
    fn what_would_be_computed_otherwise_is_refused() {
        for (text, said) in [
            (r#"{"size": 336}"#, "336x336"),
            (r#"{"size": 28, "resample": 2}"#, "resample"),
            (r#"{"size": 28, "crop_size": 24}"#, "crop_size"),
            (r#"{"size": 28, "do_center_crop": false}"#, "do_center_crop"),
            (r#"{"size": 28, "do_resize": false}"#, "resized"),
            (r#"{"size": {"longest_edge": 28}}"#, "preprocessor_config.json"),
        ] {
            let message = format!("{:#}", of("preprocessor_config.json", text, None).unwrap_err());
            assert!(message.contains(said), "{message}");
        }
        let message = format!("{:#}", of("other.json", "{}", None).unwrap_err());
        assert!(message.contains("neither") && message.contains("hint:"), "{message}");
    }
}
