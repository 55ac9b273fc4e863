//! Puts libtorch's folder into the run path of the binary, so that no environment variable is needed to start it, and gathers the
//! declarations of libtorch's operators from its headers and the source of coin-plugin-api that `coin-host plugin new` writes out.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    println!("cargo:rerun-if-changed=build.rs");
    let folder = std::env::var("DEP_TCH_LIBTORCH_LIB");
    let headers = folder.as_ref().map(|folder| Path::new(folder).join("../include/ATen/ops"));
    let declarations = headers.map_or_else(|_| Vec::new(), |headers| operators(&headers));
    let out = std::env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    std::fs::write(Path::new(&out).join("operators.txt"), declarations.join("\n"))
        .expect("OUT_DIR can be written");
    std::fs::write(Path::new(&out).join("api_source.rs"), api_source()).expect("OUT_DIR can be written");
    let Ok(folder) = folder else { return };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    // Nothing refers to a symbol of the CUDA library (its kernels register themselves), so the linker would drop it.
    if Path::new(&folder).join("libtorch_cuda.so").exists() {
        println!("cargo:rustc-link-arg=-Wl,--push-state,--no-as-needed,-ltorch_cuda,--pop-state");
    }
}

/// The operators that a folder of libtorch's headers declares, sorted. None where there are no headers.
fn operators(headers: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(headers).into_iter().flatten().flatten() {
        if !file.file_name().to_string_lossy().ends_with("_ops.h") {
            continue;
        }
        let text = std::fs::read_to_string(file.path()).unwrap_or_default();
        let declarations =
            text.lines().filter_map(|line| line.split_once("schema_str = \"")?.1.split_once("\";"));
        found.extend(declarations.map(|(declaration, _)| declaration.to_owned()));
    }
    found.sort();
    found.dedup();
    found
}

/// The source of coin-plugin-api as constants: `MANIFEST`, and path and text of each file in `FILES`.
fn api_source() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-api");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut paths = Vec::new();
    collect(&root.join("src"), &mut paths);
    paths.sort();
    let mut text =
        format!("pub(super) const MANIFEST: &str = include_str!({:?});\n", root.join("Cargo.toml"));
    text += "pub(super) const FILES: &[(&str, &str)] = &[\n";
    for path in paths {
        let name = path.strip_prefix(&root).expect("it lies there").display().to_string();
        text += &format!("    ({name:?}, include_str!({path:?})),\n");
    }
    text + "];\n"
}

fn collect(folder: &Path, paths: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}
