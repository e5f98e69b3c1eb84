//! Streaming of bodies: in constant memory, at the reader's pace, and stopped once no reader is left.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::proxy::support::{
    ChannelBody, CountedBody, Front, OK, Setup, backend, bare_backend, eventually, receive, run, text,
};

const BODY_BYTES: u64 = 200_000_000;
/// Maximum bytes in flight, mostly in the kernel buffers of four sockets: with slow readers, two of the sockets'
/// buffers grow to 32 MiB.
const UNDER_WAY_MAX: u64 = 80_000_000;

fn faucet(left: u64, says_length: bool) -> (CountedBody, Rc<Cell<u64>>) {
    let made = Rc::new(Cell::new(0));
    let chunk = Bytes::from((0..65_536_u32).map(|index| (index % 251) as u8).collect::<Vec<_>>());
    (CountedBody { chunk, left, made: Rc::clone(&made), says_length }, made)
}

/// Reads a body frame by frame and records the maximum of the bytes in flight.
async fn drain(mut body: Incoming, made: &Cell<u64>) -> (u64, u64) {
    let (mut taken, mut under_way_max) = (0, 0);
    while let Some(frame) = body.frame().await {
        taken += frame.unwrap().data_ref().map_or(0, |data| data.len() as u64);
        under_way_max = under_way_max.max(made.get() - taken);
    }
    (taken, under_way_max)
}

async fn ask<B>(front: &Front, http2: bool, request: Request<B>) -> Response<Incoming>
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Unpin + 'static,
{
    if !http2 {
        return front.ask(request).await;
    }
    let mut sender = front.connect_h2().await;
    let response = sender.send_request(request).await.unwrap();
    tokio::task::spawn_local(async move {
        // Dropping the last sender would end the connection after its streams, which is harmless.
        drop(sender);
    });
    response
}

fn request(method: &str) -> http::request::Builder {
    Request::builder().method(method).uri("http://shop.example/api").header("host", "shop.example")
}

#[test]
fn a_long_download_needs_constant_memory() {
    run(async {
        for (http2, says_length) in [(false, true), (true, false)] {
            let made: Rc<Cell<u64>> = Rc::default();
            let counted = Rc::clone(&made);
            let backend = backend(move |_| {
                let (mut body, _) = faucet(BODY_BYTES, says_length);
                body.made = Rc::clone(&counted);
                async move { Response::new(body) }
            })
            .await;
            let front = Front::start(&format!("http://{backend}"), Setup { http2, ..Setup::default() }).await;
            let response = ask(&front, http2, request("GET").body(Empty::new()).unwrap()).await;
            let (taken, under_way_max) = drain(response.into_body(), &made).await;
            assert_eq!(taken, BODY_BYTES);
            assert!(under_way_max < UNDER_WAY_MAX, "{under_way_max}");
            eventually("the connection is kept", || front.client.counts().idle == 1).await;
        }
    });
}

#[test]
fn a_long_upload_needs_constant_memory() {
    run(async {
        for (http2, says_length) in [(false, false), (true, true)] {
            let (body, made) = faucet(BODY_BYTES, says_length);
            let counted = Rc::clone(&made);
            let backend = backend(move |request: Request<Incoming>| {
                let made = Rc::clone(&counted);
                async move {
                    assert_eq!(request.body().size_hint().exact().is_some(), says_length);
                    let (taken, under_way_max) = drain(request.into_body(), &made).await;
                    Response::new(Full::from(format!("{taken} {}", under_way_max < UNDER_WAY_MAX)))
                }
            })
            .await;
            let front = Front::start(&format!("http://{backend}"), Setup { http2, ..Setup::default() }).await;
            let response = ask(&front, http2, request("POST").body(body).unwrap()).await;
            assert_eq!(text(response).await, format!("{BODY_BYTES} true"));
        }
    });
}

#[test]
fn a_client_that_stops_reading_stops_the_backend() {
    run(async {
        let made: Rc<Cell<u64>> = Rc::default();
        let counted = Rc::clone(&made);
        let backend = backend(move |_| {
            let (mut body, _) = faucet(BODY_BYTES, true);
            body.made = Rc::clone(&counted);
            async move { Response::new(body) }
        })
        .await;
        let setup = Setup { send_buffer: Some(65_536), timeout_ms: 200, ..Setup::default() };
        let front = Front::start(&format!("http://{backend}"), setup).await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(65_536).unwrap();
        let mut stream = socket.connect(front.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
        // Rest means that no bytes were produced for a while, longer than the route's timeout.
        let (mut before, mut still) = (0, 0);
        eventually("the backend is stopped", || {
            still = if made.get() == before && before > 0 { still + 1 } else { 0 };
            before = made.get();
            still > 100
        })
        .await;
        assert!(before < UNDER_WAY_MAX / 5, "{before}");
        // The client was slow, not the backend: the response is complete.
        let mut buffer = vec![0; 1 << 20];
        let mut read = 0;
        loop {
            match stream.read(&mut buffer).await.unwrap() {
                0 => break,
                more => read += more as u64,
            }
        }
        assert!(read > BODY_BYTES, "{read}");
    });
}

#[test]
fn a_backend_that_stops_reading_stops_the_client() {
    run(async {
        let backend = bare_backend(|stream, _| async move {
            socket2::SockRef::from(&stream).set_recv_buffer_size(65_536).unwrap();
            std::future::pending::<()>().await;
            drop(stream);
        })
        .await;
        let front = Front::start(&format!("http://{backend}"), Setup { timeout_ms: 300, ..Setup::default() }).await;
        let (body, made) = faucet(BODY_BYTES, true);
        let response = front.ask(request("POST").body(body).unwrap()).await;
        assert_eq!(response.status(), 504);
        assert!(made.get() < UNDER_WAY_MAX / 2, "{}", made.get());
    });
}

#[test]
fn events_arrive_one_by_one() {
    run(async {
        for http2 in [false, true] {
            let (sender, body) = ChannelBody::new();
            let body = Rc::new(Cell::new(Some(body)));
            let backend = backend(move |_| {
                let body = body.take().unwrap();
                async move { Response::builder().header("content-type", "text/event-stream").body(body).unwrap() }
            })
            .await;
            let front = Front::start(&format!("http://{backend}"), Setup { http2, ..Setup::default() }).await;
            let response = ask(&front, http2, request("GET").body(Empty::new()).unwrap()).await;
            assert_eq!(response.headers()["content-type"], "text/event-stream");
            let mut body = response.into_body();
            for number in 0..20 {
                let event = format!("data: {number}\n\n");
                sender.send(event.clone().into()).await.unwrap();
                // The next event is sent after the arrival of this event.
                assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), event);
            }
            drop(sender);
            let rest = body.collect().await.unwrap();
            assert!(rest.to_bytes().is_empty());
        }
    });
}

#[test]
fn an_upload_arrives_piece_by_piece_and_its_time_is_not_the_answers() {
    run(async {
        let (arrived, mut pieces) = tokio::sync::mpsc::unbounded_channel();
        let backend = backend(move |request: Request<Incoming>| {
            let arrived = arrived.clone();
            async move {
                let mut body = request.into_body();
                while let Some(frame) = body.frame().await {
                    arrived.send(frame.unwrap().into_data().unwrap()).unwrap();
                }
                Response::new(Full::<Bytes>::from("done"))
            }
        })
        .await;
        let front = Front::start(&format!("http://{backend}"), Setup { timeout_ms: 400, ..Setup::default() }).await;
        let (sender, body) = ChannelBody::new();
        let mut connection = front.connect().await;
        let answer = connection.send_request(request("PUT").body(body).unwrap());
        let feeding = async move {
            // The total exceeds the route's timeout, while each pause is shorter.
            for number in 0..6 {
                tokio::time::sleep(std::time::Duration::from_millis(120)).await;
                sender.send(Bytes::from(format!("piece {number}"))).await.unwrap();
                assert_eq!(pieces.recv().await.unwrap(), format!("piece {number}"));
            }
        };
        let (answer, ()) = tokio::join!(answer, feeding);
        assert_eq!(text(answer.unwrap()).await, "done");
    });
}

#[test]
fn a_client_that_rests_within_its_upload_learns_it() {
    run(async {
        let backend = backend(|request: Request<Incoming>| async move {
            drop(request.into_body().collect().await);
            Response::new(Full::<Bytes>::from("done"))
        })
        .await;
        let front = Front::start(&format!("http://{backend}"), Setup { timeout_ms: 100, ..Setup::default() }).await;
        let (_sender, body) = ChannelBody::new();
        let mut connection = front.connect().await;
        let answer = connection.send_request(request("PUT").body(body).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 408);
    });
}

/// Backend that sends `answer` and reports the close of its connection.
async fn closing_backend(answer: &'static [u8]) -> (std::net::SocketAddr, Rc<Cell<u32>>, Rc<Cell<u32>>) {
    let (polled, closed): (Rc<Cell<u32>>, Rc<Cell<u32>>) = Default::default();
    let (asks, closes) = (Rc::clone(&polled), Rc::clone(&closed));
    let address = bare_backend(move |mut stream, _| {
        let (asks, closes) = (Rc::clone(&asks), Rc::clone(&closes));
        async move {
            receive(&mut stream).await.unwrap();
            stream.write_all(answer).await.unwrap();
            asks.set(asks.get() + 1);
            drop(stream.read(&mut [0; 1]).await);
            closes.set(closes.get() + 1);
        }
    })
    .await;
    (address, polled, closed)
}

#[test]
fn a_client_that_goes_away_cancels_the_request() {
    run(async {
        for http2 in [false, true] {
            let (backend, polled, closed) = closing_backend(b"").await;
            let front = Front::start(&format!("http://{backend}"), Setup { http2, ..Setup::default() }).await;
            let waiting = request("GET").body(Empty::<Bytes>::new()).unwrap();
            let call: std::pin::Pin<Box<dyn Future<Output = ()>>> = if http2 {
                let mut sender = front.connect_h2().await;
                Box::pin(async move { drop(sender.send_request(waiting).await) })
            } else {
                let mut sender = front.connect().await;
                Box::pin(async move { drop(sender.send_request(waiting).await) })
            };
            let call = tokio::task::spawn_local(call);
            eventually("the backend was asked", || polled.get() == 1).await;
            call.abort();
            eventually("the backend's connection is closed", || closed.get() == 1).await;
            eventually("it is noted", || *front.outcomes.borrow() == ["went away"]).await;
            assert_eq!(front.client.counts().in_use, 0);
        }
    });
}

#[test]
fn a_client_that_goes_away_within_the_answer_cancels_it() {
    run(async {
        for http2 in [false, true] {
            let (backend, _, closed) = closing_backend(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome").await;
            let front = Front::start(&format!("http://{backend}"), Setup { http2, ..Setup::default() }).await;
            let response = ask(&front, http2, request("GET").body(Empty::<Bytes>::new()).unwrap()).await;
            let mut body = response.into_body();
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "some");
            assert_eq!((closed.get(), front.client.counts().in_use), (0, 1));
            drop(body);
            eventually("the backend's connection is closed", || closed.get() == 1).await;
            eventually("nothing is in use", || front.client.counts().in_use == 0).await;
            assert_eq!(front.client.counts().idle, 0);
        }
    });
}

#[test]
fn a_client_that_breaks_off_its_upload_cancels_the_request() {
    run(async {
        let closed: Rc<Cell<bool>> = Rc::default();
        let closes = Rc::clone(&closed);
        let backend = bare_backend(move |mut stream, _| {
            let closes = Rc::clone(&closes);
            async move {
                let mut all = Vec::new();
                drop(stream.read_to_end(&mut all).await);
                assert!(all.ends_with(b"abc"), "nothing is made up to end it");
                closes.set(true);
            }
        })
        .await;
        let front = Front::to(backend).await;
        let mut stream = tokio::net::TcpStream::connect(front.address).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
        eventually("it is under way", || front.client.counts().connected == 1).await;
        drop(stream);
        eventually("the backend's connection is closed", || closed.get()).await;
        eventually("nothing is in use", || front.client.counts().in_use == 0).await;
        assert_eq!(front.client.counts().retried, 0);
    });
}

#[test]
fn an_answer_may_come_before_the_upload_has_ended() {
    run(async {
        let backend = bare_backend(|mut stream, _| async move {
            let mut head = [0; 1024];
            assert!(stream.read(&mut head).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig").await.unwrap();
            // Keeps reading, so that no reset is sent.
            while stream.read(&mut head).await.is_ok_and(|read| read > 0) {}
        })
        .await;
        let front = Front::to(backend).await;
        let (sender, body) = ChannelBody::new();
        sender.send(Bytes::from_static(b"first")).await.unwrap();
        let response = front.ask(request("POST").body(body).unwrap()).await;
        assert_eq!(response.status(), 413);
        assert_eq!(text(response).await, "big");
        eventually("nothing is in use", || front.client.counts().in_use == 0).await;
        assert_eq!(front.client.counts().idle, 0, "half a request stands on that connection");
        drop(sender);
    });
}

#[test]
fn a_client_goes_on_after_an_answer_that_came_before_the_end_of_its_upload() {
    run(async {
        for reads_on in [true, false] {
            let backend = bare_backend(move |mut stream, number| async move {
                if number == 0 {
                    let mut head = [0; 1024];
                    assert!(stream.read(&mut head).await.unwrap() > 0);
                    stream.write_all(OK).await.unwrap();
                    if !reads_on {
                        return;
                    }
                    let mut rest = [0; 10];
                    stream.read_exact(&mut rest).await.unwrap();
                    assert_eq!(&rest, b"not at all");
                }
                while receive(&mut stream).await.is_some() {
                    stream.write_all(OK).await.unwrap();
                }
            })
            .await;
            let front = Front::to(backend).await;
            let mut stream = tokio::net::TcpStream::connect(front.address).await.unwrap();
            stream.write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\n").await.unwrap();
            let mut answers = Vec::new();
            for rest in [&b"not at allGET / HTTP/1.1\r\nhost: h\r\n\r\n"[..], b""] {
                while !answers.ends_with(b"\r\n\r\nok") {
                    assert!(stream.read_buf(&mut answers).await.unwrap() > 0, "{reads_on}: it was closed");
                }
                answers.clear();
                stream.write_all(rest).await.unwrap();
            }
            eventually("nothing is in use", || front.client.counts().in_use == 0).await;
            eventually("a connection is kept", || front.client.counts().idle > 0).await;
        }
    });
}

#[test]
fn a_long_answer_goes_on_beside_a_long_upload() {
    run(async {
        // The response starts at once, and neither direction waits for the end of the other.
        let backend = backend(|request: Request<Incoming>| async move {
            let (body, _) = faucet(20_000_000, true);
            tokio::task::spawn_local(request.into_body().collect());
            Response::new(body)
        })
        .await;
        let front = Front::to(backend).await;
        let mut stream = tokio::net::TcpStream::connect(front.address).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 20000000\r\n\r\n").await.unwrap();
        // The client sends everything before the first read.
        for _ in 0..200 {
            stream.write_all(&[b'x'; 100_000]).await.unwrap();
        }
        let (mut read, mut buffer) = (0, vec![0; 1 << 20]);
        while read < 20_000_000 {
            let more = stream.read(&mut buffer).await.unwrap();
            assert!(more > 0, "it was closed");
            read += more;
        }
    });
}

#[test]
fn a_body_beyond_the_limit_is_refused() {
    run(async {
        let (backend, records) = crate::proxy::support::recording(OK).await;
        let to = format!("http://{backend}");
        let front = Front::start(&to, Setup { body_bytes_max: 10, ..Setup::default() }).await;
        let say = |length: usize| request("POST").body(Full::from(vec![b'x'; length])).unwrap();
        assert_eq!(front.ask(say(10)).await.status(), 200);
        assert_eq!(front.ask(say(11)).await.status(), 413);
        let (body, _) = faucet(1_000, false);
        assert_eq!(front.ask(request("POST").body(body).unwrap()).await.status(), 413);
        assert_eq!(records.borrow().len(), 1, "what was said to be too long was not even begun");
        assert_eq!(front.client.counts().in_use, 0);
    });
}
