//! Pipelines and ends of connections, and what connections cost.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Returns an HTTP/1.1 connection to a listener with the engine.
async fn connected(folder: &std::path::Path, limits: &Limits) -> (Running, TlsStream<TcpStream>) {
    let tls = self_signed(folder, &["shop.localhost"]).server_config();
    let running = Running::start(Some(tls), limits);
    let config = Arc::new(trusting(folder, &["http/1.1"]));
    let stream = connect(running.address, &config, "shop.localhost").await.unwrap();
    (running, stream)
}

/// Reads until the input ends with `end`.
async fn until(stream: &mut TlsStream<TcpStream>, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let count = timeout(PATIENCE, stream.read_buf(&mut read)).await.unwrap().unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&read));
    }
    String::from_utf8(read).unwrap()
}

#[test]
fn a_pipeline_of_requests_of_all_kinds_loses_no_byte() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let (running, mut stream) = connected(folder.path(), &Limits::default()).await;
        let plain = "GET /bytes/3 HTTP/1.1\r\nhost: a\r\n\r\n";
        let upload = "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n12";
        stream.write_all((plain.repeat(3) + upload).as_bytes()).await.unwrap();
        until(&mut stream, "\r\n\r\nxxx").await;
        stream.write_all(format!("345{plain}").as_bytes()).await.unwrap();
        let rest = until(&mut stream, "\r\n\r\nxxx").await;
        assert!(rest.contains("\r\n\r\n12345HTTP/1.1 200 OK"), "{rest}");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut rest = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut rest)).await.unwrap().unwrap();
        assert!(rest.contains("connection: close") && rest.ends_with("hello"), "{rest}");
        assert_eq!(running.peers.borrow().len(), 6);
        running.until_empty().await;
    });
}

#[test]
fn a_pipeline_of_large_and_small_answers_arrives_whole() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let (running, mut stream) = connected(folder.path(), &Limits::default()).await;
        let mut text = String::new();
        for index in 0..40_usize {
            text += &format!("GET /bytes/{} HTTP/1.1\r\nHost: a\r\n\r\n", index * 20_000);
        }
        text += "GET /bytes/1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let (mut read, mut write) = tokio::io::split(stream);
        let writes = spawn_local(async move {
            write.write_all(text.as_bytes()).await.unwrap();
            write
        });
        let mut answers = Vec::new();
        timeout(PATIENCE, read.read_to_end(&mut answers)).await.unwrap().unwrap();
        let count = answers.iter().filter(|byte| **byte == b'x').count();
        assert_eq!(count, (0..40).map(|index| index * 20_000).sum::<usize>() + 1);
        stream = read.unsplit(writes.await.unwrap());
        drop(stream);
        running.until_empty().await;
    });
}

#[test]
fn a_peer_that_says_its_end_still_gets_its_answer() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let (running, mut stream) = connected(folder.path(), &Limits::default()).await;
        stream.write_all(b"GET /bytes/3000000 HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert!(answer.len() > 3_000_000);
        running.until_empty().await;
    });
}

#[test]
fn records_that_are_none_are_answered_with_an_alert() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let (running, mut stream) = connected(folder.path(), &Limits::default()).await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        until(&mut stream, "hello").await;
        stream.get_mut().0.write_all(&[23, 3, 3, 0, 20].repeat(6)).await.unwrap();
        let mut rest = Vec::new();
        let error = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap().unwrap_err();
        assert!(error.to_string().contains("BadRecordMac"), "{error}");
        running.until_empty().await;
    });
}

#[test]
fn the_last_request_of_a_connection_learns_it() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { requests_per_connection_max: 3, ..Limits::default() };
        let (running, mut stream) = connected(folder.path(), &limits).await;
        stream.write_all("GET /bytes/3 HTTP/1.1\r\nhost: a\r\n\r\n".repeat(5).as_bytes()).await.unwrap();
        let mut answers = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answers)).await.unwrap().unwrap();
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
        running.until_empty().await;
    });
}

#[test]
fn the_task_of_a_connection_that_rests_is_small() {
    use crate::listen::connection::{Accepted, Shared, run};
    use crate::listen::engine::Drive;
    use crate::listen::socket::SocketIo;
    use devanture_http::{http1, http2 as engine_http2};

    type Services = fn(&Arc<Peer>) -> (EngineService, Lane);
    type Stream = tokio_rustls::server::TlsStream<SocketIo>;
    const fn size<A, B, C, F>(_run: &impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    let run = size::<Rc<Shared<Services>>, Accepted, _, _>(&run::<Services>);
    let session = size_of::<rustls::ServerConnection>();
    let drives = [
        size_of::<Drive<Stream, http1::Connection<EngineService>>>(),
        size_of::<Drive<Stream, engine_http2::Connection<EngineService>>>(),
    ];
    println!("the future {run}, the session {session}, with its connection of HTTP/1.1 and of HTTP/2 {drives:?} bytes");
    for drive in drives {
        assert!(run + drive - session <= 3 * 1024, "{run} and {drive} bytes, {session} of them the session");
        // The allocator's next size class is half a kilobyte larger, for each connection.
        assert!(drive <= 2 * 1024, "{drive} bytes");
    }
}
