//! Draining loses no request, and ends in time.

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use super::*;
use devanture_http::UnderWay;

#[test]
fn requests_under_way_are_answered_and_new_connections_refused() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let running = Running::start(Some(tls), &Limits::default());
        let h2 = Arc::new(trusting(folder.path(), &["h2"]));
        let h1 = Arc::new(trusting(folder.path(), &["http/1.1"]));
        let mut waiting = Vec::new();
        for _ in 0..3 {
            let sender = http2_over(connect(running.address, &h2, "shop.localhost").await.unwrap()).await;
            for _ in 0..20 {
                let mut sender = sender.clone();
                waiting.push(spawn_local(async move { sender.send_request(get2("/wait")).await }));
            }
            let mut sender = http1_over(connect(running.address, &h1, "shop.localhost").await.unwrap()).await;
            waiting.push(spawn_local(async move {
                let response = sender.send_request(get("/wait")).await?;
                assert_eq!(response.headers()["connection"], "close");
                Ok(response)
            }));
        }
        // An idle connection of each kind, which the drain ends immediately.
        let mut idle2 = http2_over(connect(running.address, &h2, "shop.localhost").await.unwrap()).await;
        idle2.send_request(get2("/")).await.unwrap();
        let mut idle1 = http1_over(connect(running.address, &h1, "shop.localhost").await.unwrap()).await;
        text(idle1.send_request(get("/")).await.unwrap()).await;
        eventually(|| running.peers.borrow().len() == 65).await;

        running.drain(PATIENCE);
        eventually(|| running.limits.open() == 6).await;
        assert!(TcpStream::connect(running.address).await.is_err());
        running.gate.add_permits(63);
        for answer in join_all(waiting).await {
            assert_eq!(text(answer.unwrap().unwrap()).await, "waited");
        }
        assert_eq!(running.drained().await, Drained { cut: 0 });
    });
}

/// The successor accepts new connections, while a request may be on its way on the idle connection.
#[test]
fn an_idle_connection_of_http_1_has_one_more_request_where_a_successor_serves() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let running = Running::start(Some(tls), &Limits::default());
        let h1 = Arc::new(trusting(folder.path(), &["http/1.1"]));
        let mut senders = Vec::new();
        for _ in 0..2 {
            let mut sender = http1_over(connect(running.address, &h1, "shop.localhost").await.unwrap()).await;
            text(sender.send_request(get("/")).await.unwrap()).await;
            senders.push(sender);
        }
        let [mut used, _idle] = senders.try_into().ok().unwrap();
        running
            .drain
            .send_replace(Some(DrainOrder { has_successor: true, ..DrainOrder::until(Instant::now() + PATIENCE) }));
        // The drain has begun once the listener is closed.
        while TcpStream::connect(running.address).await.is_ok() {}
        let last = used.send_request(get("/")).await.unwrap();
        assert_eq!(last.headers()["connection"], "close");
        assert_eq!(text(last).await, "hello");
        // The second connection ends without a request, long before the deadline.
        assert_eq!(running.drained().await, Drained { cut: 0 });
    });
}

#[test]
fn a_connection_that_waits_to_be_accepted_is_served() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let running = Running::start(Some(tls), &Limits::default());
        let waiting: Vec<_> = (0..10).map(|_| std::net::TcpStream::connect(running.address).unwrap()).collect();
        running.drain(PATIENCE);
        for (index, stream) in waiting.into_iter().enumerate() {
            stream.set_nonblocking(true).unwrap();
            let stream = TcpStream::from_std(stream).unwrap();
            let protocol = if index % 2 == 0 { "h2" } else { "http/1.1" };
            let config = Arc::new(trusting(folder.path(), &[protocol]));
            let stream =
                TlsConnector::from(config).connect("shop.localhost".try_into().unwrap(), stream).await.unwrap();
            let response = if index % 2 == 0 {
                http2_over(stream).await.send_request(get2("/")).await
            } else {
                http1_over(stream).await.send_request(get("/")).await
            };
            assert_eq!(text(response.unwrap()).await, "hello");
        }
        assert_eq!(running.drained().await, Drained { cut: 0 });
    });
}

#[test]
fn a_large_answer_that_is_being_read_slowly_is_not_cut_by_the_drain() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let running = Running::start(Some(tls), &Limits::default());
        let config = Arc::new(trusting(folder.path(), &["h2"]));
        let mut sender = http2_over(connect(running.address, &config, "shop.localhost").await.unwrap()).await;
        let mut body = sender.send_request(get2("/bytes/9000000")).await.unwrap().into_body();
        running.drain(PATIENCE);
        let mut total = 0;
        while let Some(frame) = timeout(PATIENCE, body.frame()).await.unwrap() {
            total += frame.unwrap().into_data().unwrap().len();
            tokio::task::yield_now().await;
        }
        assert_eq!(total, 9_000_000);
        drop(sender);
        assert_eq!(running.drained().await, Drained { cut: 0 });
    });
}

#[test]
fn what_is_still_open_at_the_deadline_is_cut_and_counted() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let running = Running::start(Some(tls), &Limits::default());
        let config = Arc::new(trusting(folder.path(), &["h2"]));
        let mut senders = Vec::new();
        for _ in 0..2 {
            let sender = http2_over(connect(running.address, &config, "shop.localhost").await.unwrap()).await;
            let mut waiting = sender.clone();
            senders.push((spawn_local(async move { waiting.send_request(get2("/wait")).await }), sender));
        }
        eventually(|| running.peers.borrow().len() == 2).await;
        let limits = running.limits.clone();
        running.drain(Duration::from_millis(100));
        assert_eq!(running.drained().await, Drained { cut: 2 });
        assert_eq!(limits.open(), 0);
        for (answer, _sender) in senders {
            assert!(answer.await.unwrap().is_err());
        }
    });
}

/// A client of either protocol.
enum Sender {
    Http1(http1::SendRequest<TestBody>),
    Http2(http2::SendRequest<TestBody>),
}

impl Sender {
    async fn connect(running: &Running, config: &Arc<ClientConfig>) -> Self {
        let stream = connect(running.address, config, "shop.localhost").await.unwrap();
        match config.alpn_protocols[0].as_slice() {
            b"h2" => Self::Http2(http2_over(stream).await),
            _ => Self::Http1(http1_over(stream).await),
        }
    }

    async fn send(&mut self, path: &str, body: Option<TestBody>) -> hyper::Result<Response<Incoming>> {
        let request = match self {
            Self::Http1(_) => get(path),
            Self::Http2(_) => get2(path),
        };
        let (mut parts, empty) = request.into_parts();
        if body.is_some() {
            parts.method = ::http::Method::POST;
            parts.headers.insert("content-length", "10".parse().unwrap());
        }
        let request = Request::from_parts(parts, body.unwrap_or(empty));
        match self {
            Self::Http1(sender) => sender.send_request(request).await,
            Self::Http2(sender) => sender.send_request(request).await,
        }
    }
}

/// More bytes than the buffers of all sockets hold.
const LARGE_BYTES: usize = 40_000_000;

/// Begins one request of each kind, on separate connections or `together`, before a drain with an immediate deadline
/// for the kind `over`. Only the request of that kind ends.
async fn others_go_on(running: Running, config: ClientConfig, together: bool, over: UnderWay) {
    let config = Arc::new(config);
    let ends_in_order = over == UnderWay::EventStream;
    let mut senders = Vec::new();
    for _ in UnderWay::ALL {
        senders.push(match senders.last() {
            Some(Sender::Http2(sender)) if together => Sender::Http2(sender.clone()),
            _ => Sender::connect(&running, &config).await,
        });
    }
    let [mut waits, mut uploads, mut downloads, mut streams] = senders.try_into().ok().unwrap();
    let request = spawn_local(async move { waits.send("/wait", None).await?.into_body().collect().await });
    let (rest, rest_sent) = oneshot::channel::<()>();
    let first = futures_util::stream::once(async { Ok(Frame::data(Bytes::from_static(b"12345"))) });
    let second = futures_util::stream::once(async move {
        rest_sent.await.ok();
        Ok(Frame::data(Bytes::from_static(b"67890")))
    });
    let body = StreamBody::new(futures_util::StreamExt::chain(first, second)).boxed_unsync();
    let upload = spawn_local(async move { uploads.send("/echo", Some(body)).await?.into_body().collect().await });
    let mut download = downloads.send(&format!("/bytes/{LARGE_BYTES}"), None).await.unwrap().into_body();
    download.frame().await.unwrap().unwrap();
    let mut events = streams.send("/events", None).await.unwrap().into_body();
    assert_eq!(events.frame().await.unwrap().unwrap().into_data().unwrap(), "data: 1\n\n");
    eventually(|| running.peers.borrow().len() == 4).await;

    let (now, later) = (Instant::now(), Instant::now() + PATIENCE);
    let time = |kind| if kind == over { now } else { later };
    running.drain.send_replace(Some(DrainOrder {
        requests: time(UnderWay::Request),
        uploads: time(UnderWay::Upload),
        downloads: time(UnderWay::Download),
        event_streams: time(UnderWay::EventStream),
        ..DrainOrder::until(later)
    }));
    let ended = |kind| kind == over;
    // The request whose deadline has passed.
    match over {
        UnderWay::Request => drop(timeout(PATIENCE, async { request.await.unwrap().unwrap_err() }).await.unwrap()),
        _ => {
            if over == UnderWay::Upload {
                eventually(|| upload.is_finished()).await;
            }
            running.gate.add_permits(1);
            assert_eq!(request.await.unwrap().unwrap().to_bytes(), "waited");
        }
    }
    if ended(UnderWay::Upload) {
        assert!(upload.await.unwrap().is_err());
    } else {
        rest.send(()).unwrap();
        assert_eq!(upload.await.unwrap().unwrap().to_bytes(), "1234567890");
    }
    if ended(UnderWay::EventStream) {
        let rest = timeout(PATIENCE, events.collect()).await.unwrap().map(|rest| rest.to_bytes());
        assert_eq!(rest.is_ok_and(|rest| rest.is_empty()), ends_in_order);
    } else {
        assert!(futures_util::FutureExt::now_or_never(events.frame()).is_none(), "it goes on");
        drop(events);
    }
    assert_eq!(download.collect().await.is_err(), ended(UnderWay::Download));
    drop((downloads, streams));
    let cut = usize::from(!together && !ends_in_order);
    assert_eq!(running.drained().await, Drained { cut });
}

#[test]
fn each_kind_of_request_has_a_time_of_its_own() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let certificates = self_signed(folder.path(), &["shop.localhost"]);
        for (protocol, together) in [("http/1.1", false), ("h2", false), ("h2", true)] {
            for over in UnderWay::ALL {
                let running = Running::start(Some(certificates.server_config()), &Limits::default());
                others_go_on(running, trusting(folder.path(), &[protocol]), together, over).await;
            }
        }
    });
}

/// Longer than any wait of the tests.
const LONG: Duration = Duration::from_secs(3_600);

/// Opens a connection upgraded by a request, and checks that bytes are echoed.
async fn upgraded(running: &Running, config: &Arc<ClientConfig>) -> TokioIo<hyper::upgrade::Upgraded> {
    let mut sender = http1_over(connect(running.address, config, "shop.localhost").await.unwrap()).await;
    let mut request = get("/upgrade");
    request.headers_mut().insert("connection", "upgrade".parse().unwrap());
    request.headers_mut().insert("upgrade", "echo".parse().unwrap());
    let response = sender.send_request(request).await.unwrap();
    let mut upgraded = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    comes_back(&mut upgraded).await;
    upgraded
}

async fn comes_back(upgraded: &mut TokioIo<hyper::upgrade::Upgraded>) {
    upgraded.write_all(b"still here").await.unwrap();
    let mut back = [0; 10];
    timeout(PATIENCE, upgraded.read_exact(&mut back)).await.unwrap().unwrap();
    assert_eq!(&back, b"still here");
}

#[test]
fn a_drain_follows_an_order_that_ends_sooner() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let running = Running::start(Some(tls), &Limits::default());
        let mut senders = Vec::new();
        for protocol in ["h2", "http/1.1"] {
            let config = Arc::new(trusting(folder.path(), &[protocol]));
            let mut sender = Sender::connect(&running, &config).await;
            senders.push(spawn_local(async move { sender.send("/wait", None).await.map(drop) }));
        }
        eventually(|| running.peers.borrow().len() == 2).await;
        let later = Instant::now() + LONG;
        running.drain.send_replace(Some(DrainOrder { has_successor: true, ..DrainOrder::until(later) }));
        while TcpStream::connect(running.address).await.is_ok() {}
        // Only one kind has no time left, and no request of the kind is in flight.
        running.drain.send_replace(Some(DrainOrder { downloads: Instant::now(), ..DrainOrder::until(later) }));
        eventually(|| running.limits.open() == 2).await;
        running.drain.send_replace(Some(DrainOrder::until(Instant::now())));
        let ended = timeout(PATIENCE, running.ended).await.expect("the drain ends").unwrap().unwrap();
        assert_eq!(ended, Drained { cut: 2 });
        for answer in senders {
            assert!(answer.await.unwrap().is_err());
        }
    });
}

#[test]
fn requests_are_not_waited_for_longer_because_of_an_upgraded_connection() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let running = Running::start(Some(tls), &Limits::default());
        let config = Arc::new(trusting(folder.path(), &["http/1.1"]));
        let _upgraded = upgraded(&running, &config).await;
        let mut sender = Sender::connect(&running, &config).await;
        let waiting = spawn_local(async move { text(sender.send("/wait", None).await.unwrap()).await });
        eventually(|| running.peers.borrow().len() == 2).await;
        let (now, later) = (Instant::now(), Instant::now() + LONG);
        running.drain.send_replace(Some(DrainOrder { tunnels: now, ..DrainOrder::until(later) }));
        // The deadline has passed, and the stream was not asked to end.
        running.gate.add_permits(1);
        assert_eq!(waiting.await.unwrap(), "waited");
        assert_eq!(running.drained().await, Drained { cut: 1 });
    });
}

#[test]
fn an_upgraded_connection_has_its_own_time_after_the_last_request() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let running = Running::start(Some(tls), &Limits::default());
        let config = Arc::new(trusting(folder.path(), &["http/1.1"]));
        let mut upgraded = upgraded(&running, &config).await;
        let (now, later) = (Instant::now(), Instant::now() + LONG);
        running.drain.send_replace(Some(DrainOrder { tunnels: later, ..DrainOrder::until(now) }));
        for _ in 0..3 {
            comes_back(&mut upgraded).await;
        }
        drop(upgraded);
        assert_eq!(running.drained().await, Drained { cut: 0 });
    });
}
