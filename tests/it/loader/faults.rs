//! Plugins that misbehave: each fault is an error that names plugin, version, hook and site, or leaves a trace that does.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use coin_host::config::Trust;
use coin_host::ops;
use coin_host::plugin::breadcrumb::Breadcrumb;
use coin_host::plugin::{Catalog, Method, Plugin, PluginError};
use tch::{Device, Kind, Tensor};

use super::sandbox::{OneSite, build, plugins};

fn stress() -> Plugin {
    Catalog::open(&plugins(Vec::new(), Trust::Locked))
        .load("stress")
        .unwrap_or_else(|error| panic!("{error}"))
}

fn method(fault: &str, hook: &str) -> Result<Method, PluginError> {
    build(&stress(), &format!("fault = \"{fault}\"\nhook = \"{hook}\""))
}

fn tensor(sizes: &[i64]) -> Tensor {
    Tensor::f_ones(sizes, (Kind::Float, Device::Cpu)).expect("memory for a small tensor")
}

fn adapt(method: &Method) -> Result<Tensor, PluginError> {
    let adapter = method.adapter.as_ref().expect("stress has an adapter");
    let parameters = [tensor(&[2, 3]), tensor(&[4, 2])];
    adapter.adapt(&OneSite::site(), &tensor(&[5, 3]), &tensor(&[5, 4]), &parameters, &OneSite::default())
}

#[test]
fn without_a_fault_every_hook_goes_well() {
    let cell = OneSite::default();
    let mut method = stress().build(&toml::Table::new(), &cell).expect("built");
    assert_eq!(cell.registered(), 2);
    // 1 + (1 1 1)(1 1)^T: each of the six products of ones is one.
    let adapted = adapt(&method).expect("adapted");
    assert_eq!(Vec::<f32>::try_from(adapted.flatten(0, -1)).expect("floats"), [7.0; 20]);
    let adapter = method.adapter.as_ref().expect("stress has an adapter");
    let delta = adapter.merged_delta(&OneSite::site(), &[tensor(&[2, 3]), tensor(&[4, 2])]).expect("folded");
    assert_eq!(delta.expect("a low-rank update has one").size(), [4, 3]);

    let strategy = method.strategy.as_mut().expect("stress has a strategy");
    assert_eq!(strategy.before_stage(&cell).expect("ok").len(), 0);
    assert_eq!(strategy.compose_batch(&[4, 7], &cell).expect("ok"), [4, 7]);
    assert_eq!(strategy.loss(&cell).expect("ok").len(), 0);
    assert_eq!(strategy.save().expect("ok").len(), 0);
    for outcome in [
        strategy.after_backward(&cell),
        strategy.after_update(&cell),
        strategy.after_stage(&cell),
        strategy.before_eval(&cell),
        strategy.after_eval(&cell),
        strategy.load(&[]),
    ] {
        outcome.expect("ok");
    }
}

#[test]
fn faults_of_an_adapter_name_plugin_version_hook_and_site() {
    for (fault, parts) in [
        ("panic", &["panicked at ", "fault.rs", "stress was told to panic"][..]),
        ("error", &["stress was told to fail", "\nhint: it is a test"]),
        ("operation", &["matmul", "[2, 3]", "[2, 4]"]),
        ("wrong-shape", &["it gives Float [2, 5, 4], the output of the site is Float [5, 4]"]),
        ("gradients", &["it left gradients switched off"]),
        ("service", &["task_loss", "not available"]),
    ] {
        let message = adapt(&method(fault, "adapt").expect("built")).expect_err(fault).to_string();
        let start = "plugin stress 0.1.0, adapt at language_model.model.layers.0.self_attn.q_proj: ";
        assert!(message.starts_with(start), "{message}");
        for part in parts {
            assert!(message.contains(part), "{part} is not in {message}");
        }
        assert!(ops::set_grad_enabled(true), "{fault} left gradients switched off");
    }
}

#[test]
fn a_panic_in_any_hook_is_an_error_of_that_hook() {
    let cell = OneSite::default();
    let message = |outcome: Option<PluginError>| outcome.map(|error| error.to_string()).unwrap_or_default();
    for hook in [
        "before_stage",
        "after_stage",
        "compose_batch",
        "loss",
        "after_backward",
        "after_update",
        "before_eval",
        "after_eval",
        "save",
        "load",
        "merged_delta",
    ] {
        let mut method = method("panic", hook).expect("built");
        let strategy = method.strategy.as_mut().expect("stress has a strategy");
        let message = message(match hook {
            "before_stage" => strategy.before_stage(&cell).err(),
            "after_stage" => strategy.after_stage(&cell).err(),
            "compose_batch" => strategy.compose_batch(&[1], &cell).err(),
            "loss" => strategy.loss(&cell).err(),
            "after_backward" => strategy.after_backward(&cell).err(),
            "after_update" => strategy.after_update(&cell).err(),
            "before_eval" => strategy.before_eval(&cell).err(),
            "after_eval" => strategy.after_eval(&cell).err(),
            "save" => strategy.save().err(),
            "load" => strategy.load(&[]).err(),
            _ => {
                let adapter = method.adapter.as_ref().expect("stress has an adapter");
                adapter.merged_delta(&OneSite::site(), &[tensor(&[2, 3]), tensor(&[4, 2])]).err()
            }
        });
        let start = format!("plugin stress 0.1.0, {hook}");
        assert!(message.starts_with(&start) && message.contains("panicked at "), "{hook}: {message}");
    }
    let built = method("panic", "build").expect_err("it panics");
    assert!(matches!(built, PluginError::Failed { .. }) && built.exit_code() == 1, "{built}");
    assert!(built.to_string().starts_with("plugin stress 0.1.0, build: panicked at "), "{built}");
}

#[test]
fn what_hooks_give_back_is_measured() {
    let cell = OneSite::default();
    let mut one_less = method("wrong-shape", "compose_batch").expect("built");
    let strategy = one_less.strategy.as_mut().expect("stress has a strategy");
    let message = strategy.compose_batch(&[1, 2], &cell).expect_err("one less").to_string();
    assert!(message.contains("it gives 1 samples for a batch of 2"), "{message}");

    let mut vector = method("wrong-shape", "loss").expect("built");
    let strategy = vector.strategy.as_mut().expect("stress has a strategy");
    let message = strategy.loss(&cell).expect_err("a vector").to_string();
    assert!(message.contains("term `stress`: a term is a scalar"), "{message}");

    let folded = method("wrong-shape", "merged_delta").expect("built");
    let adapter = folded.adapter.as_ref().expect("stress has an adapter");
    let message =
        adapter.merged_delta(&OneSite::site(), &[tensor(&[2, 3]), tensor(&[4, 2])]).expect_err("a stack");
    assert!(message.to_string().contains("the weight of the site is [4, 3]"), "{message}");

    let leaking = method("leak", "adapt").expect("built");
    let message = adapt(&leaking).expect_err("a handle is left").to_string();
    assert!(message.contains("it kept 1 tensor handles"), "{message}");
    for hook in ["merged_delta", "save", "load"] {
        let mut leaking = method("leak", hook).expect("built");
        let (adapter, strategy) = (leaking.adapter.as_ref(), leaking.strategy.as_mut());
        let parameters = [tensor(&[2, 3]), tensor(&[4, 2])];
        let outcome = match (hook, adapter, strategy) {
            ("merged_delta", Some(adapter), _) => adapter.merged_delta(&OneSite::site(), &parameters).err(),
            ("save", _, Some(strategy)) => strategy.save().err(),
            (_, _, Some(strategy)) => strategy.load(&[]).err(),
            _ => None,
        };
        let message = outcome.expect("a handle is left").to_string();
        let start = format!("plugin stress 0.1.0, {hook}");
        assert!(message.starts_with(&start) && message.contains("it kept 1 tensor handles"), "{message}");
    }
}

#[test]
fn a_configuration_that_does_not_fit_is_an_error_of_the_configuration() {
    for (config, part) in [
        ("fautl = \"panic\"", "0.1.0: unknown field `fautl`"),
        ("fault = \"painc\"", "unknown variant `painc`"),
        ("after = \"x\"", "`after`: invalid type: string \"x\""),
        ("fault = \"nan\"\nhook = \"save\"", "cannot happen in Save"),
    ] {
        let error = build(&stress(), config).expect_err(config);
        assert!(matches!(error, PluginError::Config { .. }) && error.exit_code() == 2, "{error}");
        let message = error.to_string();
        assert!(message.starts_with("plugin `stress` 0.1.0: ") && message.contains(part), "{message}");
    }
}

const CRASH: &str = "COIN_TEST_CRASH";

/// This test in a process of its own, where it does what [`crash`] asks for.
fn start(fault: &str, hook: &str) -> (Child, PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("hook");
    let child = Command::new(std::env::current_exe().expect("a test knows its own file"))
        .args(["--exact", "loader::faults::crash", "--test-threads=1"])
        .env(CRASH, format!("{fault} {hook} {}", path.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the test starts again");
    (child, path, folder)
}

/// Does nothing unless started by [`start`].
#[test]
fn crash() {
    let Ok(text) = std::env::var(CRASH) else { return };
    let mut words = text.splitn(3, ' ');
    let mut next = || words.next().expect("fault, hook and file");
    let (fault, hook, path) = (next(), next(), next());
    Breadcrumb::create(path.as_ref()).expect("made").install();
    let mut method = method(fault, hook).expect("built");
    let _adapted = adapt(&method).expect("adapted");
    method.strategy.as_mut().expect("stress has a strategy").after_stage(&OneSite::default()).expect("done");
}

#[test]
fn the_hook_of_a_crash_or_a_hang_can_be_named() {
    for (fault, hook, named) in [
        ("segfault", "adapt", "plugin stress 0.1.0, adapt at site 0"),
        ("segfault", "build", "plugin stress 0.1.0, build"),
        ("exhaust", "after_stage", "plugin stress 0.1.0, after_stage"),
    ] {
        let (mut child, path, _folder) = start(fault, hook);
        let status = child.wait().expect("it ends");
        assert!(!status.success() && status.code().is_none(), "{fault}: {status}");
        let running = Breadcrumb::read(&path).expect("the trace is left");
        assert_eq!(running.iter().map(ToString::to_string).collect::<Vec<_>>(), [named]);
    }

    let (mut child, path, _folder) = start("hang", "after_stage");
    let since = Instant::now();
    let named = loop {
        let running = Breadcrumb::read(&path).unwrap_or_default();
        let last = running.first().map(ToString::to_string).unwrap_or_default();
        if last.ends_with("after_stage") || since.elapsed() > Duration::from_secs(60) {
            break last;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    child.kill().expect("it hangs");
    child.wait().expect("it ends");
    assert_eq!(named, "plugin stress 0.1.0, after_stage");

    // Where all goes well, nothing is left.
    let (mut child, path, _folder) = start("none", "adapt");
    assert!(child.wait().expect("it ends").success());
    assert_eq!(Breadcrumb::read(&path).expect("the trace is left"), []);
}
