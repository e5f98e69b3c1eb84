//! Local backend with responses chosen by the test.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Backend that answers every request with the path as the body, and a chosen status.
#[derive(Clone)]
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    status: Arc<AtomicU16>,
    silent: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Backend {
    /// Listens and answers 200.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let backend = Self {
            address: listener.local_addr().unwrap(),
            status: Arc::new(AtomicU16::new(200)),
            silent: Arc::default(),
            requests: Arc::default(),
            heads: Arc::default(),
        };
        let this = backend.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let this = this.clone();
                std::thread::spawn(move || this.serve(stream));
            }
        });
        backend
    }

    fn serve(&self, stream: std::net::TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut writer = stream;
        loop {
            let mut head = String::new();
            loop {
                let before = head.len();
                if reader.read_line(&mut head).unwrap_or(0) == 0 {
                    return;
                }
                if head[before..].trim_end().is_empty() {
                    break;
                }
            }
            self.requests.fetch_add(1, Ordering::Relaxed);
            self.heads.lock().unwrap().push(head.to_ascii_lowercase());
            if self.silent.load(Ordering::Relaxed) {
                // Blocks until the client disconnects.
                let mut rest = String::new();
                reader.read_line(&mut rest).ok();
                return;
            }
            let body = format!("{{\"path\":\"{}\"}}", head.split(' ').nth(1).unwrap());
            let status = self.status.load(Ordering::Relaxed);
            let answer = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            if writer.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// Sets the status of later responses.
    pub(crate) fn answers(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// Accepts later requests without answering.
    pub(crate) fn is_silent(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }

    /// Number of requests.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Request heads, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// Address of a port without a listener, now and later.
pub(crate) fn dead() -> SocketAddr {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    // A bound port is given to no other test.
    std::mem::forget(socket);
    address
}
