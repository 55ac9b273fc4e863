//! Two labs: one signs and publishes, the other trusts, adds, and learns of new and of stolen keys.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use coin_host::plugin::lock::{self, Lock};
use coin_host::plugin::signature::{Key, Signature};
use serde_json::Value;

use super::sandbox::{Sandbox, alone, plugin, text};
use crate::{built, runs};

/// A lab that has packed and signed, and one that has not heard of it.
struct Labs {
    sandbox: Sandbox,
}

impl Labs {
    fn new() -> Labs {
        Labs { sandbox: Sandbox::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path().join(name)
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = plugin(&self.sandbox, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    }

    /// The message of a refusal.
    fn refused(&self, arguments: &[&str]) -> String {
        self.stopped(3, arguments)
    }

    /// The message of a command that ends with this code, and has run no code of the plugin.
    fn stopped(&self, code: i32, arguments: &[&str]) -> String {
        let _before = fs::remove_file(self.path("mark"));
        let output = plugin(&self.sandbox, arguments);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}{}", text(&output.stdout));
        assert!(message.starts_with("error: ") && message.contains("\nhint: "), "{message}");
        assert!(!self.path("mark").exists(), "{arguments:?}: a constructor ran");
        message
    }

    /// Neither described nor compared with, under any policy; gives the messages.
    fn not_loaded(&self) -> Vec<String> {
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
    fn key(&self, name: &str) -> (String, String) {
        let path = self.path(name).display().to_string();
        (self.ok(&["keygen", "--no-password", "--out", &path]), path)
    }

    /// Packs `stress` as another version into a folder; gives the archive.
    fn pack(&self, version: &str, folder: &str, sign: Option<&str>) -> String {
        let source = self.path(&format!("source-{version}"));
        fs::create_dir_all(&source).expect("created");
        let manifest = format!(
            "[plugin]\nname = \"stress\"\nversion = \"{version}\"\nkind = [\"method\", \"dataset\"]\nlicense = \"MIT\"\nneeds = [\"stage_data\", \"teacher\"]\n[api]\nversion = \"1.0\"\n"
        );
        fs::write(source.join("plugin.toml"), manifest).expect("written");
        let library = self.path("stress.marked");
        fs::write(&library, built::marked(&self.path("mark"))).expect("written");
        let (library, source) = (library.display().to_string(), source.display().to_string());
        let out = self.path(folder).display().to_string();
        let mut arguments = vec!["pack", source.as_str(), "--library", &library, "--out", &out];
        arguments.extend(sign.iter().flat_map(|key| ["--sign", key]));
        self.ok(&arguments)
    }

    fn lock(&self) -> Lock {
        Lock::read(&self.path("data/coin-host").join(lock::FILE)).expect("sound")
    }

    fn state(&self, policy: &str) -> Value {
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
    fn unlock(&self) {
        Lock::default().write(&self.path("data/coin-host").join(lock::FILE)).expect("written");
    }
}

#[test]
fn a_signed_package_is_added_by_who_trusts_its_key() {
    let labs = Labs::new();
    let (key, secret) = labs.key("signing.key");
    let archive = labs.pack("0.1.0", "dist", Some(&secret));
    let unknown = labs.refused(&["add", &archive]);
    assert!(unknown.contains("which is not trusted") && unknown.contains("plugin trust add"), "{unknown}");

    labs.ok(&["trust", "add", "vislab", "--key", &key]);
    assert!(labs.ok(&["add", &archive]).ends_with(", signed by lab vislab"));
    let locked = labs.lock().plugins.remove(0);
    let fingerprint = Key::parse(&key).expect("a key").fingerprint();
    assert_eq!(locked.key.as_ref(), Some(&fingerprint));
    assert_eq!(locked.source, Some(archive.clone()));
    let state = labs.state("locked");
    assert_eq!((&state["verdict"], &state["signature"]), (&"locked".into(), &"lab vislab".into()), "{state}");
    assert_eq!(
        (&state["key"], &state["targets"][0]),
        (&fingerprint.into(), &"x86_64-linux".into()),
        "{state}"
    );

    // Not locked: the signature alone carries it, under the policy that says so.
    labs.unlock();
    assert_eq!(labs.state("locked")["verdict"], "unlocked");
    assert_eq!(labs.state("signed")["verdict"], "signed");
    let info = labs.ok(&["info", "stress@0.1.0", "--trust", "signed"]);
    assert!(info.contains("trust       signed") && info.contains("signature   lab vislab"), "{info}");
    assert!(labs.path("mark").exists(), "without this, what follows would show nothing");

    // A manifest that is not the signed one is refused under every policy, although size and hash are right.
    let manifest = labs.path("data/coin-host/plugins/stress-0.1.0-x86_64-linux.coinplugin/plugin.toml");
    let signed = fs::read_to_string(&manifest).expect("there");
    fs::write(&manifest, signed.replace("MIT", "ISC")).expect("written");
    for policy in ["locked", "signed", "any"] {
        let message = labs.refused(&["verify", "stress", "--trust", policy]);
        assert!(
            message.contains("its signature does not hold: the manifest is not the one that was signed"),
            "{message}"
        );
    }
    for message in labs.not_loaded() {
        assert!(message.contains("its signature does not hold"), "{message}");
    }
    fs::write(&manifest, signed).expect("written");
    labs.ok(&["trust", "remove", "vislab"]);
    for policy in ["locked", "signed"] {
        let message = labs.refused(&["info", "stress@0.1.0", "--trust", policy]);
        assert!(message.contains("stands in no plugins.lock"), "{message}");
    }
    assert_eq!(labs.state("signed")["verdict"], "unlocked");
    assert_eq!(labs.state("any")["verdict"], "unverified");
}

#[test]
fn a_revoked_and_an_expired_key_open_nothing() {
    let labs = Labs::new();
    let (key, secret) = labs.key("signing.key");
    let archive = labs.pack("0.1.0", "dist", Some(&secret));
    labs.ok(&["trust", "add", "vislab", "--key", &key, "--until", "2020-01-01"]);
    assert!(labs.refused(&["add", &archive]).contains("that was trusted until 2020-01-01"));
    labs.ok(&["trust", "add", "vislab", "--key", &key, "--until", "9998-12-31"]);
    labs.ok(&["add", &archive]);

    labs.ok(&["trust", "revoke", &key, "--reason", "the laptop was stolen"]);
    let shown = labs.ok(&["trust", "list"]);
    assert!(shown.contains("of lab `vislab` is revoked: the laptop was stolen"), "{shown}");
    // Also what is locked, and whatever the policy.
    for policy in ["locked", "signed", "any"] {
        let message = labs.refused(&["verify", "stress", "--trust", policy]);
        assert!(message.contains("is revoked: the laptop was stolen"), "{message}");
    }
    for message in labs.not_loaded() {
        assert!(message.contains("is revoked: the laptop was stolen"), "{message}");
    }
    assert!(labs.refused(&["add", &archive]).contains("is revoked"));
    let again = plugin(&labs.sandbox, &["trust", "add", "other", "--key", &key]);
    assert!(!again.status.success() && text(&again.stderr).contains("is revoked"), "{}", text(&again.stderr));
    // The lock remembers the key where the signature is gone.
    let installed = labs.path("data/coin-host/plugins/stress-0.1.0-x86_64-linux.coinplugin");
    fs::remove_file(installed.join("plugin.toml.minisig")).expect("removed");
    assert!(labs.refused(&["verify", "stress"]).contains("is revoked"));
}

#[test]
fn a_folder_with_an_index_is_a_lab() {
    let labs = Labs::new();
    let ((old, old_secret), (new, new_secret)) = (labs.key("old.key"), labs.key("new.key"));
    for version in ["0.1.0", "0.2.0-rc.1"] {
        labs.pack(version, "lab", Some(&old_secret));
    }
    let folder = labs.path("lab").display().to_string();
    labs.ok(&["index", &folder]);
    let unknown = labs.refused(&["add", "vislab:stress"]);
    assert!(unknown.contains("no lab is known as `vislab`"), "{unknown}");
    labs.ok(&["trust", "add", "vislab", "--key", &old, "--index", &folder]);
    assert!(labs.ok(&["add", "vislab:stress"]).starts_with("added stress 0.1.0 ("));
    assert!(labs.ok(&["add", "vislab:stress@0.2.0-rc.1"]).starts_with("added stress 0.2.0-rc.1 ("));
    assert!(labs.ok(&["add", "lab:stress"]).starts_with("added stress 0.1.0 ("), "any lab");
    assert!(labs.refused(&["add", "vislab:ewc-two"]).contains("it has no plugin `ewc-two`"));
    assert!(labs.refused(&["add", "vislab:stress@7.0.0"]).contains("no `stress` 7.0.0 that runs here"));

    // Rotation: the new key is trusted beside the old one, then the lab revokes the old one in its index.
    labs.ok(&["trust", "add", "vislab", "--key", &new]);
    labs.pack("0.3.0", "lab", Some(&new_secret));
    labs.ok(&["index", &folder, "--revoke", &old]);
    let added = plugin(&labs.sandbox, &["add", "vislab:stress"]);
    assert!(added.status.success(), "{}", text(&added.stderr));
    assert!(text(&added.stdout).starts_with("added stress 0.3.0 ("), "{}", text(&added.stdout));
    assert!(text(&added.stderr).contains("is revoked by the lab"), "{}", text(&added.stderr));
    assert!(labs.refused(&["verify", "stress@0.1.0"]).contains("is revoked: by the lab's index"));
    assert!(labs.refused(&["add", "vislab:stress@0.1.0"]).contains("is revoked"));
    labs.ok(&["index", &folder]);
    let index = fs::read_to_string(labs.path("lab/index.toml")).expect("written");
    assert!(index.contains(&old) && index.matches("[[package]]").count() == 3, "{index}");

    // What another lab signed, or nobody, does not come in under this one's name; nor does another file than the index says.
    let (other, other_secret) = labs.key("other.key");
    labs.ok(&["trust", "add", "textlab", "--key", &other]);
    labs.pack("0.4.0", "lab", Some(&other_secret));
    labs.ok(&["index", &folder]);
    assert!(
        labs.refused(&["add", "vislab:stress"]).contains("it is signed by lab textlab, not by lab vislab")
    );
    labs.pack("0.5.0", "lab", None);
    labs.ok(&["index", &folder]);
    assert!(labs.refused(&["add", "vislab:stress"]).contains("lab vislab did not sign it"));
    labs.pack("0.5.0", "lab", Some(&new_secret));
    assert!(labs.refused(&["add", "vislab:stress"]).contains("the index says"));
    fs::write(labs.path("lab/index.toml"), "[[package]]\nname = \"../x\"\n").expect("written");
    assert!(labs.refused(&["add", "vislab:stress"]).contains("index.toml"));
}

/// Serves a folder as a static web directory as long as the test lives; gives its address.
fn serve(folder: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}/", listener.local_addr().expect("bound"));
    let folder = folder.to_path_buf();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 2048];
            let length = stream.read(&mut request).unwrap_or_default();
            let line = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = line.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
            let (status, body) = match path.as_str() {
                "away" => (String::from("302 Found\r\nLocation: http://192.0.2.1/x"), Vec::new()),
                "endless" => (String::from("200 OK\r\nX-A: b"), vec![0; 300 << 20]),
                path => match fs::read(folder.join(path)) {
                    Ok(body) => (String::from("200 OK"), body),
                    Err(_) => (String::from("404 Not Found"), Vec::new()),
                },
            };
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            // The other side hangs up when it has seen enough.
            let _sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    address
}

#[test]
fn a_static_web_directory_is_a_lab() {
    let labs = Labs::new();
    let (key, secret) = labs.key("signing.key");
    let archive = labs.pack("0.1.0", "lab", Some(&secret));
    labs.ok(&["index", &labs.path("lab").display().to_string()]);
    let address = serve(&labs.path("lab"));
    labs.ok(&["trust", "add", "vislab", "--key", &key, "--index", &address]);
    assert!(labs.ok(&["add", "vislab:stress"]).starts_with("added stress 0.1.0 ("));
    let file = Path::new(&archive).file_name().expect("a file").to_string_lossy().into_owned();
    assert_eq!(labs.lock().plugins[0].source, Some(format!("{address}{file}")));
    assert!(labs.ok(&["add", &format!("{address}{file}")]).starts_with("added stress 0.1.0 ("));

    assert!(labs.refused(&["add", &format!("{address}none.coinplugin.tar.zst")]).contains("404"));
    assert!(labs.refused(&["add", &format!("{address}away")]).contains("hint: "));
    assert!(labs.refused(&["add", &format!("{address}endless")]).contains("too much for what it should be"));
    assert!(labs.refused(&["add", "http://plugins.example/x"]).contains("can be changed on its way"));
    assert!(labs.refused(&["add", "https://"]).contains("not a web address"));
}

#[test]
fn keys_are_protected_and_their_signatures_are_over_the_manifest() {
    let labs = Labs::new();
    let out = labs.path("signing.key").display().to_string();
    // No terminal to ask for a password, and none given.
    let mut command = built::coin_host();
    let asked = command
        .args(["plugin", "keygen", "--out", &out])
        .stdin(std::process::Stdio::null())
        .env_remove("COIN_HOST_KEY_PASSWORD");
    let (key, secret) = labs.key("plain.key");
    let asked = asked.env("COIN_HOST_KEY_PASSWORD", "secret").output().expect("it starts");
    assert!(asked.status.success(), "{}", text(&asked.stderr));
    assert_ne!(text(&asked.stdout).trim(), key);
    let again = plugin(&labs.sandbox, &["keygen", "--no-password", "--out", &secret]);
    assert!(
        !again.status.success() && text(&again.stderr).contains("not written over"),
        "{}",
        text(&again.stderr)
    );

    let archive = labs.pack("0.1.0", "dist", Some(&secret));
    let bytes = fs::read(archive).expect("there");
    let contents = coin_host::plugin::archive::open(&bytes).expect("sound");
    let signature = Signature::parse(contents.signature.as_deref().expect("signed")).expect("sound");
    assert!(signature.verifies(&Key::parse(&key).expect("a key"), contents.text.as_bytes()));
}
