//! A second S3 store, moto, a mock server of Amazon's: its differences from SeaweedFS reveal assumptions of the code.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use super::*;

/// The store, ended on drop.
pub(super) struct Moto {
    address: SocketAddr,
    child: Child,
}

/// Returns true if moto is installed; otherwise prints the untested part, and fails if no requirement may be missing.
pub(super) fn is_moto_installed() -> bool {
    let found = python().args(["-c", "import moto.server"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return true;
    }
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| matches!(value.as_str(), "1" | "true"));
    assert!(!is_set("CI") && !is_set("DEVANTURE_REQUIRE"), "moto is not installed");
    println!("left out: moto is not installed");
    false
}

/// Returns Python with the folder of moto, which `tools/needs` separates from other packages.
fn python() -> Command {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let mut command = Command::new("python3");
    let mut paths = vec![target.join("tools/moto")];
    paths.extend(std::env::var_os("PYTHONPATH").iter().flat_map(std::env::split_paths));
    command.env("PYTHONPATH", std::env::join_paths(paths).unwrap());
    command
}

impl Moto {
    /// Starts the server, with the bucket.
    pub(super) fn start() -> Self {
        let mut command = python();
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("http://")?;
            rest.trim().parse().ok()
        });
        // The server would wait if its output about each request had no reader.
        std::thread::spawn(move || lines.for_each(drop));
        let moto = Self { address: address.expect("moto does not start"), child };
        let mut stream = TcpStream::connect(moto.address).unwrap();
        let head = format!(
            "PUT /{BUCKET} HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            moto.address
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        assert!(answer.contains(" 200 "), "{answer}");
        moto
    }

    pub(super) fn variables(&self) -> Variables {
        variables(self.address, ("any-key-id", "any-secret-key"))
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
