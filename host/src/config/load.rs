//! Reads a configuration: file, methods' files, options of the command line, check, resolution.

use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use toml_edit::Value;

use crate::config::check::check;
use crate::config::overrides::Override;
use crate::config::raw::RawConfig;
use crate::config::resolve::{Selection, resolve};
use crate::config::tree::Tree;
use crate::config::{ConfigError, Origin, Origins, RunConfig, nearest};

/// The configuration of `coin-host compare` without one.
pub const QUICKSTART: &str = include_str!("../../../configs/quickstart.toml");
const QUICKSTART_NAME: &str = "embedded quickstart.toml";

/// What the command line says about the configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// The file; none takes the embedded quickstart.
    pub path: Option<&'a Path>,
    /// Arguments of `--set`, later ones over earlier ones.
    pub set: &'a [String],
    /// `--seeds`, in place of the file's.
    pub seeds: &'a [u64],
    /// `--orders`, in place of the file's.
    pub orders: &'a [String],
    /// `--methods`: of the file's only these; a path of a `.toml` adds a method.
    pub methods: &'a [String],
    /// `--tasks`: of the file's only these.
    pub tasks: &'a [String],
    /// `--plugin-dir`: searched before the file's.
    pub plugin_dirs: &'a [String],
}

/// A configuration and where each of its values comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub config: RunConfig,
    pub origins: Origins,
}

/// Reads, checks and resolves a configuration.
///
/// # Errors
/// The first fault, with file, line, key and a hint.
pub fn load(request: &Request<'_>) -> Result<Loaded, ConfigError> {
    let (mut tree, name) = match request.path {
        None => (Tree::parse(QUICKSTART, QUICKSTART_NAME)?, "quickstart".to_string()),
        Some(path) => {
            let name =
                path.file_stem().map_or_else(|| "run".into(), |stem| stem.to_string_lossy().into_owned());
            (read(path, None)?, name)
        }
    };
    add_method_files(&mut tree)?;
    let methods = add_named_methods(&mut tree, request.methods)?;
    for over in overrides(request)? {
        over.apply(&mut tree)?;
    }
    add_plugin_dirs(&mut tree, request.plugin_dirs);
    check(&tree)?;
    let raw = RawConfig::deserialize(Value::InlineTable(tree.values).into_deserializer())
        .map_err(|fault| ConfigError::new(fault.to_string().trim_end().to_string()))?;
    let selection = Selection { methods: &methods, tasks: request.tasks };
    let config = resolve(&raw, &tree.origins, &name, selection)?;
    Ok(Loaded { config, origins: tree.origins })
}

fn read(path: &Path, named_by: Option<(&str, &Origin)>) -> Result<Tree, ConfigError> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|fault| {
        let reason = match fault.kind() {
            std::io::ErrorKind::NotFound => format!("there is no file `{file}`"),
            _ => format!("cannot read `{file}`: {fault}"),
        };
        let near = near_file(path).map(|near| format!("did you mean `{}`?", near.display()));
        let usual = match named_by {
            Some(_) => "a method's file holds its `stack`: `stack = [{ plugin = \"lora\", r = 16 }]`",
            None => "`coin-host compare` without a file runs the embedded quickstart",
        };
        let fault = ConfigError::new(reason).hint(near.unwrap_or_else(|| usual.to_string()));
        match named_by {
            Some((key, origin)) => fault.at(origin).key(key),
            None => fault,
        }
    })?;
    Tree::parse(&text, &file)
}

/// A file that is there, in the same folder or in `configs`, under a name like that of one that is not.
fn near_file(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    [folder.unwrap_or(Path::new(".")), Path::new("configs")].into_iter().find_map(|folder| {
        let files =
            std::fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut files: Vec<String> = files.filter(|file| file.ends_with(".toml")).collect();
        files.sort();
        let near = nearest::nearest(name, files.iter().map(String::as_str))?;
        Some(if folder == Path::new(".") { PathBuf::from(near) } else { folder.join(near) })
    })
}

/// The keys of `methods.NAME.file` in the place of that key.
fn add_method_files(tree: &mut Tree) -> Result<(), ConfigError> {
    let Some(methods) = tree.values.get("methods").and_then(Value::as_inline_table) else { return Ok(()) };
    let mut files = Vec::new();
    for (name, method) in methods {
        let key = format!("methods.{name}.file");
        let Some(table) = method.as_inline_table() else { continue };
        let Some(file) = table.get("file").and_then(Value::as_str) else { continue };
        let origin = tree.origins.of(&key).clone();
        if table.contains_key("stack") {
            let other = tree.origins.of(&format!("methods.{name}.stack"));
            let fault = ConfigError::new(format!("excludes `methods.{name}.stack` ({other})"));
            return Err(fault.at(&origin).key(key).hint("keep one of the two"));
        }
        files.push((name.to_string(), file.to_string(), key, origin));
    }
    for (name, file, key, origin) in files {
        let folder = match &origin {
            Origin::File { file, .. } => Path::new(file).parent().unwrap_or(Path::new("")),
            _ => Path::new(""),
        };
        let branch = read(&folder.join(&file), Some((&key, &origin)))?;
        refuse_nesting(&branch)?;
        tree.graft(&format!("methods.{name}"), branch, origin)?;
    }
    Ok(())
}

/// `--methods` with the path of a method's file: the method is added under the file's name.
fn add_named_methods(tree: &mut Tree, methods: &[String]) -> Result<Vec<String>, ConfigError> {
    let mut names = Vec::new();
    for method in methods {
        let path = Path::new(method);
        match path.file_stem().filter(|_| path.extension().is_some_and(|extension| extension == "toml")) {
            None => names.push(method.clone()),
            Some(stem) => {
                let name = stem.to_string_lossy().into_owned();
                let origin = Origin::option(format!("--methods {method}"));
                crate::config::check::check_name(&name).map_err(|fault| fault.at(&origin))?;
                let branch = read(path, Some(("methods", &origin)))?;
                refuse_nesting(&branch)?;
                tree.graft(&format!("methods.{name}"), branch, origin)?;
                names.push(name);
            }
        }
    }
    Ok(names)
}

fn refuse_nesting(branch: &Tree) -> Result<(), ConfigError> {
    if branch.values.contains_key("file") {
        let fault = ConfigError::new("a method's file holds its `stack`, not the name of another file");
        return Err(fault.at(branch.origins.of("file")).key("file"));
    }
    Ok(())
}

fn overrides(request: &Request<'_>) -> Result<Vec<Override>, ConfigError> {
    let mut overrides =
        request.set.iter().map(|text| Override::parse(text)).collect::<Result<Vec<_>, _>>()?;
    if !request.seeds.is_empty() {
        let shown = request.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        let seeds = request.seeds.iter().map(|&seed| i64::try_from(seed)).collect::<Result<Vec<_>, _>>();
        let option = format!("--seeds {shown}");
        let seeds = seeds.map_err(|_| {
            ConfigError::new(format!("a seed is at most {}", i64::MAX)).at(&Origin::option(option.clone()))
        })?;
        overrides.push(Override::list("seeds", seeds.into_iter().map(Value::from), option));
    }
    if !request.orders.is_empty() {
        let option = format!("--orders {}", request.orders.join(","));
        overrides.push(Override::list("orders", request.orders.iter().map(Value::from), option));
    }
    Ok(overrides)
}

/// Puts the folders of `--plugin-dir` before those of the file.
fn add_plugin_dirs(tree: &mut Tree, dirs: &[String]) {
    for dir in dirs.iter().rev() {
        let plugins = tree.values.get_or_insert("plugins", toml_edit::InlineTable::new());
        let Some(plugins) = plugins.as_inline_table_mut() else { return };
        let Some(known) = plugins.get_or_insert("dirs", toml_edit::Array::new()).as_array_mut() else {
            return;
        };
        known.insert(0, dir);
        let count = known.len();
        for index in (1..count).rev() {
            let earlier = tree.origins.of(&format!("plugins.dirs.{}", index - 1)).clone();
            tree.origins.set(&format!("plugins.dirs.{index}"), earlier);
        }
        tree.origins.set("plugins.dirs.0", Origin::option(format!("--plugin-dir {dir}")));
    }
}
