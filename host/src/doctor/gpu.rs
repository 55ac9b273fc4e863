//! GPUs: what libtorch and NVIDIA's driver say of them, and why none can be used.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::Serialize;

/// The oldest drivers (major version) of CUDA's major versions (docs.nvidia.com/deploy/cuda-compatibility).
const DRIVERS: &[(&str, u32)] = &[("11", 450), ("12", 525), ("13", 580)];

/// What a libtorch with CUDA finds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Gpus {
    /// How many libtorch can use.
    pub usable: usize,
    /// Device files of GPUs: `/dev/nvidia0` and so on.
    pub device_files: usize,
    /// The models that the driver knows, one for each GPU; it may know more than this process may use.
    pub models: Vec<String>,
    /// Version of the driver that is loaded.
    pub driver: Option<String>,
    /// `CUDA_VISIBLE_DEVICES`, where it is set.
    pub visible: Option<String>,
}

/// Why no GPU can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Absence {
    pub(crate) why: String,
    pub(crate) hint: String,
    /// Whether there seems to be one that somebody means to use.
    pub(crate) is_fault: bool,
}

/// Of this machine, for this process.
pub(crate) fn gpus() -> Gpus {
    let usable = if tch::Cuda::is_available() { tch::Cuda::device_count() } else { 0 };
    let version = fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
    let in_dev = fs::read_dir("/dev").into_iter().flatten().flatten();
    let number = |name: &str| name.strip_prefix("nvidia").is_some_and(|rest| rest.parse::<u32>().is_ok());
    Gpus {
        usable: usize::try_from(usable).unwrap_or(0),
        device_files: in_dev.filter(|file| file.file_name().to_str().is_some_and(number)).count(),
        models: models(Path::new("/proc/driver/nvidia/gpus")),
        driver: driver(&version),
        visible: std::env::var_os("CUDA_VISIBLE_DEVICES").map(|value| value.to_string_lossy().into_owned()),
    }
}

/// From the driver's folder of GPUs, in the order of their addresses.
fn models(folder: &Path) -> Vec<String> {
    let mut files: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    let model =
        |text: String| Some(text.lines().find_map(|line| line.strip_prefix("Model:"))?.trim().to_owned());
    files.into_iter().filter_map(|gpu| model(fs::read_to_string(gpu.join("information")).ok()?)).collect()
}

/// `580.65.06` out of `NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul ...`.
fn driver(version: &str) -> Option<String> {
    let numbers = |word: &&str| {
        let parts: Vec<&str> = word.split('.').collect();
        parts.len() > 1 && parts.iter().all(|part| part.parse::<u32>().is_ok())
    };
    version.lines().next()?.split_whitespace().find(numbers).map(str::to_owned)
}

impl Gpus {
    /// The model, where all GPUs are of one.
    pub(crate) fn model(&self) -> Option<&str> {
        let different: BTreeSet<&String> = self.models.iter().collect();
        self.models.first().filter(|_| different.len() == 1).map(String::as_str)
    }

    /// Why a libtorch for this version of CUDA finds none; nothing where it finds some.
    pub(crate) fn absence(&self, cuda: Option<&str>) -> Option<Absence> {
        if self.usable > 0 {
            return None;
        }
        let absence =
            |why: String, hint: &str, is_fault| Some(Absence { why, hint: hint.to_owned(), is_fault });
        let Some(driver) = &self.driver else {
            return absence(
                String::from("no NVIDIA driver is loaded"),
                "for a GPU of this machine install NVIDIA's driver, or start the container with its GPUs (`docker run --gpus all`)",
                false,
            );
        };
        if let Some(visible) = &self.visible {
            return absence(
                format!("CUDA_VISIBLE_DEVICES is `{visible}`"),
                "unset it, or name GPUs that `nvidia-smi -L` lists",
                !matches!(visible.trim(), "" | "-1" | "NoDevFiles" | "void" | "none"),
            );
        }
        if self.device_files == 0 {
            return absence(
                format!(
                    "NVIDIA's driver {driver} is loaded, but this process is given no GPU (no /dev/nvidia0)"
                ),
                "start the container with its GPUs (`docker run --gpus all`)",
                false,
            );
        }
        let known =
            DRIVERS.iter().find(|(major, _)| cuda.and_then(|cuda| cuda.split('.').next()) == Some(*major));
        let loaded = driver.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if let Some((major, oldest)) = known
            && loaded.is_some_and(|loaded| loaded < *oldest)
        {
            return absence(
                format!(
                    "NVIDIA's driver {driver} is too old for CUDA {major}, which needs {oldest} or newer"
                ),
                "update the driver, or build with a PyTorch for an older CUDA",
                true,
            );
        }
        absence(
            format!("NVIDIA's driver {driver} is loaded, but CUDA cannot use a GPU through it"),
            "`nvidia-smi` must list one; where it does not, it says why",
            true,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_s_files_are_read() {
        let closed = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\nGCC version: 12.3.0\n";
        let open =
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs)\n";
        assert_eq!(driver(closed).as_deref(), Some("535.183.01"));
        assert_eq!(driver(open).as_deref(), Some("580.65.06"));
        assert_eq!(driver(""), None);
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (address, model) in [("0000:82:00.0", "NVIDIA L4"), ("0000:01:00.0", "NVIDIA H100 80GB HBM3")] {
            let gpu = folder.path().join(address);
            fs::create_dir(&gpu).expect("made");
            let text = format!("Model: \t\t {model}\nIRQ:   \t\t 18\n");
            fs::write(gpu.join("information"), text).expect("written");
        }
        let mut gpus = Gpus { models: models(folder.path()), ..Gpus::default() };
        assert_eq!(gpus.models, ["NVIDIA H100 80GB HBM3", "NVIDIA L4"]);
        assert_eq!(gpus.model(), None);
        gpus.models = vec![String::from("NVIDIA L4"); 2];
        assert_eq!(gpus.model(), Some("NVIDIA L4"));
    }

    #[test]
    fn where_there_is_no_gpu_it_says_why() {
        let bare = Gpus::default();
        let loaded = Gpus { driver: Some(String::from("570.86.10")), ..Gpus::default() };
        let there = Gpus { device_files: 1, ..loaded.clone() };
        let seen_through = |visible: &str| Gpus { visible: Some(visible.to_owned()), ..there.clone() };
        for (gpus, cuda, why, is_fault) in [
            (bare, "13.0", "no NVIDIA driver is loaded", false),
            (loaded, "13.0", "this process is given no GPU", false),
            (there.clone(), "13.0", "driver 570.86.10 is too old for CUDA 13, which needs 580", true),
            (there.clone(), "12.8", "CUDA cannot use a GPU", true),
            (seen_through(""), "12.8", "CUDA_VISIBLE_DEVICES is ``", false),
            (seen_through("7"), "12.8", "CUDA_VISIBLE_DEVICES is `7`", true),
        ] {
            let absence = gpus.absence(Some(cuda)).expect("none can be used");
            assert!(absence.why.contains(why) && !absence.hint.is_empty(), "{absence:?}");
            assert_eq!(absence.is_fault, is_fault, "{absence:?}");
        }
        assert_eq!(Gpus { usable: 1, ..there }.absence(None), None);
    }
}
