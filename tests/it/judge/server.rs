//! A judge's server that does what a test tells it to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What it does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// A verdict with this text.
    Say(String),
    /// A verdict and what it cost in tokens.
    Cost(String, u64),
    /// A status with a header line (or none) and a body.
    Status(u16, &'static str, String),
    /// This body, status 200.
    Body(String),
    /// A verdict after this time.
    Slow(Duration, String),
    /// Half of a reply, then nothing.
    Half,
    /// The connection is closed without a word.
    Close,
}

pub(crate) struct Server {
    pub(crate) url: String,
    /// Header and body of each request.
    pub(crate) requests: Arc<Mutex<Vec<(String, String)>>>,
    /// Most requests at a time.
    pub(crate) most: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    address: std::net::SocketAddr,
}

impl Server {
    /// `act` gets the request's number, from 0, and its body.
    pub(crate) fn start(act: impl Fn(usize, &str) -> Act + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (requests, most) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (stop, now, act) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(act));
        let server = Server {
            url: format!("http://{address}/v1"),
            requests: requests.clone(),
            most: most.clone(),
            stop: stop.clone(),
            address,
        };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (requests, most, now, act) = (requests.clone(), most.clone(), now.clone(), act.clone());
                std::thread::spawn(move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let reply = receive(&stream, &requests).map(|(number, body)| reply(act(number, &body)));
                    // Before the reply leaves: who has read it may ask the next one at once.
                    now.fetch_sub(1, Ordering::SeqCst);
                    let _gone = reply.and_then(|bytes| (&stream).write_all(bytes.as_bytes()));
                });
            }
        });
        server
    }

    pub(crate) fn count(&self) -> usize {
        self.requests.lock().expect("requests").len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener, which then lets go of its port.
        let _woken = TcpStream::connect(self.address);
    }
}

/// The number of a request, from 0, and its body.
fn receive(stream: &TcpStream, requests: &Mutex<Vec<(String, String)>>) -> std::io::Result<(usize, String)> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let mut requests = requests.lock().expect("requests");
    requests.push((head, body.clone()));
    Ok((requests.len() - 1, body))
}

/// What is sent back, header and body.
fn reply(act: Act) -> String {
    let whole = |status: u16, header: &str, body: &str| {
        let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
        let length = body.len();
        format!("HTTP/1.1 {status} X\r\n{header}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    match act {
        Act::Say(text) => whole(200, "", &completion(&text, None)),
        Act::Cost(text, tokens) => whole(200, "", &completion(&text, Some(tokens))),
        Act::Status(status, header, body) => whole(status, header, &body),
        Act::Body(body) => whole(200, "", &body),
        Act::Slow(time, text) => {
            std::thread::sleep(time);
            whole(200, "", &completion(&text, None))
        }
        Act::Half => {
            let all = whole(200, "", &completion("7", None));
            all[..all.len() - 40].to_owned()
        }
        Act::Close => String::new(),
    }
}

fn completion(text: &str, tokens: Option<u64>) -> String {
    let mut value = serde_json::json!({"choices": [{"message": {"role": "assistant", "content": text}}]});
    if let Some(tokens) = tokens {
        value["usage"] = serde_json::json!({"prompt_tokens": tokens, "completion_tokens": tokens});
    }
    value.to_string()
}
