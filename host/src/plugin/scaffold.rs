//! A new plugin's crate, written out from the examples in `plugins/`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result};

use super::manifest::{self, Kind};
use crate::config::ConfigError;

/// The source of coin-plugin-api, path and text: what a plugin outside the repository depends on until the crate is published.
mod api {
    include!(concat!(env!("OUT_DIR"), "/api_source.rs"));
}

const WORKSPACE: &str = include_str!("../../../Cargo.toml");
/// The copy's folder in a plugin's crate.
pub const API_FOLDER: &str = "coin-plugin-api";

/// Words that no library of Rust can be called.
const RESERVED: [&str; 44] = [
    "alloc", "as", "async", "await", "become", "box", "break", "const", "continue", "core", "crate", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "pub", "ref", "return", "self", "static", "std", "struct",
    "super", "test", "trait", "true", "type", "use", "where",
];

/// The example that a crate is made from.
struct Template {
    name: &'static str,
    source: &'static str,
    tests: &'static str,
}

const METHOD: Template = Template {
    name: "example",
    source: include_str!("../../../plugins/example/src/lib.rs"),
    tests: include_str!("../../../plugins/example/src/tests.rs"),
};

const DATASET: Template = Template {
    name: "example-dataset",
    source: include_str!("../../../plugins/example-dataset/src/lib.rs"),
    tests: include_str!("../../../plugins/example-dataset/src/tests.rs"),
};

/// What a new crate depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Api {
    /// The repository's crate where the plugin lies in the repository, else a copy of the source beside the plugin.
    Nearest,
    /// A folder with the crate.
    Path(PathBuf),
    /// A repository with the crate.
    Git(String),
    /// A published version.
    Version(String),
}

impl Api {
    /// What `--api` means: a version begins with a digit, the address of a repository has `://` or ends with `.git`, else it is a path.
    pub fn parse(text: &str) -> Api {
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            Api::Version(text.to_owned())
        } else if text.contains("://") || text.ends_with(".git") {
            Api::Git(text.to_owned())
        } else {
            Api::Path(PathBuf::from(text))
        }
    }
}

/// Where a new crate goes unless told: into `plugins` of the repository one stands in, else here.
pub fn folder(name: &str) -> PathBuf {
    match Path::new("plugin-api/Cargo.toml").exists() && Path::new("plugins").is_dir() {
        true => Path::new("plugins").join(name),
        false => PathBuf::from(name),
    }
}

/// Writes the crate of a new plugin into a folder that must not exist, all of it or nothing.
///
/// # Errors
/// [`ConfigError`] for a name that no plugin can have and a folder that exists; a file that cannot be written.
pub fn write(kind: Kind, name: &str, folder: &Path, api: &Api) -> Result<Vec<PathBuf>> {
    let wrong = if !manifest::is_name(name) {
        Some((
            format!("`{name}` cannot be a plugin's name"),
            "lower-case letters, digits and hyphens, beginning with a letter",
        ))
    } else if RESERVED.contains(&name) || super::shipped::manifest(name).is_some() {
        Some((format!("`{name}` is taken: by Rust, or by a shipped plugin"), "choose another name"))
    } else if folder.exists() {
        Some((format!("{} exists already", folder.display()), "--path puts the crate elsewhere"))
    } else {
        None
    };
    if let Some((reason, hint)) = wrong {
        return Err(ConfigError::new(reason).hint(hint).into());
    }
    let folder = std::path::absolute(folder)?;
    let parent = folder.parent().context("a crate needs a folder to stand in")?;
    std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
    let files = files(kind, name, &folder, api)?;
    let stage = tempfile::Builder::new().prefix(".new-plugin-").tempdir_in(parent)?;
    for (path, text) in &files {
        let path = stage.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(stage.path()))?;
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    readable(stage.path())?;
    std::fs::rename(stage.path(), &folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    // The temporary folder has become the crate.
    let _gone = stage.keep();
    Ok(files.into_keys().collect())
}

/// A temporary folder is its maker's alone; a crate is not.
fn readable(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(())
}

fn files(kind: Kind, name: &str, folder: &Path, api: &Api) -> Result<BTreeMap<PathBuf, String>> {
    let template = match kind {
        Kind::Method => METHOD,
        Kind::Dataset => DATASET,
    };
    let repository = repository(folder);
    let member = repository.as_deref().is_some_and(|root| folder.parent() == Some(&root.join("plugins")));
    let mut files = BTreeMap::new();
    let mut add = |path: &str, text: String| files.insert(PathBuf::from(path), text);
    add("src/lib.rs", renamed(template.source, template.name, name));
    add("src/tests.rs", renamed(template.tests, template.name, name));
    add("plugin.toml", manifest_of(kind, name));
    add("README.md", readme(kind, name, member));
    add(&example_file(kind, name), example(kind, name));
    let dependency = match api {
        Api::Nearest => match repository {
            Some(_) if member => String::from("workspace = true"),
            Some(root) => format!("path = {:?}", relative(folder, &root.join("plugin-api"))),
            None => {
                for (path, text) in api::FILES {
                    add(&format!("{API_FOLDER}/{path}"), (*text).to_owned());
                }
                add(&format!("{API_FOLDER}/Cargo.toml"), api_manifest()?);
                format!("path = {API_FOLDER:?}")
            }
        },
        Api::Path(path) => {
            format!("path = {:?}", std::path::absolute(path)?.display().to_string())
        }
        Api::Git(address) => format!("git = {address:?}"),
        Api::Version(version) => format!("version = {version:?}"),
    };
    add("Cargo.toml", cargo_manifest(name, &dependency, member)?);
    if !member {
        add(".gitignore", String::from("/target\n/dist\n"));
    }
    Ok(files)
}

/// The root of this project's repository, where the folder lies in it.
fn repository(folder: &Path) -> Option<PathBuf> {
    let is_root = |folder: &&Path| {
        let manifest = std::fs::read_to_string(folder.join("plugin-api/Cargo.toml")).unwrap_or_default();
        manifest.contains("name = \"coin-plugin-api\"")
    };
    folder.ancestors().skip(1).find(is_root).map(Path::to_path_buf)
}

/// The way from a folder to a place, both absolute and with a common ancestor.
fn relative(from: &Path, to: &Path) -> String {
    let (from, to): (Vec<Component>, Vec<Component>) =
        (from.components().collect(), to.components().collect());
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n(Component::ParentDir, from.len() - common);
    up.chain(to[common..].iter().copied()).collect::<PathBuf>().display().to_string()
}

/// The example's source under the plugin's name.
fn renamed(text: &str, example: &str, name: &str) -> String {
    text.replace(&format!("name: \"{example}\""), &format!("name: \"{name}\""))
        .replace(&format!("\"{example}-"), &format!("\"{name}-"))
        .replace("Example", "Mine")
}

fn manifest_of(kind: Kind, name: &str) -> String {
    format!(
        "[plugin]\nname = \"{name}\"\nversion = \"0.1.0\"\nkind = [\"{}\"]\nlicense = \"MIT OR Apache-2.0\"\ndescription = \"What {name} does, in one sentence\"\nneeds = []\n\n[api]\nversion = \"{}\"\n",
        kind.name(),
        coin_plugin_api::API_VERSION
    )
}

fn example_file(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Dataset => String::from("task.toml"),
        _ => format!("{name}.toml"),
    }
}

fn example(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Dataset => format!(
            "# A task of a comparison: put this into its file, and `mine` into its order.\n[tasks.mine]\ndataset = \"{name}/table\"\nroot = \"data/mine\"\n"
        ),
        _ => format!(
            "# A method of a comparison: `coin-host compare --methods lora,{name}.toml` puts it beside LoRA,\n# with the rank of the quickstart's.\nstack = [{{ plugin = \"{name}\", r = 16, lora_alpha = 32 }}]\n"
        ),
    }
}

fn readme(kind: Kind, name: &str, member: bool) -> String {
    let library = super::discover::library_file(name);
    let build = match member {
        true => format!("cargo build --release -p coin-plugin-{name}"),
        false => String::from("cargo build --release"),
    };
    let run = match kind {
        Kind::Dataset => String::from("coin-host compare my-comparison.toml   # with the lines of task.toml"),
        _ if member => format!(
            "target/release/coin-host compare --methods lora,plugins/{name}/{name}.toml --out runs/{name}"
        ),
        _ => format!("coin-host compare --methods lora,{name}.toml --out runs/{name}"),
    };
    let lock =
        if member { String::new() } else { format!("coin-host plugin add target/release/{library}\n") };
    format!(
        "# {name}\n\nA plugin for coin-host.\n\n```\n{build}\ncargo test{}\n{lock}{run}\n```\n\n`src/lib.rs` is the whole plugin; its tests run on a recording host, without libtorch. `plugin.toml` says what it is without being\nloaded: keep name, version and needs the same as in the code.{}\n",
        if member { format!(" --release -p coin-plugin-{name}") } else { String::new() },
        if member {
            ""
        } else {
            "\n\n`plugin add` copies the library: after each build add it again, or the copy goes on being used."
        }
    )
}

fn cargo_manifest(name: &str, api: &str, member: bool) -> Result<String> {
    let shared = if member {
        String::from("edition.workspace = true\nrust-version.workspace = true\nlicense.workspace = true\n")
    } else {
        let workspace: toml::Table = WORKSPACE.parse()?;
        let package = package(&workspace)?;
        ["edition", "rust-version", "license"]
            .into_iter()
            .map(|key| Ok(format!("{key} = {}\n", package.get(key).with_context(|| format!("no {key}"))?)))
            .collect::<Result<String>>()?
    };
    let serde = if member {
        String::from("serde.workspace = true")
    } else {
        String::from("serde = { version = \"1\", features = [\"derive\"] }")
    };
    // Outside, the crate is a workspace of its own, and as small as the shipped plugins.
    let end = if member {
        "[lints]\nworkspace = true\n"
    } else {
        "[workspace]\n\n[profile.release]\npanic = \"unwind\"\nopt-level = \"s\"\ncodegen-units = 1\nstrip = \"symbols\"\n"
    };
    Ok(format!(
        "[package]\nname = \"coin-plugin-{name}\"\ndescription = \"coin-host plugin: {name}\"\nversion = \"0.1.0\"\n{shared}publish = false\n\n[lib]\nname = \"{}\"\ncrate-type = [\"cdylib\", \"rlib\"]\n\n[dependencies]\ncoin-plugin-api = {{ {api} }}\n{serde}\n\n{end}",
        name.replace('-', "_")
    ))
}

/// `[workspace.package]`.
fn package(workspace: &toml::Table) -> Result<&toml::Table> {
    let package = workspace.get("workspace").and_then(|workspace| workspace.get("package"));
    package.and_then(toml::Value::as_table).context("the workspace has no package table")
}

/// The manifest of coin-plugin-api with what it takes from the workspace written out.
fn api_manifest() -> Result<String> {
    let workspace: toml::Table = WORKSPACE.parse()?;
    let mut manifest: toml::Table = api::MANIFEST.parse()?;
    manifest.remove("lints");
    manifest.remove("example");
    let shared = package(&workspace)?;
    if let Some(package) = manifest.get_mut("package").and_then(toml::Value::as_table_mut) {
        inherit(package, shared)?;
    }
    let known =
        workspace["workspace"]["dependencies"].as_table().context("the workspace has no dependencies")?;
    if let Some(dependencies) = manifest.get_mut("dependencies").and_then(toml::Value::as_table_mut) {
        inherit(dependencies, known)?;
    }
    Ok(toml::to_string(&manifest)?)
}

/// Replaces each `key.workspace = true` by the workspace's value.
fn inherit(table: &mut toml::Table, shared: &toml::Table) -> Result<()> {
    for (key, value) in table.iter_mut() {
        let from_workspace = value.get("workspace").is_some();
        if from_workspace {
            *value = shared.get(key).with_context(|| format!("the workspace has no {key}"))?.clone();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_is_a_version_an_address_or_a_path() {
        assert_eq!(Api::parse("1.0"), Api::Version("1.0".into()));
        assert_eq!(
            Api::parse("https://example.org/coin-host"),
            Api::Git("https://example.org/coin-host".into())
        );
        assert_eq!(Api::parse("../plugin-api"), Api::Path("../plugin-api".into()));
    }

    #[test]
    fn outside_the_repository_the_api_comes_along_and_asks_the_workspace_for_nothing() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let folder = root.path().join("my-method");
        let written = write(Kind::Method, "my-method", &folder, &Api::Nearest).expect("written");
        assert!(written.contains(&PathBuf::from("coin-plugin-api/src/lib.rs")));
        for file in written.iter().filter(|path| path.ends_with("Cargo.toml")) {
            let text = std::fs::read_to_string(folder.join(file)).expect("there");
            assert!(!text.contains("workspace = true"), "{}: {text}", file.display());
            let _parsed: toml::Table = text.parse().expect("TOML");
        }
        let source = std::fs::read_to_string(folder.join("src/lib.rs")).expect("there");
        assert!(source.contains("struct Mine") && source.contains("name: \"my-method\""), "{source}");
        let error = write(Kind::Method, "my-method", &folder, &Api::Nearest).expect_err("it exists");
        assert!(error.to_string().contains("exists already"), "{error}");
        let error =
            write(Kind::Method, "fn", &root.path().join("x"), &Api::Nearest).expect_err("a word of Rust");
        assert!(error.to_string().contains("is taken"), "{error}");
        let error = write(Kind::Method, "My", &root.path().join("x"), &Api::Nearest).expect_err("a bad name");
        assert!(error.to_string().contains("hint: lower-case"), "{error}");
        assert_eq!(
            std::fs::read_dir(root.path()).expect("a folder").count(),
            1,
            "something half-written is left"
        );
    }

    #[test]
    fn inside_the_repository_the_crate_is_a_member() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let api = root.path().join("plugin-api");
        std::fs::create_dir_all(&api).expect("made");
        std::fs::write(api.join("Cargo.toml"), "[package]\nname = \"coin-plugin-api\"\n").expect("written");
        let manifest = |path: &str| {
            let folder = root.path().join(path);
            write(Kind::Dataset, "mine", &folder, &Api::Nearest).expect("written");
            std::fs::read_to_string(folder.join("Cargo.toml")).expect("there")
        };
        assert!(manifest("plugins/mine").contains("coin-plugin-api = { workspace = true }"));
        let beside = manifest("labs/one/mine");
        assert!(
            beside.contains("path = \"../../../plugin-api\"") && beside.contains("[workspace]"),
            "{beside}"
        );
    }
}
