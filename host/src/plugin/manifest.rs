//! `plugin.toml`: what a plugin says of itself without being loaded.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use coin_plugin_api::Need;
use serde::{Deserialize, Serialize};

use super::verify;

/// Name of a manifest's file.
pub const FILE: &str = "plugin.toml";
/// Name of the signature over it.
pub const SIGNATURE: &str = "plugin.toml.minisig";
/// No manifest is larger.
pub const LARGEST: u64 = 1 << 20;
const EXAMPLE: &str = "hint: plugins/lora/plugin.toml in the source of coin-host is a sound one";

/// A parsed and checked `plugin.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub plugin: About,
    pub api: Api,
    #[serde(default)]
    pub build: Build,
    /// The files of a package; none in a source folder.
    #[serde(default, rename = "file", skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<File>,
}

/// `[plugin]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Lower-case letters, digits and hyphens.
    pub name: String,
    /// Semantic version.
    pub version: String,
    pub kind: Vec<Kind>,
    /// SPDX expression.
    pub license: String,
    /// What to cite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paper: Option<String>,
    /// What it does, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What its method needs.
    #[serde(default)]
    pub needs: Vec<Need>,
}

/// What a library may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Method,
    Dataset,
}

impl Kind {
    /// Its name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Method => "method",
            Kind::Dataset => "dataset",
        }
    }
}

/// `[api]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// The version of the border it was built with: `1.0`.
    pub version: String,
}

/// `[build]`: where the library comes from, as far as packing can tell: commit and rustc are those when it was packed. Unknown in a source
/// folder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rustc: Option<String>,
    /// The lowest glibc it starts with, as in `2.34`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glibc: Option<String>,
}

/// `[[file]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// From the manifest's folder.
    pub path: String,
    pub size: u64,
    /// 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// For libraries: the platform, for example `x86_64-linux`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// This platform, as `[[file]] target` names it.
pub fn target() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

impl Manifest {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, without its path, with a hint.
    pub fn read(path: &Path) -> Result<Manifest, String> {
        Manifest::parse(&text(path)?)
    }

    /// Parses and checks the text of a manifest.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(text: &str) -> Result<Manifest, String> {
        let manifest: Manifest =
            toml::from_str(text).map_err(|error| format!("{}\n{EXAMPLE}", fault(text, &error)))?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        let about = &self.plugin;
        let texts = [
            ("plugin.license", Some(&about.license)),
            ("plugin.paper", about.paper.as_ref()),
            ("plugin.description", about.description.as_ref()),
            ("build.commit", self.build.commit.as_ref()),
            ("build.rustc", self.build.rustc.as_ref()),
        ];
        for (key, text) in texts {
            // They are shown in terminals.
            if let Some(text) = text.filter(|text| !is_printed(text)) {
                return Err(format!(
                    "{key} = {text:?} has characters that are not printed\nhint: one line of plain text"
                ));
            }
        }
        if let Some(glibc) = self.build.glibc.as_ref().filter(|glibc| api_version(glibc).is_none()) {
            return Err(format!("build.glibc = {glibc:?} is not a version\nhint: as in 2.34"));
        }
        if !is_name(&about.name) {
            return Err(format!(
                "plugin.name = {:?} is not a name\nhint: lower-case letters, digits and hyphens, the first a letter",
                about.name
            ));
        }
        if !is_version(&about.version) {
            return Err(format!(
                "plugin.version = {:?} is not a version\nhint: three numbers as in 1.2.0, with a mark behind them as in 1.2.0-rc.1",
                about.version
            ));
        }
        if about.kind.is_empty() {
            return Err(String::from("plugin.kind is empty\nhint: `method`, `dataset`, or both"));
        }
        if api_version(&self.api.version).is_none() {
            return Err(format!(
                "api.version = {:?} is not a version\nhint: that of the coin-plugin-api it is built with, as in 1.0",
                self.api.version
            ));
        }
        let mut listed = BTreeSet::new();
        for file in &self.files {
            if !listed.insert(&file.path) {
                return Err(format!(
                    "file.path = {:?} is listed twice\nhint: each file of a package has one entry",
                    file.path
                ));
            }
            let path = Path::new(&file.path);
            if !is_printed(&file.path) {
                return Err(format!(
                    "file.path = {:?} has characters that are not printed\nhint: a plain name",
                    file.path
                ));
            }
            if file.path.is_empty() || !path.components().all(|part| matches!(part, Component::Normal(_))) {
                return Err(format!(
                    "file.path = {:?} does not stay in the package's folder\nhint: a path from that folder, without `..`",
                    file.path
                ));
            }
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if let Some(target) = &file.target
                && (target.is_empty() || !target.bytes().all(plain))
            {
                return Err(format!("file.target = {target:?} is not a platform\nhint: as in x86_64-linux"));
            }
            if !is_sha256(&file.sha256) {
                return Err(format!(
                    "file.sha256 of {:?} is not a sha256 in lower-case hexadecimal\nhint: `sha256sum` prints it so",
                    file.path
                ));
            }
        }
        Ok(())
    }

    /// The library for this platform.
    pub fn library(&self) -> Option<&File> {
        let target = target();
        self.files.iter().find(|file| file.target.as_deref() == Some(&target))
    }
}

/// The text of a manifest's file.
///
/// # Errors
/// That it cannot be read, or is too large for one.
pub fn text(path: &Path) -> Result<String, String> {
    let bytes = verify::read_up_to(path, LARGEST, "a manifest")
        .map_err(|error| format!("{}\n{EXAMPLE}", error.lines().next().unwrap_or_default()))?;
    String::from_utf8(bytes).map_err(|_| format!("it is not UTF-8\n{EXAMPLE}"))
}

/// What is wrong with a TOML text, in one line.
pub(super) fn fault(text: &str, error: &toml::de::Error) -> String {
    let message = shown(&error.message().trim().replace('\n', ", "));
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
        None => message,
    }
}

/// Whether a character does something to a terminal or a line instead of being seen: controls, line ends, and what turns text round or
/// hides.
fn is_unseen(character: char) -> bool {
    let hidden =
        ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2060}'..='\u{206f}', '\u{feff}'..='\u{feff}'];
    character.is_control() || hidden.iter().any(|range| range.contains(&character))
}

/// Whether a text can be shown as it is.
pub(super) fn is_printed(text: &str) -> bool {
    !text.chars().any(is_unseen)
}

/// A text that somebody else chose, as it may be shown: in one line, and nothing that a terminal would obey.
pub fn shown(text: &str) -> String {
    let escaped = |character: char| match is_unseen(character) {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    text.chars().map(escaped).collect()
}

/// Whether a text may name a plugin. `host` is the owner of the host's own tensors.
pub fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text != "host"
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// 64 lower-case hexadecimal digits.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a text is a version: `1.2.0`, or with a mark as `1.2.0-rc.1`.
pub fn is_version(text: &str) -> bool {
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<&str> = core.split('.').collect();
    text.len() <= 64
        && parts.len() == 3
        && parts.iter().all(|part| part.parse::<u32>().is_ok())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+'))
}

/// Orders versions: by number, a release after what came before it (`1.2.0-rc.1`).
pub fn version_order(version: &str) -> ([u32; 3], bool, String) {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let mut numbers = core.split('.').map(|part| part.parse().unwrap_or(0));
    let numbers = std::array::from_fn(|_| numbers.next().unwrap_or(0));
    (numbers, !version.contains('-'), version.to_string())
}

/// `1.0` or `1.0.0` as major and minor.
pub(super) fn api_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    let version = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let patch = parts.next().is_none_or(|patch| patch.parse::<u32>().is_ok());
    (patch && parts.next().is_none()).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: &str = "[plugin]\nname = \"lora\"\nversion = \"1.2.0\"\nkind = [\"method\"]\nlicense = \"MIT\"\n[api]\nversion = \"1.0\"\n";

    fn with_file(path: &str, sha256: &str) -> String {
        format!(
            "{SHORT}[[file]]\npath = \"{path}\"\nsize = 1\nsha256 = \"{sha256}\"\ntarget = \"{}\"\n",
            target()
        )
    }

    #[test]
    fn a_manifest_survives_being_written() {
        let manifest = Manifest::parse(&with_file("lib/liblora.so", &"a".repeat(64))).expect("sound");
        let text = toml::to_string(&manifest).expect("serialises");
        assert_eq!(Manifest::parse(&text), Ok(manifest.clone()));
        assert_eq!(manifest.library().map(|file| file.path.as_str()), Some("lib/liblora.so"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let sha = "a".repeat(64);
        for (text, part) in [
            (SHORT.replace("license", "licence"), "licence"),
            (SHORT.replace("lora", "Lora"), "is not a name"),
            (SHORT.replace("1.2.0", "1.2"), "is not a version"),
            (SHORT.replace("[\"method\"]", "[]"), "plugin.kind is empty"),
            (SHORT.replace("method", "metrik"), "metrik"),
            (SHORT.replace("version = \"1.0\"", "version = \"1\""), "api.version"),
            (with_file("../liblora.so", &sha), "does not stay"),
            (with_file("x", &sha) + &with_file("x", &sha).replace(SHORT, ""), "is listed twice"),
            (with_file("/liblora.so", &sha), "does not stay"),
            (with_file("liblora.so", "abc"), "is not a sha256"),
            (with_file("x\\nhint: run this", &sha), "are not printed"),
            (with_file("x\\u001b[2J", &sha), "are not printed"),
            (format!("{SHORT}[build]\ncommit = \"\\u001b[2J\"\n"), "build.commit"),
            (format!("{SHORT}[build]\nglibc = \"new\"\n"), "build.glibc"),
            (
                SHORT.replace("license = \"MIT\"", "license = \"MIT\"\ndescription = \"a\\u202eb\""),
                "plugin.description",
            ),
            (format!("{SHORT}\"x\\nhint: run \\u001b[2J\" = 1\n"), "unknown field"),
            (SHORT.replace("lora", "x\\nhint: y"), "is not a name"),
            (String::from("\u{0}"), "plugin"),
            (String::new(), "plugin"),
        ] {
            let error = Manifest::parse(&text).expect_err(&text);
            assert!(error.contains(part) || text.contains('\u{0}'), "{error}");
            assert!(error.contains("\nhint: "), "{error}");
            assert_eq!(error.matches("\nhint: ").count(), 1, "a forged hint: {error}");
            assert!(!error.contains('\u{1b}') && !error.contains('\u{202e}'), "{error}");
        }
    }

    #[test]
    fn versions_are_ordered_by_number() {
        let mut versions = ["1.10.0", "1.2.0", "1.10.0-rc.1", "0.9.12"];
        versions.sort_by_key(|version| version_order(version));
        assert_eq!(versions, ["0.9.12", "1.2.0", "1.10.0-rc.1", "1.10.0"]);
    }

    #[test]
    fn a_manifest_is_small() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(FILE);
        std::fs::write(&path, format!("{SHORT}# {}", "x".repeat(1 << 20))).expect("written");
        let error = Manifest::read(&path).expect_err("too large");
        assert!(error.contains("too much"), "{error}");
    }
}
