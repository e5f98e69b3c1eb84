//! Responses during an upload, as curl handles them. curl 7.88 (Debian 12) reports a stream error instead of the
//! response if a stream is reset during the upload.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;

use devanture_config::api::BeginDeploy;
use devanture_config::site_toml::Route;
use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::http2::clients::run_with;
use crate::http2::world::World;
use crate::support::{RunningEdge, edge, manifest};

const SMALL_BYTES: usize = 100;
/// More than the windows of a stream and of a connection, and less than the limit of a body.
const LARGE_BYTES: usize = 4_000_000;
const TOO_LARGE_BYTES: usize = 5_000_000;

/// Backend that answers every head with 401 and stops reading.
async fn refusing() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut open: Vec<TcpStream> = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.is_ok_and(|count| count > 0) {
                head.extend_from_slice(&byte);
            }
            let answer = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 7\r\nconnection: close\r\n\r\nlog in\n";
            if stream.write_all(answer).await.is_ok() {
                open.push(stream);
            }
        }
    });
    port
}

/// Uploads a file in every way, and expects the status each time.
async fn uploads(edge: &RunningEdge, host: &str, path: &str, file: &Path, status: u16) -> Option<()> {
    let port = edge.https().port();
    let (ca, resolve) = (edge.ca(), format!("{host}:{port}:127.0.0.1"));
    let (url, file_name) = (format!("https://{host}:{port}{path}"), file.to_str().unwrap());
    let body = format!("@{file_name}");
    let ways: [&[&str]; 5] = [
        &["--header", "Expect:", "--data-binary", &body],
        &["--header", "Expect: 100-continue", "--data-binary", &body],
        &["--header", "Expect:", "--upload-file", file_name],
        // A body of unknown length.
        &["--header", "Expect:", "--upload-file", "-"],
        &["--header", "Expect:", "--request", "POST", "--upload-file", "-"],
    ];
    let common = ["--silent", "--show-error", "--http2", "--cacert", ca.to_str().unwrap(), "--resolve", &resolve];
    let written = ["--output", "/dev/null", "--write-out", "%{http_version} %{http_code} %{size_download}", &url];
    for way in ways {
        let stdin = Stdio::from(File::open(file).unwrap());
        let output = run_with("curl", &[&common, way, &written].concat(), stdin).await?;
        let (text, reported) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let expected = format!("2 {status} ");
        let is_answered = text.starts_with(&expected) && !text.ends_with(" 0") && output.status.success();
        assert!(is_answered, "{path} {way:?}: {status} expected, not {text}; {reported}");
    }
    Some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_gets_the_answer_to_a_body_that_nobody_reads() {
    let world = World::with(edge().with_limit("proxy_body_bytes_max", LARGE_BYTES as u64)).await;
    // A bound port without a listener, now and later.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let files: [(&str, &[u8]); 1] = [("index.html", b"beside the backends")];
    let mut manifest = manifest(&files);
    let to = |port: u16| format!("http://127.0.0.1:{port}").parse().unwrap();
    manifest.base.routes = Some(vec![
        Route::new("/down/*".parse().unwrap(), to(nobody.local_addr().unwrap().port())),
        Route::new("/refusing/*".parse().unwrap(), to(refusing().await)),
    ]);
    let begin = BeginDeploy { manifest, source: Default::default(), options: Default::default() };
    world.edge.try_push("uploads", "prod", begin, &files).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let file = |bytes: usize| {
        let path = folder.path().join(bytes.to_string());
        fs::write(&path, vec![b'x'; bytes]).unwrap();
        path
    };
    let (small, large, too_large) = (file(SMALL_BYTES), file(LARGE_BYTES), file(TOO_LARGE_BYTES));
    let host = "uploads.localhost";
    for file in [&small, &large] {
        for (path, status) in [("/", 405), ("/down/", 502), ("/refusing/", 401)] {
            let Some(()) = uploads(&world.edge, host, path, file, status).await else { return };
        }
    }
    uploads(&world.edge, "shop.localhost", "/api/echo", &too_large, 413).await.unwrap();
    let paused = world.edge.api(Method::POST, "/v1/apps/uploads/environments/prod/pause").send().await.unwrap();
    assert!(paused.status().is_success(), "{paused:?}");
    uploads(&world.edge, host, "/refusing/", &large, 503).await.unwrap();
}
