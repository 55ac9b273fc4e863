//! What can be read about the machine: libtorch as it is loaded, devices, processor, memory.

use std::fmt::{Display, Formatter, Result};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// The libtorch of this process.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Libtorch {
    /// The file of its CPU part; `None` where the system does not tell.
    pub path: Option<PathBuf>,
    /// As the installation says it; `None` where it does not.
    pub version: Option<String>,
    /// Whether its CUDA part is loaded.
    pub cuda: bool,
    /// The version of CUDA that it was built for, where its own version tells.
    pub cuda_version: Option<String>,
    /// Libraries it was built with.
    pub built_with: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Processor {
    /// As the system says it; the architecture where it does not.
    pub name: String,
    pub architecture: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Vector extensions that matter to libtorch's kernels.
    pub features: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Threads {
    pub within_operation: i32,
    pub between_operations: i32,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Memory {
    pub total_bytes: u64,
    pub available_bytes: u64,
    /// What the container allows, where it allows less than there is.
    pub limit_bytes: Option<u64>,
}

pub(crate) fn libtorch() -> Libtorch {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let path = loaded(&maps, "libtorch_cpu.so");
    let built_with = [
        (tch::utils::has_mkl(), "MKL"),
        (tch::utils::has_mkldnn(), "oneDNN"),
        (tch::utils::has_openmp(), "OpenMP"),
        (tch::utils::has_lapack(), "LAPACK"),
    ];
    let version = path.as_deref().and_then(version);
    let cuda = loaded(&maps, "libtorch_cuda.so").is_some();
    Libtorch {
        cuda_version: version.as_deref().and_then(cuda_version).filter(|_| cuda),
        version,
        path,
        cuda,
        built_with: built_with.iter().filter(|(has, _)| *has).map(|(_, name)| (*name).to_owned()).collect(),
    }
}

/// The file of a library in the memory map of a process.
fn loaded(maps: &str, library: &str) -> Option<PathBuf> {
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    paths.into_iter().find(|path| path.file_name().is_some_and(|name| name == library)).map(Path::to_path_buf)
}

/// libtorch archives carry `build-version` beside `lib`, the PyTorch package `version.py`.
fn version(library: &Path) -> Option<String> {
    let root = library.parent()?.parent()?;
    if let Ok(text) = fs::read_to_string(root.join("build-version")) {
        return Some(text.trim().to_owned());
    }
    let text = fs::read_to_string(root.join("version.py")).ok()?;
    let line = text.lines().find(|line| line.starts_with("__version__"))?;
    line.split(['\'', '"']).nth(1).map(str::to_owned)
}

/// `13.0` out of `2.13.0+cu130`.
fn cuda_version(version: &str) -> Option<String> {
    let digits = version.split_once("+cu")?.1;
    let (major, minor) = digits.split_at_checked(digits.len().checked_sub(1)?)?;
    (!major.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()))
        .then(|| format!("{major}.{minor}"))
}

pub(crate) fn processor() -> Processor {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let architecture = std::env::consts::ARCH.to_owned();
    Processor {
        name: model_name(&cpuinfo).unwrap_or_else(|| architecture.clone()),
        architecture,
        cores: std::thread::available_parallelism().map_or(1, |cores| cores.get()),
        features: features().into_iter().filter(|(has, _)| *has).map(|(_, name)| name.to_owned()).collect(),
    }
}

fn model_name(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<(bool, &'static str)> {
    vec![
        (is_x86_feature_detected!("avx2"), "avx2"),
        (is_x86_feature_detected!("fma"), "fma"),
        (is_x86_feature_detected!("avx512f"), "avx512f"),
        (is_x86_feature_detected!("avx512vnni"), "avx512vnni"),
        (is_x86_feature_detected!("avx512bf16"), "avx512bf16"),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<(bool, &'static str)> {
    Vec::new()
}

pub(super) fn threads() -> Threads {
    Threads { within_operation: tch::get_num_threads(), between_operations: tch::get_num_interop_threads() }
}

pub(super) fn memory() -> Memory {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total_bytes = kibibytes(&info, "MemTotal") * 1024;
    let limit =
        fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    Memory {
        total_bytes,
        available_bytes: kibibytes(&info, "MemAvailable") * 1024,
        limit_bytes: limit.filter(|&bytes: &u64| bytes < total_bytes),
    }
}

/// A value of `/proc/meminfo`; 0 where it is not listed.
fn kibibytes(info: &str, name: &str) -> u64 {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

impl Display for Libtorch {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(self.version.as_deref().unwrap_or("of unknown version"))?;
        if let Some(path) = &self.path {
            write!(f, " at {}", path.display())?;
        }
        let cuda = match (self.cuda, &self.cuda_version) {
            (false, _) => String::from("CPU only"),
            (true, None) => String::from("CUDA"),
            (true, Some(version)) => format!("CUDA {version}"),
        };
        write!(
            f,
            " ({})",
            std::iter::once(cuda.as_str())
                .chain(self.built_with.iter().map(String::as_str))
                .collect::<Vec<_>>()
                .join(", ")
        )
    }
}

impl Display for Processor {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}, {} cores, {}", self.architecture, self.cores, self.features.join(" "))
    }
}

impl Display for Threads {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(
            f,
            "{} within an operation, {} between operations",
            self.within_operation, self.between_operations
        )
    }
}

impl Display for Memory {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let gibibytes = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
        write!(
            f,
            "{:.1} GiB, {:.1} GiB available",
            gibibytes(self.total_bytes),
            gibibytes(self.available_bytes)
        )?;
        self.limit_bytes.map_or(Ok(()), |bytes| write!(f, ", {:.1} GiB allowed", gibibytes(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loaded_library_is_found_by_its_file_name() {
        let maps = "7f00-7f01 r--p 0000 fe:00 12   /opt/a b/lib/libtorch_cpu.so\n7f02-7f03 rw-p 0000 00:00 0\n\
                    7f04-7f05 r--p 0000 fe:00 13   /opt/lib/libtorch_cpu.so.sym\n";
        assert_eq!(loaded(maps, "libtorch_cpu.so"), Some(PathBuf::from("/opt/a b/lib/libtorch_cpu.so")));
        assert_eq!(loaded(maps, "libtorch_cuda.so"), None);
    }

    #[test]
    fn the_version_comes_from_either_kind_of_installation() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let library = folder.path().join("lib/libtorch_cpu.so");
        assert_eq!(version(&library), None);
        fs::write(folder.path().join("version.py"), "from typing import x\n__version__ = '2.13.0+cu130'\n")
            .expect("written");
        assert_eq!(version(&library).as_deref(), Some("2.13.0+cu130"));
        fs::write(folder.path().join("build-version"), "2.13.0\n").expect("written");
        assert_eq!(version(&library).as_deref(), Some("2.13.0"));
    }

    #[test]
    fn the_version_tells_for_which_cuda_it_was_built() {
        for (version, cuda) in [
            ("2.13.0+cu130", Some("13.0")),
            ("2.13.0+cu92", Some("9.2")),
            ("2.13.0+cpu", None),
            ("2.13.0", None),
            ("2.13.0+cu", None),
        ] {
            assert_eq!(cuda_version(version).as_deref(), cuda, "{version}");
        }
    }

    #[test]
    fn memory_values_are_read_by_name() {
        let info = "MemTotal:       24576000 kB\nMemFree: 1 kB\nMemAvailable:    2048 kB\n";
        assert_eq!((kibibytes(info, "MemTotal"), kibibytes(info, "MemAvailable")), (24_576_000, 2048));
        assert_eq!(kibibytes(info, "Mem"), 0);
    }
}
