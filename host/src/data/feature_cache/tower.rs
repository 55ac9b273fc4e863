//! What decides a tower's features, to the last bit: its weights and shape, the program, the machine, the libraries and the threads.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

use crate::doctor::{gpu, machine};
use crate::files;
use crate::model::{Backbone, weights};

/// Environment variables by which the libraries choose among their kernels.
const SETTINGS: [&str; 6] = [
    "ATEN_CPU_CAPABILITY",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
    "NVIDIA_TF32_OVERRIDE",
    "CUBLAS_WORKSPACE_CONFIG",
];

/// The sha256 of this program: another one may decode, resize or compute in another way.
pub(super) fn program() -> Result<String> {
    // The file under that name may be another one by now.
    let running = Path::new("/proc/self/exe");
    let path = if running.exists() { running.to_path_buf() } else { std::env::current_exe()? };
    let (_, hash) = files::sha256(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(format!("{:x}", hash.finalize()))
}

/// Begins the hash of a picture's features.
pub(super) fn tower(backbone: &Backbone, program: &str) -> Result<Sha256> {
    let config = backbone.config();
    let (libtorch, processor) = (machine::libtorch(), machine::processor());
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(&(
        (program, libtorch.version, libtorch.built_with, processor.name, processor.features),
        SETTINGS.map(|name| std::env::var(name).ok()),
        (tch::get_num_threads(), format!("{:?}", backbone.device()), format!("{:?}", backbone.kind())),
        (&config.vision_config, config.vision_feature_layer, config.vision_feature_select_strategy),
        config.projector_scale_factor,
    ))?);
    if backbone.device().is_cuda() {
        // Another GPU rounds in another way.
        hash.update(serde_json::to_vec(&gpu::gpus().models)?);
    }
    for (name, tensor) in backbone.parameters().iter().filter(|(name, _)| name.starts_with("vision_tower.")) {
        hash.update(weights::serialized(&BTreeMap::from([(name.clone(), tensor.shallow_clone())]))?);
    }
    Ok(hash)
}
