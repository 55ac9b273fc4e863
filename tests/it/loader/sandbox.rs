//! A folder with plugins and a lock, away from everything else, and a cell to call them with.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::Result;
use coin_host::config::{Plugins, Protocol, Trust};
use coin_host::model::{Part, Site};
use coin_host::ops::Services;
use coin_host::plugin::discover::{Surroundings, library_file};
use coin_host::plugin::lock::{self, Lock, Locked};
use coin_host::plugin::{Catalog, Method, Plugin, PluginError, manifest, verify};
use coin_plugin_api::abi::{RawParameterSpec, RawSite, RawStage};

use crate::built;

pub(super) fn plugins(dirs: Vec<PathBuf>, trust: Trust) -> Plugins {
    Plugins { dirs, dev: Vec::new(), trust }
}

pub(super) fn protocol() -> Protocol {
    Protocol {
        replay_samples_per_task: 0,
        replay_total_samples: 0,
        task_id_at_test: false,
        call_op: false,
        replaces_task_loss: false,
        blank_pictures: false,
        strict: false,
    }
}

pub(super) struct Sandbox(tempfile::TempDir);

impl Sandbox {
    pub(super) fn new() -> Sandbox {
        let root = tempfile::tempdir().expect("a temporary folder");
        for folder in ["plugins", "project"] {
            fs::create_dir(root.path().join(folder)).expect("created");
        }
        Sandbox(root)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn plugins(&self) -> PathBuf {
        self.path().join("plugins")
    }

    pub(super) fn surroundings(&self) -> Surroundings {
        Surroundings {
            current: self.path().join("project"),
            data_home: Some(self.path().join("data")),
            config_home: Some(self.path().join("config")),
            ..Surroundings::default()
        }
    }

    /// A bare library.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.plugins().join(library_file(name));
        fs::write(&path, bytes).expect("written");
        path
    }

    /// A package: a folder with a manifest and its library.
    pub(super) fn package(&self, name: &str, version: &str, api: &str, bytes: &[u8]) -> PathBuf {
        let folder = self.plugins().join(format!("{name}-{version}"));
        fs::create_dir(&folder).expect("created");
        let file = library_file(name);
        fs::write(folder.join(&file), bytes).expect("written");
        let text = format!(
            "[plugin]\nname = \"{name}\"\nversion = \"{version}\"\nkind = [\"method\"]\nlicense = \"MIT\"\n\n[api]\nversion = \"{api}\"\n\n\
             [[file]]\npath = \"{file}\"\nsize = {}\nsha256 = \"{}\"\ntarget = \"{}\"\n",
            bytes.len(),
            verify::sha256(bytes),
            manifest::target()
        );
        fs::write(folder.join(manifest::FILE), text).expect("written");
        folder
    }

    /// Locks these bytes and nothing else.
    pub(super) fn lock(&self, plugins: &[(&str, &[u8])]) {
        let plugins = plugins.iter().map(|(name, bytes)| Locked {
            name: (*name).into(),
            version: None,
            sha256: verify::sha256(bytes),
            size: bytes.len() as u64,
            path: "elsewhere".into(),
            ..Locked::default()
        });
        let lock = Lock { plugins: plugins.collect(), ..Lock::default() };
        lock.write(&self.path().join("project").join(lock::FILE)).expect("written");
    }

    pub(super) fn load(&self, wanted: &str, trust: Trust) -> Result<Plugin, PluginError> {
        Catalog::open_in(&plugins(vec![self.plugins()], trust), &self.surroundings()).load(wanted)
    }
}

/// The program's `plugin` commands in the sandbox' project, where nothing else is found but what lies beside the program.
pub(super) fn plugin(sandbox: &Sandbox, arguments: &[&str]) -> Output {
    let mut command = built::coin_host();
    alone(&mut command, sandbox).arg("plugin").args(arguments).output().expect("the binary is executable")
}

/// The program in the sandbox' project.
pub(super) fn alone<'c>(command: &'c mut Command, sandbox: &Sandbox) -> &'c mut Command {
    command
        .current_dir(sandbox.path().join("project"))
        .env("XDG_DATA_HOME", sandbox.path().join("data"))
        .env("XDG_CONFIG_HOME", sandbox.path().join("config"))
        .env_remove("COIN_PLUGIN_PATH")
}

/// A place in a library whose bytes nobody reads: the compiler's name in its comment.
pub(super) fn harmless(library: &[u8]) -> usize {
    let name = b"rustc version";
    library.windows(name.len()).rposition(|window| window == name).expect("built by rustc")
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A cell with one site of a language model.
#[derive(Default)]
pub(super) struct OneSite {
    registered: Cell<u64>,
}

impl OneSite {
    pub(super) fn site() -> Site {
        Site {
            index: 0,
            path: "language_model.model.layers.0.self_attn.q_proj".into(),
            module: "q_proj".into(),
            in_features: 3,
            out_features: 4,
            part: Part::Language,
        }
    }

    pub(super) fn registered(&self) -> u64 {
        self.registered.get()
    }
}

impl Services for OneSite {
    fn hook(&self) -> String {
        "a hook of the test".into()
    }

    fn sites(&self) -> Result<Vec<RawSite>> {
        let site = OneSite::site();
        Ok(vec![RawSite {
            index: 0,
            path: site.path.into(),
            module: site.module.into(),
            part: 0,
            in_features: site.in_features as u64,
            out_features: site.out_features as u64,
        }])
    }

    fn register(&self, _spec: RawParameterSpec) -> Result<u64> {
        Ok(self.registered.replace(self.registered.get() + 1))
    }

    fn stage(&self) -> Result<RawStage> {
        Ok(RawStage { index: 0, count: 1, steps: 1, batch_size: 2, samples: 2 })
    }
}

/// Builds a method from keys as they stand in a stack entry.
pub(super) fn build(plugin: &Plugin, config: &str) -> Result<Method, PluginError> {
    plugin.build(&config.parse().expect("the keys are TOML"), &OneSite::default())
}
