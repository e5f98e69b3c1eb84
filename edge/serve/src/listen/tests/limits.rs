//! Every limit of a connection, on real sockets, with short times.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Reads until the server closes; returns the elapsed time, and the input.
async fn closed(mut stream: impl AsyncRead + Unpin) -> (Duration, Vec<u8>) {
    let (start, mut read) = (Instant::now(), Vec::new());
    // A reset counts as a close.
    drop(timeout(PATIENCE, stream.read_to_end(&mut read)).await.expect("it is closed"));
    (start.elapsed(), read)
}

fn short(set: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    set(&mut limits);
    limits
}

#[test]
fn a_slow_head_is_cut_although_its_bytes_keep_coming() {
    local(async || {
        let running = Running::start(None, &short(|limits| limits.header_ms_max = 300));
        let (read, mut write) = TcpStream::connect(running.address).await.unwrap().into_split();
        let drip = spawn_local(async move {
            write.write_all(b"GET / HTTP/1.1\r\nx-slow: ").await.unwrap();
            while write.write_all(b"1").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let (took, _) = closed(read).await;
        assert!((Duration::from_millis(250)..Duration::from_secs(5)).contains(&took), "{took:?}");
        running.until_empty().await;
        drip.abort();

        // The second head of a connection has the same limit; the idle time before has another limit.
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut first = [0; 4096];
        assert!(stream.read(&mut first).await.unwrap() > 0);
        tokio::time::sleep(Duration::from_millis(400)).await;
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let (took, rest) = closed(stream).await;
        assert!((Duration::from_millis(250)..Duration::from_secs(5)).contains(&took), "{took:?}");
        assert_eq!(rest, b"");
    });
}

#[test]
fn an_idle_connection_is_closed_after_the_limit_for_that() {
    local(async || {
        let limits = short(|limits| (limits.header_ms_max, limits.idle_ms_max) = (100, 500));
        let running = Running::start(None, &limits);
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let (took, answer) = closed(stream).await;
        assert!((Duration::from_millis(450)..Duration::from_secs(5)).contains(&took), "{took:?}");
        assert!(answer.ends_with(b"hello"));
    });
}

#[test]
fn an_idle_http2_connection_is_closed_and_one_with_a_request_is_not() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let running = Running::start(Some(tls), &short(|limits| limits.idle_ms_max = 200));
        let config = Arc::new(trusting(folder.path(), &["h2"]));
        let mut idle = http2_over(connect(running.address, &config, "shop.localhost").await.unwrap()).await;
        let mut busy = http2_over(connect(running.address, &config, "shop.localhost").await.unwrap()).await;
        text(idle.send_request(get2("/")).await.unwrap()).await;
        let waiting = spawn_local(async move { busy.send_request(get2("/wait")).await });
        eventually(|| running.peers.borrow().len() == 2).await;
        eventually(|| running.limits.open() == 1).await;
        assert!(idle.send_request(get2("/")).await.is_err());
        // Again as long as the limit of an idle connection.
        tokio::time::sleep(Duration::from_millis(300)).await;
        running.gate.add_permits(1);
        assert_eq!(text(waiting.await.unwrap().unwrap()).await, "waited");
        running.until_empty().await;
    });
}

#[test]
fn a_handshake_that_does_not_end_is_cut() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let running = Running::start(Some(tls), &short(|limits| limits.handshake_ms_max = 200));
        let (took, _) = closed(TcpStream::connect(running.address).await.unwrap()).await;
        assert!((Duration::from_millis(150)..Duration::from_secs(5)).contains(&took), "{took:?}");
        running.until_empty().await;
    });
}

/// Law 11.
#[test]
fn connections_that_rest_make_room_for_those_that_come() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let running = Running::start(Some(tls), &short(|limits| limits.connections_max = 32));
        let config = Arc::new(trusting(folder.path(), &["h2"]));
        let mut resting = Vec::new();
        let come = async {
            while resting.len() < 64 {
                // While another connection ends, a connect may be refused.
                let Ok(stream) = connect(running.address, &config, "shop.localhost").await else { continue };
                let mut sender = http2_over(stream).await;
                assert_eq!(text(sender.send_request(get2("/")).await.unwrap()).await, "hello");
                resting.push(sender);
            }
        };
        timeout(PATIENCE, come).await.expect("there is room");
        assert!(running.limits.open() <= 32);
    });
}

#[test]
fn no_more_connections_than_the_limit_are_open() {
    for limits in [short(|limits| limits.connections_max = 3), short(|limits| limits.connections_per_address_max = 3)] {
        local(async || {
            let running = Running::start(None, &limits);
            let mut open = Vec::new();
            for _ in 0..3 {
                let mut sender = http1_over(TcpStream::connect(running.address).await.unwrap()).await;
                text(sender.send_request(get("/")).await.unwrap()).await;
                open.push(sender);
            }
            let (_, read) = closed(TcpStream::connect(running.address).await.unwrap()).await;
            assert_eq!((read.len(), running.limits.open()), (0, 3));
            open.pop();
            eventually(|| running.limits.open() == 2).await;
            let mut sender = http1_over(TcpStream::connect(running.address).await.unwrap()).await;
            assert_eq!(text(sender.send_request(get("/")).await.unwrap()).await, "hello");
        });
    }
}

#[test]
fn a_client_that_takes_nothing_is_cut_and_one_that_is_slow_is_not() {
    local(async || {
        let running = Running::start(None, &short(|limits| limits.write_ms_max = 400));
        let mut stuck = TcpStream::connect(running.address).await.unwrap();
        stuck.write_all(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        running.until_empty().await;

        let mut slow = TcpStream::connect(running.address).await.unwrap();
        slow.write_all(b"GET /bytes/30000000 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let (start, mut total, mut buffer) = (Instant::now(), 0, vec![0; 4 * 1024 * 1024]);
        loop {
            let count = timeout(PATIENCE, slow.read(&mut buffer)).await.unwrap().unwrap();
            total += count;
            if count == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(total > 30_000_000, "{total}");
        assert!(start.elapsed() > Duration::from_millis(400), "it was not slow: {:?}", start.elapsed());
    });
}

#[test]
fn an_http2_stream_without_a_window_is_reset_and_its_connection_goes_on() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let limits = short(|limits| (limits.write_ms_max, limits.idle_ms_max) = (300, 60_000));
        let running = Running::start(Some(tls), &limits);
        let config = Arc::new(trusting(folder.path(), &["h2"]));
        let stream = connect(running.address, &config, "shop.localhost").await.unwrap();
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(100_000).initial_connection_window_size(10_000_000);
        let (mut sender, connection) = builder.handshake::<_, TestBody>(TokioIo::new(stream)).await.unwrap();
        spawn_local(connection);
        let mut stuck = sender.send_request(get2("/endless")).await.unwrap().into_body();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(700) {
            let answer = sender.send_request(get2("/bytes/1000")).await.unwrap();
            assert_eq!(text(answer).await.len(), 1_000);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut total = 0;
        let reset = loop {
            match timeout(PATIENCE, stuck.frame()).await.unwrap() {
                Some(Ok(frame)) => total += frame.into_data().unwrap().len(),
                Some(Err(error)) => break error,
                None => panic!("the endless body ended after {total} bytes"),
            }
        };
        assert!(total <= 100_000, "{total} bytes: {reset}");
        assert_eq!(running.limits.open(), 1);
    });
}
