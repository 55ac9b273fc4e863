//! What a comparison runs on, and whether the device that it asks for is there.

use std::path::PathBuf;

use anyhow::Result;
use tch::Device;

use crate::compare::check::Refused;
use crate::compare::{content, world};
use crate::config::{self, RunConfig};
use crate::doctor::{gpu, machine};
use crate::report::results::Environment;

/// This machine, as a run with this configuration uses it.
pub fn of(config: &RunConfig) -> Environment {
    let (libtorch, processor) = (machine::libtorch(), machine::processor());
    let version = libtorch.version.as_deref().unwrap_or("of unknown version");
    // One that cannot be read has no identity, and the run goes on without.
    let sha256 =
        |path: Option<PathBuf>| path.and_then(|path| content::sha256(&path).ok()).unwrap_or_default();
    Environment {
        host: env!("CARGO_PKG_VERSION").to_string(),
        host_sha256: sha256(std::env::current_exe().ok()),
        libtorch_sha256: sha256(libtorch.path.clone()),
        libtorch: if libtorch.cuda {
            format!("{version}, with CUDA")
        } else {
            format!("{version}, CPU only")
        },
        device: {
            let device = match world::device(config.backbone.device) {
                Device::Cuda(index) => match gpu::gpus().model() {
                    Some(model) => format!("cuda:{index}, {model}"),
                    None => format!("cuda:{index}"),
                },
                _ => String::from("cpu"),
            };
            match config.backbone.dtype {
                config::Dtype::Float32 => device,
                config::Dtype::Bfloat16 => format!("{device}, in bfloat16"),
                config::Dtype::Float16 => format!("{device}, in float16"),
            }
        },
        operating_system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        processor: processor.name,
        cores: processor.cores,
        features: processor.features,
    }
}

/// In what this machine is another one than that of a run, for people.
pub fn differences(then: Option<&Environment>, now: &Environment) -> Vec<String> {
    let Some(then) = then else { return Vec::new() };
    let pairs = then.rows().into_iter().zip(now.rows());
    let other = pairs.filter(|((_, then), (_, now))| then != now);
    other.map(|((name, then), (_, now))| format!("{name}: {then} then, {now} now")).collect()
}

/// Refuses a GPU that is not there, before anything is loaded.
pub fn check_device(device: config::Device) -> Result<()> {
    let config::Device::Cuda(index) = device else { return Ok(()) };
    match missing(index, &machine::libtorch(), &gpu::gpus()) {
        None => Ok(()),
        Some(message) => Err(Refused::configuration(message).into()),
    }
}

/// What to know where `auto` takes the CPU and a GPU was meant to be there.
pub fn unused_gpu(device: config::Device) -> Option<String> {
    let libtorch = machine::libtorch();
    if device != config::Device::Auto || !libtorch.cuda {
        return None;
    }
    let absence = gpu::gpus().absence(libtorch.cuda_version.as_deref()).filter(|absence| absence.is_fault)?;
    Some(format!("no GPU is used: {}\nhint: {}", absence.why, absence.hint))
}

/// Why there is no device of this index, where there is none.
fn missing(index: usize, libtorch: &machine::Libtorch, gpus: &gpu::Gpus) -> Option<String> {
    let what = format!("there is no device cuda:{index}");
    if index < gpus.usable {
        return None;
    }
    if !libtorch.cuda {
        return Some(format!(
            "{what}: this libtorch is CPU only\nhint: set LIBTORCH to one with CUDA, or LIBTORCH_USE_PYTORCH=1 with such a PyTorch, and run `make build`; `cpu` and `auto` run with this one"
        ));
    }
    match gpus.absence(libtorch.cuda_version.as_deref()) {
        Some(absence) => Some(format!("{what}: {}\nhint: {}", absence.why, absence.hint)),
        None => Some(format!("{what}\nhint: devices are numbered from cuda:0 to cuda:{}", gpus.usable - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_is_not_there_is_named_with_what_to_do() {
        for (index, usable, cuda, expected) in [
            (0, 1, true, None),
            (0, 0, false, Some("this libtorch is CPU only\nhint: set LIBTORCH")),
            (0, 0, true, Some("no device cuda:0: no NVIDIA driver is loaded\nhint: for a GPU")),
            (2, 2, true, Some("no device cuda:2\nhint: devices are numbered from cuda:0 to cuda:1")),
        ] {
            let libtorch = machine::Libtorch { cuda, ..machine::libtorch() };
            let found = missing(index, &libtorch, &gpu::Gpus { usable, ..gpu::Gpus::default() });
            assert_eq!(found.is_some(), expected.is_some(), "{found:?}");
            assert!(found.clone().unwrap_or_default().contains(expected.unwrap_or_default()), "{found:?}");
        }
    }
}
