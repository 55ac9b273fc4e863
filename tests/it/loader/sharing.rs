//! Two labs: one signs and publishes, the other trusts, adds, and learns of new and of stolen keys.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use coin_host::plugin::lock::{self, Lock};
use coin_host::plugin::signature::{Key, Signature};

use super::labs::Labs;
use super::sandbox::{alone, plugin, text};
use crate::built;

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
    labs.ok(&["verify", "stress", "--trust", "signed"]);
    // `verify` looks at every file of the package, as `add` did.
    let readme = manifest.with_file_name("README.md");
    let text = fs::read_to_string(&readme).expect("packed");
    fs::write(&readme, text.replace("stress", "strass")).expect("written");
    let message = labs.refused(&["verify", "stress", "--trust", "signed"]);
    assert!(message.contains("`README.md`: the file was changed"), "{message}");
    fs::write(&readme, text).expect("written");
    let extra = manifest.with_file_name("extra");
    fs::write(&extra, "x").expect("written");
    assert!(
        labs.refused(&["verify", "stress", "--trust", "signed"]).contains("`extra` is not in the manifest")
    );
    fs::remove_file(extra).expect("removed");
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
    for version in ["0.1.0", "0.0.9"] {
        labs.pack(version, "lab", Some(&old_secret));
    }
    let folder = labs.path("lab").display().to_string();
    labs.ok(&["index", &folder]);
    let unknown = labs.stopped(2, &["add", "vislab:stress"]);
    assert!(unknown.contains("no lab is known as `vislab`"), "{unknown}");
    labs.ok(&["trust", "add", "vislab", "--key", &old, "--index", &folder]);
    assert!(labs.ok(&["add", "vislab:stress"]).starts_with("added stress 0.1.0 ("));
    assert!(labs.ok(&["add", "vislab:stress@0.0.9"]).starts_with("added stress 0.0.9 ("));
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
    serve_and(folder, |_| {})
}

/// The same, and does something before it answers.
fn serve_and(folder: &Path, before: impl Fn(&str) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}/", listener.local_addr().expect("bound"));
    let folder = folder.to_path_buf();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 2048];
            let length = stream.read(&mut request).unwrap_or_default();
            let line = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = line.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
            before(&path);
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

    assert!(labs.stopped(1, &["add", &format!("{address}none.coinplugin.tar.zst")]).contains("404"));
    assert!(labs.stopped(1, &["add", &format!("{address}away")]).contains("leads elsewhere"));
    assert!(labs.refused(&["add", &format!("{address}endless")]).contains("too much for what it should be"));
    assert!(labs.refused(&["add", "http://plugins.example/x"]).contains("can be changed on its way"));
    assert!(labs.stopped(2, &["add", "https://"]).contains("not a web address"));

    // A lab that cannot be reached keeps nobody from asking the others; alone, it is no refusal.
    let (other, _) = labs.key("other.key");
    labs.ok(&["trust", "add", "alab", "--key", &other, "--index", "http://127.0.0.1:1/"]);
    let added = plugin(&labs.sandbox, &["add", "lab:stress"]);
    let told = text(&added.stderr);
    assert!(
        added.status.success() && told.contains("warning: left out: lab alab: http://127.0.0.1:1/"),
        "{told}"
    );
    assert!(labs.stopped(1, &["add", "alab:stress"]).contains("cannot be fetched"));
    // A disk that cannot be written is no fault of the plugin's either.
    let installed = labs.path("data/coin-host/plugins");
    fs::remove_dir_all(&installed).and_then(|()| fs::write(&installed, "no folder")).expect("written");
    assert!(labs.stopped(1, &["add", "vislab:stress"]).contains("cannot be made"));
}

#[test]
fn a_revocation_is_not_lost_while_a_package_is_fetched() {
    let labs = Labs::new();
    let ((key, secret), (old, _), (stolen, _)) =
        (labs.key("signing.key"), labs.key("old.key"), labs.key("stolen.key"));
    labs.pack("0.1.0", "lab", Some(&secret));
    labs.ok(&["index", &labs.path("lab").display().to_string(), "--revoke", &old]);
    // Somebody revokes keys while the index is on its way: one of another lab, then that of the package itself.
    let (folder, configuration) = (labs.path("lab"), labs.path("config"));
    let revoke = move |keys: &[String]| {
        for key in keys {
            let mut command = built::coin_host();
            let revoked = command
                .env("XDG_CONFIG_HOME", &configuration)
                .args(["plugin", "trust", "revoke", key])
                .output();
            assert!(revoked.is_ok_and(|output| output.status.success()), "revoked");
        }
    };
    let at_once = [stolen.clone(), key.clone()];
    let address = serve_and(&folder, move |path| {
        if path == "index.toml" {
            revoke(&at_once);
        }
    });
    for key in [&key, &old] {
        labs.ok(&["trust", "add", "vislab", "--key", key, "--index", &address]);
    }
    labs.ok(&["trust", "add", "textlab", "--key", &stolen]);
    fs::remove_file(labs.path("mark")).expect("packing ran the constructor");
    let refused = plugin(&labs.sandbox, &["add", "vislab:stress"]);
    let message = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{message}");
    // What was learnt on the way is told although nothing was added.
    let (told, error) = message.split_once("error: ").expect("an error");
    assert!(
        told.starts_with("warning: the key ") && told.contains("of lab vislab is revoked by the lab"),
        "{message}"
    );
    assert!(error.contains("of lab `vislab` is revoked") && !labs.path("mark").exists(), "{message}");
    let listed = labs.ok(&["trust", "list"]);
    assert_eq!(listed.matches("revoked  ").count(), 3, "{listed}");
}

#[test]
fn what_a_lab_signed_gives_way_to_that_lab_alone() {
    let labs = Labs::new();
    let ((key, secret), (new, new_secret), (other, other_secret)) =
        (labs.key("signing.key"), labs.key("new.key"), labs.key("other.key"));
    let signed = labs.pack("0.1.0", "dist", Some(&secret));
    let unsigned = labs.pack("0.1.0", "unsigned", None);
    let later = labs.pack("0.2.0", "unsigned", None);
    let renewed = labs.pack("0.1.0", "renewed", Some(&new_secret));
    let foreign = labs.pack("0.1.0", "foreign", Some(&other_secret));
    for (lab, key) in [("vislab", &key), ("vislab", &new), ("textlab", &other)] {
        labs.ok(&["trust", "add", lab, "--key", key]);
    }
    let fingerprint = |line: &str| Some(Key::parse(line).expect("a key").fingerprint());
    labs.ok(&["add", &signed]);
    for (package, itself) in
        [(&unsigned, "is not signed"), (&later, "is not signed"), (&foreign, "is signed by lab textlab")]
    {
        let message = labs.refused(&["add", package]);
        let expected = format!("the one that is here (0.1.0) is signed by lab vislab, this one {itself}");
        assert!(message.contains(&expected), "{message}");
        assert_eq!(labs.lock().plugins[0].key, fingerprint(&key), "the lock is as it was");
    }
    let library = labs.path("libstress.so");
    fs::copy(built::plugin("stress"), &library).expect("copied");
    assert!(labs.refused(&["add", &library.display().to_string()]).contains("is signed by lab vislab"));
    // Locked again by hand, it is known who signed it and where it came from.
    labs.ok(&["lock", "--user", "stress"]);
    let locked = labs.lock().plugins.remove(0);
    assert_eq!((locked.key, locked.source), (fingerprint(&key), Some(signed.clone())));
    labs.ok(&["lock", "stress"]);
    let project = Lock::read(&labs.path("project").join(lock::FILE)).expect("sound");
    assert_eq!(project.plugins[0].key, fingerprint(&key));
    // Another key of the same lab may, and whoever says so.
    labs.ok(&["add", &renewed]);
    assert_eq!(labs.lock().plugins[0].key, fingerprint(&new));
    labs.ok(&["add", "--replace-signed", &foreign]);
    labs.ok(&["add", &renewed, "--replace-signed"]);

    // What a revoked key signed does not come back without its signature, nor after it was removed.
    fs::remove_file(labs.path("project").join(lock::FILE)).expect("removed");
    labs.ok(&["trust", "revoke", &new]);
    for arguments in [&["add", &unsigned, "--replace-signed"][..], &["lock", "--user", "stress"]] {
        assert!(labs.refused(arguments).contains("is revoked"));
    }
    labs.ok(&["remove", "stress"]);
    assert!(labs.refused(&["add", &unsigned, "--replace-signed"]).contains("it signed these very bytes"));
    let folder = labs.path("unsigned").join("loose");
    fs::create_dir_all(&folder).expect("created");
    let packed = coin_host::plugin::archive::open(&fs::read(&unsigned).expect("there")).expect("sound");
    fs::write(folder.join("libstress.so"), packed.file("libstress.so").expect("a library")).expect("written");
    let folder = folder.display().to_string();
    let info = labs.refused(&["info", "stress", "--plugin-dir", &folder, "--trust", "any"]);
    assert!(info.contains("is revoked"), "{info}");
    // Signed anew by a good key, the same bytes are good again.
    labs.ok(&["add", &signed]);
    labs.ok(&["info", "stress", "--plugin-dir", &folder]);
    assert_eq!(labs.lock().plugins.len(), 1);
}

#[test]
fn a_lab_whose_package_is_refused_keeps_nobody_from_asking_the_others() {
    let labs = Labs::new();
    let ((key, secret), (other, other_secret)) = (labs.key("signing.key"), labs.key("other.key"));
    for (lab, version, key, secret) in
        [("alab", "0.3.0", &other, &other_secret), ("vislab", "0.1.0", &key, &secret)]
    {
        labs.pack(version, lab, Some(secret));
        let folder = labs.path(lab).display().to_string();
        labs.ok(&["index", &folder]);
        labs.ok(&["trust", "add", lab, "--key", key, "--index", &folder]);
    }
    labs.ok(&["add", "vislab:stress"]);
    let added = plugin(&labs.sandbox, &["add", "lab:stress"]);
    let told = text(&added.stderr);
    assert!(added.status.success() && text(&added.stdout).starts_with("added stress 0.1.0 ("), "{told}");
    let left_out = "warning: left out: lab alab: plugin `stress` 0.3.0 refused: the one that is here (0.1.0)";
    assert!(told.contains(left_out), "{told}");
    // Where all are refused, so is the plugin, and each lab is named.
    labs.ok(&["trust", "add", "vislab", "--key", &key, "--until", "2020-01-01"]);
    let message = labs.refused(&["add", "lab:stress"]);
    assert!(message.contains("lab alab: ") && message.contains("lab vislab: "), "{message}");
}

#[test]
fn a_keyring_that_cannot_be_written_keeps_nobody_from_adding() {
    let labs = Labs::new();
    let ((key, secret), (old, _)) = (labs.key("signing.key"), labs.key("old.key"));
    labs.pack("0.1.0", "lab", Some(&secret));
    let folder = labs.path("lab").display().to_string();
    labs.ok(&["index", &folder, "--revoke", &old]);
    labs.ok(&["trust", "add", "vislab", "--key", &key, "--index", &folder]);
    // Its guard cannot be made.
    let guard = labs.path("config/coin-host/.keys.toml.guard");
    fs::create_dir(&guard).expect("created");
    assert!(labs.ok(&["add", "vislab:stress"]).starts_with("added stress 0.1.0 ("));
    // A revocation that is to be noted down is not passed over.
    fs::remove_dir(&guard).expect("removed");
    labs.ok(&["trust", "add", "vislab", "--key", &old]);
    fs::create_dir(&guard).expect("created");
    labs.stopped(1, &["add", "vislab:stress"]);
}

#[test]
fn a_revocation_reaches_what_was_removed_or_replaced_before_it() {
    for is_removed in [true, false] {
        let labs = Labs::new();
        let (key, secret) = labs.key("signing.key");
        let (signed, unsigned) =
            (labs.pack("0.1.0", "dist", Some(&secret)), labs.pack("0.1.0", "unsigned", None));
        labs.ok(&["trust", "add", "vislab", "--key", &key]);
        labs.ok(&["add", &signed]);
        if is_removed {
            labs.ok(&["remove", "stress"]);
            assert!(labs.lock().plugins.is_empty(), "what was removed vouches for nothing");
        } else {
            labs.ok(&["add", &unsigned, "--replace-signed"]);
            labs.ok(&["info", "stress@0.1.0"]);
        }
        labs.ok(&["trust", "revoke", &key]);
        assert!(labs.refused(&["add", &unsigned, "--replace-signed"]).contains("it signed these very bytes"));
        let library = labs.path("stress.marked").display().to_string();
        let bare = labs.sandbox.put("stress", &fs::read(library).expect("packed")).display().to_string();
        assert!(labs.refused(&["lock", &bare]).contains("is revoked"));
        if !is_removed {
            assert!(labs.not_loaded().iter().all(|message| message.contains("is revoked")));
        }
    }
}

#[test]
fn wrong_usage_ends_with_code_2() {
    let labs = Labs::new();
    let ((key, secret), (other, _)) = (labs.key("signing.key"), labs.key("other.key"));
    labs.ok(&["trust", "add", "vislab", "--key", &key]);
    labs.ok(&["trust", "add", "textlab", "--key", &other]);
    let file = labs.sandbox.put("mine", b"text").with_file_name("mine.bin");
    fs::write(&file, "text").expect("written");
    let (file, source) = (file.display().to_string(), labs.path("source"));
    fs::create_dir(&source).expect("created");
    let source = source.display().to_string();
    let cases: &[(&[&str], &str)] = &[
        (&["add", "no-such-file.coinplugin.tar.zst"], "there is no no-such-file"),
        (&["trust", "add", "Vislab", "--key", &key], "cannot be the name of a lab"),
        (&["trust", "add", "other", "--key", "RW"], "no key is known as `RW`"),
        (&["trust", "add", "other", "--key", &file], "not a public key"),
        (&["trust", "add", "other", "--key", &key], "the key is that of lab `vislab`"),
        (&["trust", "remove", "nolab"], "no lab is known as `nolab`"),
        (&["trust", "remove", "textlab", "--key", &key], "is that of lab `vislab`, not of `textlab`"),
        (&["trust", "revoke", "12345678"], "no key is known"),
        (&["keygen", "--no-password", "--out", &secret], "not written over"),
        (&["index", &source, "--revoke", "BAD"], "not a public key"),
        (&["index", "no-such-folder"], "cannot be read"),
        (&["pack", &source], "there is no "),
        (&["pack", "no-such-folder"], "there is no "),
        (&["lock", &file], "not named as a plugin's library"),
        (&["new", "method", "No_Name"], "cannot be a plugin's name"),
        (&["new", "method", "mine", "--path", &source], "exists already"),
    ];
    for (arguments, part) in cases {
        let message = labs.stopped(2, arguments);
        assert!(message.contains(part), "{arguments:?}: {message}");
    }
    let mut homeless = built::coin_host();
    let arguments = ["plugin", "lock", "--user", "stress"];
    let homeless =
        alone(&mut homeless, &labs.sandbox).env_remove("XDG_DATA_HOME").env_remove("HOME").args(arguments);
    let output = homeless.output().expect("it starts");
    let message = text(&output.stderr);
    assert!(output.status.code() == Some(2) && message.contains("hint: set XDG_DATA_HOME"), "{message}");
    assert_eq!(labs.ok(&["trust", "list"]).lines().count(), 4, "nothing was forgotten");
    fs::write(Path::new(&source).join("plugin.toml"), "[plugin]\n").expect("written");
    assert!(labs.refused(&["pack", &source]).contains("plugin.toml"));
    fs::write(labs.path("config/coin-host/keys.toml"), "[").expect("written");
    labs.stopped(2, &["trust", "list"]);
    labs.stopped(2, &["trust", "revoke", &key]);
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
