//! A lab that signs and one that trusts, by the program's own commands.

use std::fs;
use std::path::PathBuf;

use coin_host::plugin::lock::{self, Lock};
use serde_json::Value;

use super::sandbox::{Sandbox, alone, plugin, text};
use crate::{built, runs};

/// A lab that has packed and signed, and one that has not heard of it.
pub(super) struct Labs {
    pub(super) sandbox: Sandbox,
}

impl Labs {
    pub(super) fn new() -> Labs {
        Labs { sandbox: Sandbox::new() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path().join(name)
    }

    pub(super) fn ok(&self, arguments: &[&str]) -> String {
        let output = plugin(&self.sandbox, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    }

    /// The message of a refusal.
    pub(super) fn refused(&self, arguments: &[&str]) -> String {
        self.stopped(3, arguments)
    }

    /// The message of a command that ends with this code, and has run no code of the plugin.
    pub(super) fn stopped(&self, code: i32, arguments: &[&str]) -> String {
        let _before = fs::remove_file(self.path("mark"));
        let output = plugin(&self.sandbox, arguments);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}{}", text(&output.stdout));
        assert!(message.starts_with("error: ") && message.contains("\nhint: "), "{message}");
        assert!(!self.path("mark").exists(), "{arguments:?}: a constructor ran");
        message
    }

    /// Neither described nor compared with, under any policy; gives the messages.
    pub(super) fn not_loaded(&self) -> Vec<String> {
        let project = self.path("project");
        let method = runs::SMALL
            .replace("plugin = \"lora\", r = 4 }]\n\n[methods.moe", "plugin = \"stress\" }]\n\n[methods.moe");
        fs::write(project.join("run.toml"), method).expect("written");
        let compared = |policy: &str| {
            let _before = fs::remove_file(self.path("mark"));
            let trust = format!("plugins.trust={policy:?}");
            let arguments = [
                "compare",
                "run.toml",
                "--out",
                "out",
                "--methods",
                "lora",
                "--set",
                &trust,
                "--set",
                "references=[]",
            ];
            let mut command = built::coin_host();
            let output = alone(&mut command, &self.sandbox)
                .env("XDG_CACHE_HOME", runs::cache())
                .args(arguments)
                .output();
            let output = output.expect("it starts");
            let message = text(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{policy}: {message}{}", text(&output.stdout));
            assert!(!self.path("mark").exists(), "compare under {policy}: a constructor ran");
            message
        };
        let described = |policy| self.refused(&["info", "stress", "--trust", policy]);
        ["locked", "signed", "any"]
            .into_iter()
            .flat_map(|policy| [described(policy), compared(policy)])
            .collect()
    }

    /// A new key: its line, and the file with its secret part.
    pub(super) fn key(&self, name: &str) -> (String, String) {
        let path = self.path(name).display().to_string();
        (self.ok(&["keygen", "--no-password", "--out", &path]), path)
    }

    /// Packs `stress` as another version into a folder; gives the archive.
    pub(super) fn pack(&self, version: &str, folder: &str, sign: Option<&str>) -> String {
        let source = self.path(&format!("source-{version}"));
        fs::create_dir_all(&source).expect("created");
        let manifest = format!(
            "[plugin]\nname = \"stress\"\nversion = \"{version}\"\nkind = [\"method\", \"dataset\"]\nlicense = \"MIT\"\nneeds = [\"stage_data\", \"teacher\"]\n[api]\nversion = \"1.0\"\n"
        );
        fs::write(source.join("plugin.toml"), manifest).expect("written");
        fs::write(source.join("README.md"), "# stress\n").expect("written");
        let library = self.path("stress.marked");
        let mut bytes = built::marked(&self.path("mark"));
        assert_eq!(version.len(), 5, "a version that fits");
        for at in 0..bytes.len() - 5 {
            if bytes[at..].starts_with(b"0.1.0") {
                bytes[at..at + 5].copy_from_slice(version.as_bytes());
            }
        }
        fs::write(&library, bytes).expect("written");
        let (library, source) = (library.display().to_string(), source.display().to_string());
        let out = self.path(folder).display().to_string();
        let mut arguments = vec!["pack", source.as_str(), "--library", &library, "--out", &out];
        arguments.extend(sign.iter().flat_map(|key| ["--sign", key]));
        self.ok(&arguments)
    }

    pub(super) fn lock(&self) -> Lock {
        Lock::read(&self.path("data/coin-host").join(lock::FILE)).expect("sound")
    }

    pub(super) fn state(&self, policy: &str) -> Value {
        let listed: Value =
            serde_json::from_str(&self.ok(&["list", "--json", "--trust", policy])).expect("JSON");
        let states = listed.as_array().expect("a list");
        let added = |state: &&Value| {
            state["name"] == "stress"
                && state["path"].as_str().is_some_and(|path| path.contains("/data/coin-host/plugins/"))
        };
        states.iter().find(added).expect("it was added").clone()
    }

    /// Takes what was added out of the lock, as on another machine that only has the file.
    pub(super) fn unlock(&self) {
        Lock::default().write(&self.path("data/coin-host").join(lock::FILE)).expect("written");
    }
}
