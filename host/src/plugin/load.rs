//! From verified bytes to the root module: the only unsafe code of the plugin side.
//!
//! A library is never unloaded (its thread-locals and leaked tables would dangle), and the same bytes are loaded once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use abi_stable::library::{AbiHeaderRef, LibHeader};
use coin_plugin_api::abi::load::{Age, check};
use coin_plugin_api::abi::{API_VERSION, ApiVersion, PluginRef};
use coin_plugin_api::{Description, Need};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::verify::Image;
use super::{elf, manifest};

const BUILD_AGAIN: &str = "hint: build it again with this host's coin-plugin-api, or get a build for it";

/// A loaded library that the host and it agree on.
#[derive(Clone)]
pub struct Loaded {
    pub module: PluginRef,
    pub description: Description,
    /// The version of the border it was built with.
    pub api: ApiVersion,
    /// Whether it knows less of the border than the host.
    pub age: Age,
}

/// Loads a verified library, then checks api version, layout and description. `name` is for debuggers.
///
/// # Errors
/// Why it is refused.
pub fn open(name: &str, image: &Image) -> Result<Loaded, String> {
    static LOADED: Mutex<BTreeMap<String, Loaded>> = Mutex::new(BTreeMap::new());
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = loaded.get(&image.sha256) {
        return Ok(known.clone());
    }
    let new = agree(header(name, &image.bytes)?)?;
    loaded.insert(image.sha256.clone(), new.clone());
    Ok(new)
}

fn agree(header: &'static LibHeader) -> Result<Loaded, String> {
    let built = header.version_strings();
    check_api(built.version.as_str())?;
    let (module, age) = check(header).map_err(|error| {
        format!("its part of the plugin api differs from this host's\n{error}\n{BUILD_AGAIN}")
    })?;
    let api = module.api_version();
    check_api(&api.to_string())?;
    let text = module.describe()()
        .into_result()
        .map_err(|error| format!("its description failed: {}\n{BUILD_AGAIN}", error.message))?;
    Ok(Loaded { module, description: described(text.as_str())?, api, age })
}

/// Reads what a plugin says of itself, which may be more than this host knows of.
///
/// # Errors
/// It is no description, or needs something that this host does not know, and so cannot grant.
pub fn described(text: &str) -> Result<Description, String> {
    toml::from_str(text).map_err(|error| {
        let table: toml::Table = toml::from_str(text).unwrap_or_default();
        let needs = table.get("needs").and_then(toml::Value::as_array).into_iter().flatten();
        let unknown = |need: &&str| Need::ALL.iter().all(|known| known.name() != *need);
        match needs.filter_map(toml::Value::as_str).find(unknown) {
            Some(need) => format!(
                "it needs `{need}`, which this host does not know\nhint: get a later coin-host; this one speaks api {}",
                spoken()
            ),
            None => format!("its description cannot be read: {}\n{BUILD_AGAIN}", error.message()),
        }
    })
}

/// Whether this host speaks a version of the border: the same major version.
///
/// # Errors
/// That it does not.
pub fn check_api(text: &str) -> Result<(), String> {
    match manifest::api_version(text) {
        Some((major, _)) if major == API_VERSION.major => Ok(()),
        _ => Err(format!("built for api {text}, this host speaks {}\n{BUILD_AGAIN}", spoken())),
    }
}

/// Whether this machine's C library is as new as a plugin asks for; where one of the two is not known, the dynamic linker will tell.
///
/// # Errors
/// That it is older.
pub fn check_glibc(needed: Option<(u32, u32)>) -> Result<(), String> {
    match (needed, glibc()) {
        (Some(needed), Some(here)) if needed > here => Err(format!(
            "it needs glibc {}.{} or later, this machine has {}.{}\nhint: get one that was built on an older system, or build it here from its source",
            needed.0, needed.1, here.0, here.1
        )),
        _ => Ok(()),
    }
}

/// The version of the C library of this process.
fn glibc() -> Option<(u32, u32)> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: a call without arguments, which gives a text that ends with a zero byte and lives as long as the process.
        let text = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
        manifest::api_version(text.to_str().ok()?)
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    None
}

/// The versions of the border that this host speaks: `1.0`, or `1.0 to 1.4`.
pub fn spoken() -> String {
    match API_VERSION.minor {
        0 => API_VERSION.to_string(),
        _ => format!("{}.0 to {API_VERSION}", API_VERSION.major),
    }
}

fn header(name: &str, bytes: &[u8]) -> Result<&'static LibHeader, String> {
    let (path, file) =
        place(name, bytes).map_err(|error| format!("its bytes cannot be put into memory: {error}\nhint: is there memory, and space in the folder for temporary files?"))?;
    // SAFETY: runs the constructors of a library that the trust policy accepted and whose headers stay within the file. The path is
    // absolute, so nothing else is found in its stead. RTLD_NOW: a missing symbol is an error here, not the end of the process later.
    let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
    let library = library.map_err(|error| format!("the dynamic linker does not take it: {error}\nhint: build it on this machine; a plugin links the C library alone"))?;
    // A path below /proc/self/fd must stay this file's: the linker tells libraries apart by path.
    std::mem::forget(file);
    // SAFETY: the symbol, where a library has it, is the static that `export_plugin!` defines; its address is what the type holds.
    let header =
        unsafe { library.get::<AbiHeaderRef>(elf::HEADER_SYMBOL.as_bytes()) }.map(|symbol| *symbol).map_err(
            |_| String::from("not a coin-host plugin\nhint: a plugin has `export_plugin!` in its lib.rs"),
        )?;
    // Never unloaded: what the header points to lives as long as the process.
    std::mem::forget(library);
    header
        .upgrade()
        .map_err(|_| format!("built with an abi_stable that this host does not speak\n{BUILD_AGAIN}"))
}

/// Puts the bytes where the linker can map them and nobody can change them.
fn place(name: &str, bytes: &[u8]) -> std::io::Result<(PathBuf, File)> {
    #[cfg(target_os = "linux")]
    if let Ok(placed) = sealed_memory(name, bytes) {
        return Ok(placed);
    }
    private_copy(name, bytes)
}

#[cfg(target_os = "linux")]
fn sealed_memory(name: &str, bytes: &[u8]) -> std::io::Result<(PathBuf, File)> {
    use std::os::fd::{AsRawFd, FromRawFd};

    let name = std::ffi::CString::new(name)?;
    // SAFETY: the name ends with a zero byte and lives through the call.
    let descriptor =
        unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    if descriptor < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    let mut file = unsafe { File::from_raw_fd(descriptor) };
    file.write_all(bytes)?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: an open descriptor and integer arguments.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok((PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())), file))
}

/// Where there is no sealed memory: a new folder that only this user may enter, whose file is read-only.
fn private_copy(name: &str, bytes: &[u8]) -> std::io::Result<(PathBuf, File)> {
    let folder = tempfile::Builder::new().prefix("coin-host-").tempdir()?.keep();
    let path = folder.join(Path::new(name).file_name().unwrap_or("plugin".as_ref()));
    let mut file = File::create_new(&path)?;
    file.write_all(bytes)?;
    let mut permissions = file.metadata()?.permissions();
    permissions.set_readonly(true);
    file.set_permissions(permissions)?;
    Ok((path, file))
}

/// Maps the first words of a file that other processes read: for [`super::breadcrumb`]. Mapped for good.
pub(super) fn shared_words(file: &File, count: usize) -> std::io::Result<&'static [AtomicU64]> {
    use std::os::fd::AsRawFd;

    let length = count * size_of::<AtomicU64>();
    if file.metadata()?.len() < length as u64 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    // SAFETY: a new mapping of an open file, at an address of the system's choice.
    let start = unsafe {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        libc::mmap(std::ptr::null_mut(), length, protection, flags, file.as_raw_fd(), 0)
    };
    if start == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the mapping starts at a page, has this length and is never unmapped; atomics of any bits are sound, whoever writes them.
    Ok(unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), count) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_major_version_is_refused_in_one_line() {
        assert_eq!(check_api("1.0.0"), Ok(()));
        assert_eq!(check_api("1.7"), Ok(()));
        let other = check_api("2.0.0").expect_err("another major version");
        assert!(other.starts_with("built for api 2.0.0, this host speaks 1.0\nhint: "), "{other}");
        assert!(check_api("x").is_err());
    }

    #[test]
    fn a_description_may_say_more_but_not_need_more_than_this_host_knows() {
        let text = |needs: &str, more: &str| {
            format!(
                "name = \"a\"\nversion = \"0.1.0\"\napi = \"1.7\"\nmethod = true\ndatasets = []\nneeds = {needs}\n{more}\n[defaults]\nr = 8\n"
            )
        };
        let read = described(&text("[\"replay\"]", "languages = [\"fr\"]")).expect("a later description");
        assert_eq!((read.needs, read.api.as_str()), (vec![Need::Replay], "1.7"));
        let error = described(&text("[\"replay\", \"clairvoyance\"]", "")).expect_err("an unknown need");
        assert!(
            error.starts_with("it needs `clairvoyance`, which this host does not know\nhint: "),
            "{error}"
        );
        let error = described(&text("3", "")).expect_err("no list");
        assert!(error.starts_with("its description cannot be read: "), "{error}");
    }

    #[test]
    fn placed_bytes_cannot_be_changed() {
        for place in [place, private_copy] {
            let (path, _file) = place("libx.so", b"code").expect("placed");
            assert_eq!(std::fs::read(&path).expect("readable"), b"code");
            if path.starts_with("/proc") {
                assert!(std::fs::write(&path, b"other").is_err());
            }
        }
    }
}
