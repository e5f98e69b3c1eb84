//! The start of the real program: immediate answers, and signals at any moment.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use crate::support::edge::{edge, program};

const CONFIG: &str = r#"
data_dir = "data"
domain = "localhost"
preview_domain = "localhost"
[listen]
https = "127.0.0.1:0"
admin = "127.0.0.1:0"
[tls]
mode = "self-signed"
"#;

#[test]
fn sigterm_ends_an_edge_that_does_not_serve_yet() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("edge.toml"), CONFIG).unwrap();
    // A running edge that never answers: the new edge waits.
    let running = UnixListener::bind(folder.path().join("data/takeover.sock")).unwrap();
    let mut edge = Command::new(program("devanture-edge"))
        .args(["--config", "edge.toml"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _asked = running.accept().unwrap();
    assert!(Command::new("kill").args(["-TERM", &edge.id().to_string()]).status().unwrap().success());
    assert_eq!(edge.wait().unwrap().code(), Some(0));
    let mut printed = String::new();
    edge.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    assert_eq!(printed, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_site_answers_from_the_ready_line_on() {
    let mut edge = edge().start();
    let folder = tempfile::tempdir().unwrap();
    for app in ["shop", "blog", "docs"] {
        std::fs::write(folder.path().join("index.html"), app).unwrap();
        edge.push(app, folder.path());
    }
    for _ in 0..3 {
        assert!(edge.terminate().success());
        edge.restart();
        for app in ["docs", "blog", "shop"] {
            let url = edge.url(&format!("{app}.localhost"), "/");
            let answer = edge.client(true).get(url).send().await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.text().await.unwrap()), (200, app.to_owned()));
        }
    }
}
