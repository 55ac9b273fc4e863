//! The growth of the border: a plugin built against a later version works in this host, one of today's works in a later host.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use coin_host::config::Trust;
use coin_host::plugin::discover::library_file;
use tch::{Device, Kind, Tensor};

use super::sandbox::{OneSite, Sandbox, build};
use crate::built;

/// Builds plugins and a small host against a grown coin-plugin-api, into a folder of their own that the next run finds again.
fn grown() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let target = built::folder().join("../growth");
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .args(["build", "--release", "--locked", "--offline", "--lib", "--examples"])
            .args(["-p", "coin-plugin-lora", "-p", "coin-plugin-stress", "-p", "coin-plugin-api"])
            .args(["--features", "coin-plugin-api/growth,coin-plugin-stress/growth", "--target-dir"])
            .arg(&target)
            .output()
            .expect("cargo starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        target.join("release")
    };
    BUILT.get_or_init(build).clone()
}

#[test]
fn a_plugin_of_a_later_border_works_in_this_host() {
    let sandbox = Sandbox::new();
    let read = |name: &str| std::fs::read(grown().join(library_file(name))).expect("it was built");
    let (lora, stress) = (read("lora"), read("stress"));
    sandbox.put("lora", &lora);
    sandbox.put("stress", &stress);
    sandbox.lock(&[("lora", &lora), ("stress", &stress)]);
    let load = |name: &str| sandbox.load(name, Trust::Locked).unwrap_or_else(|error| panic!("{error}"));

    let ones =
        |sizes: &[i64]| Tensor::f_ones(sizes, (Kind::Float, Device::Cpu)).expect("memory for a small tensor");
    let plugin = load("lora");
    assert_eq!(plugin.api().to_string(), "1.1");
    let method = build(&plugin, "r = 2\nlora_alpha = 2").expect("built");
    let parameters = [ones(&[2, 3]), ones(&[4, 2])];
    let adapter = method.adapter.expect("lora has an adapter");
    let adapted = adapter
        .adapt(&OneSite::site(), &ones(&[1, 3]), &ones(&[1, 4]), &parameters, &OneSite::default())
        .expect("adapted");
    assert_eq!(Vec::<f32>::try_from(adapted.flatten(0, -1)).expect("floats"), [7.0; 4]);

    // What this host does not have is an error of the call, and of that call alone.
    let later =
        |hook: &str| build(&load("stress"), &format!("fault = \"later\"\nhook = \"{hook}\"")).expect("built");
    let adapter = later("adapt").adapter.expect("stress has an adapter");
    let message = adapter
        .adapt(&OneSite::site(), &ones(&[1, 3]), &ones(&[1, 4]), &parameters, &OneSite::default())
        .expect_err("no such operation")
        .to_string();
    assert!(message.contains("`growth_cube` is not there: this host speaks an older version"), "{message}");
    let mut strategy = later("before_stage").strategy.expect("stress has a strategy");
    let message = strategy.before_stage(&OneSite::default()).expect_err("no such service").to_string();
    assert!(message.contains("`growth_shuffle` is not there"), "{message}");
    assert_eq!(strategy.compose_batch(&[1], &OneSite::default()).expect("all else works"), [1]);
}

#[test]
fn a_plugin_of_this_border_works_in_a_later_host() {
    let host = grown().join("examples/grown_host");
    let output = Command::new(host).arg(built::plugin("stress")).output().expect("the grown host starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for part in ["host 1.1, plugin 1.0: Older", "2 tensors registered", "gives 0", "name = \"stress\""] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}
