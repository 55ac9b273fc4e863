//! The plugins that come with the host, known before they are built.

use std::sync::LazyLock;

use super::manifest::Manifest;

static MANIFESTS: LazyLock<Vec<Manifest>> = LazyLock::new(|| {
    [
        include_str!("../../../plugins/lora/plugin.toml"),
        include_str!("../../../plugins/moelora/plugin.toml"),
        include_str!("../../../plugins/replay/plugin.toml"),
        include_str!("../../../plugins/ewc/plugin.toml"),
        include_str!("../../../plugins/coin-datasets/plugin.toml"),
    ]
    .into_iter()
    .map(|text| {
        Manifest::parse(text).unwrap_or_else(|error| panic!("a manifest of a shipped plugin: {error}"))
    })
    .collect()
});

/// Their manifests.
pub fn manifests() -> &'static [Manifest] {
    &MANIFESTS
}

/// The manifest of one of them.
pub fn manifest(name: &str) -> Option<&'static Manifest> {
    MANIFESTS.iter().find(|manifest| manifest.plugin.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_manifests_are_sound_and_stand_in_their_plugins_folder() {
        for manifest in manifests() {
            let name = &manifest.plugin.name;
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins").join(name);
            let cargo =
                std::fs::read_to_string(folder.join("Cargo.toml")).expect("the plugin's folder has its name");
            let cargo: toml::Table = cargo.parse().expect("Cargo.toml is TOML");
            assert_eq!(
                cargo["package"]["version"].as_str(),
                Some(manifest.plugin.version.as_str()),
                "{name}"
            );
            assert_eq!(manifest.api.version, coin_plugin_api::API_VERSION.to_string(), "{name}");
            assert!(manifest.files.is_empty(), "{name}");
        }
    }
}
