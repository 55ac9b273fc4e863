//! The set-up: a built binary that starts by itself, plugins beside it, and the rules for libtorch.

use std::fs;
use std::process::{Command, Output};

use crate::built;

#[test]
fn the_binary_starts_without_a_library_path() {
    let output = built::coin_host().arg("--version").output().expect("the binary is executable");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn shipped_plugins_lie_beside_the_binary_and_do_not_need_libtorch() {
    for name in ["lora", "moelora", "replay", "ewc", "coin-datasets", "stress"] {
        let library = fs::read(built::plugin(name)).expect("the plugin is readable");
        for needed in ["libtorch_cpu.so", "libc10.so"] {
            let found = library.windows(needed.len()).any(|bytes| bytes == needed.as_bytes());
            assert!(!found, "the plugin `{name}` mentions {needed}");
        }
    }
}

/// Runs the script that fetches libtorch, into a folder where nothing is, with the variables given.
fn fetch(variables: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../host/libtorch/fetch.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(folder.path().join("libtorch"));
    for name in ["LIBTORCH", "LIBTORCH_USE_PYTORCH", "LIBTORCH_LIB", "LIBTORCH_INCLUDE", "VIRTUAL_ENV"] {
        command.env_remove(name);
    }
    let output = command.envs(variables.iter().copied()).output().expect("python3 starts");
    assert!(!folder.path().join("libtorch").exists(), "something was fetched");
    output
}

#[test]
fn a_libtorch_of_the_user_is_checked_and_wins() {
    let own = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir_all(own.path().join("include/torch")).expect("created");
    fs::create_dir_all(own.path().join("lib")).expect("created");
    let path = own.path().to_str().expect("a temporary folder has a plain name");

    let incomplete = fetch(&[("LIBTORCH", path)]);
    let message = String::from_utf8_lossy(&incomplete.stderr).into_owned();
    assert_eq!(incomplete.status.code(), Some(2), "{message}");
    assert!(message.contains("libtorch_cpu.so` does not exist") && message.contains("hint: "), "{message}");

    fs::write(own.path().join("lib/libtorch_cpu.so"), "").expect("written");
    assert_eq!(fetch(&[("LIBTORCH", path)]).status.code(), Some(0));
    for wrong in ["", "some/folder"] {
        assert_eq!(fetch(&[("LIBTORCH", wrong)]).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn the_pytorch_of_the_user_is_asked_for_its_version() {
    let modules = tempfile::tempdir().expect("a temporary folder");
    let path = modules.path().to_str().expect("a temporary folder has a plain name");
    let with = |module: &str| {
        fs::write(modules.path().join("torch.py"), module).expect("written");
        fetch(&[("LIBTORCH_USE_PYTORCH", "1"), ("PYTHONPATH", path), ("PYTHONDONTWRITEBYTECODE", "1")])
    };
    let right = with("__version__ = '2.13.0+cu130'");
    assert_eq!(right.status.code(), Some(0), "{}", String::from_utf8_lossy(&right.stderr));
    for (module, reason) in [
        ("__version__ = '2.12.1'", "is 2.12.1, not 2.13.0"),
        ("raise ImportError('half installed')", "cannot import torch: ImportError: half installed"),
    ] {
        let wrong = with(module);
        let message = String::from_utf8_lossy(&wrong.stderr).into_owned();
        assert_eq!(wrong.status.code(), Some(2), "{message}");
        assert!(message.contains(reason) && message.contains("hint: install torch==2.13.0"), "{message}");
    }
}
