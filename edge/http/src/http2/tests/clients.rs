//! The crate `h2` as a client, over a pipe driven like a socket.

use std::future::poll_fn;
use std::pin::pin;

use h2::client::SendRequest;
use http::Version;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::*;

/// Bytes read and written by the driver at once.
const TURN_BYTES: usize = 16 * 1024;

/// Drives a connection over a pipe to the end, as a driver with sockets does.
async fn drive(mut io: DuplexStream, limits: Limits, site: Site) {
    let (mut conn, date) = (Connection::new(Rc::new(limits), site), SharedField::new("date", b"today"));
    let (mut scratch, mut unsent, mut at) = (Scratch::default(), Vec::new(), 0);
    let mut state = State::Open;
    let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
    poll_fn(|cx| {
        loop {
            let now = Instant::now();
            let mut turn = Turn { now, date: &date, scratch: &mut scratch };
            let mut progress = false;
            if conn.wants_input() {
                let mut bytes = [0; TURN_BYTES];
                let mut read = ReadBuf::new(&mut bytes);
                match Pin::new(&mut io).poll_read(cx, &mut read) {
                    Poll::Ready(Ok(())) if read.filled().is_empty() => return Poll::Ready(()),
                    Poll::Ready(Ok(())) => {
                        conn.receive(read.filled(), &mut turn);
                        progress = true;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            if at == unsent.len() && state == State::Open {
                let mut bin = Bin { room: TURN_BYTES, ..Bin::default() };
                state = conn.produce(&mut bin, &mut turn, cx);
                (unsent, at) = (bin.bytes, 0);
            }
            if at < unsent.len() {
                match Pin::new(&mut io).poll_write(cx, &unsent[at..]) {
                    Poll::Ready(Ok(count)) => (at, progress) = (at + count, true),
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            } else if state == State::Over {
                return Poll::Ready(());
            }
            if !progress {
                if let Some(deadline) = conn.deadline() {
                    timer.as_mut().reset(deadline.into());
                    if timer.as_mut().poll(cx).is_ready() {
                        continue;
                    }
                }
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// Runs a client against a site.
fn talk<T, F: Future<Output = T>>(limits: Limits, client: impl FnOnce(SendRequest<Bytes>, Rc<Log>) -> F) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let (ours, theirs) = tokio::io::duplex(8 * 1024);
        let site = site();
        let log = Rc::clone(&site.log);
        let server = tokio::task::spawn_local(drive(ours, limits, site));
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(1 << 21)
            .handshake::<_, Bytes>(theirs)
            .await
            .unwrap();
        let connection = tokio::task::spawn_local(connection);
        let result = client(sender, log).await;
        connection.abort();
        server.abort();
        result
    })
}

fn ask(method: &str, path: &str) -> Request<()> {
    let uri = format!("https://shop.example{path}");
    Request::builder().method(method).version(Version::HTTP_2).uri(uri).body(()).unwrap()
}

/// Returns the status of an answer, the body and the trailers.
async fn answer(response: h2::client::ResponseFuture) -> Result<(u16, Vec<u8>, Option<HeaderMap>), h2::Error> {
    let response = response.await?;
    let (status, mut body, mut bytes) = (response.status().as_u16(), response.into_body(), Vec::new());
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        bytes.extend_from_slice(&part);
    }
    Ok((status, bytes, body.trailers().await?))
}

async fn upload(stream: &mut h2::SendStream<Bytes>, mut bytes: Bytes, ends: bool) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let Some(capacity) = poll_fn(|cx| stream.poll_capacity(cx)).await else { break };
        let part = bytes.split_to(capacity?.min(bytes.len()));
        stream.send_data(part, false)?;
    }
    if ends { stream.send_data(Bytes::new(), true) } else { Ok(()) }
}

#[test]
fn answers_of_every_size_come_as_they_are() {
    talk(limits(), |sender, log| async move {
        let mut sender = sender.ready().await.unwrap();
        let sizes = [0, 1, 511, 512, 16_374, 16_375, 16_376, 65_535, 65_536, 1_000_000, 3_000_000];
        let mut answers = Vec::new();
        for size in sizes {
            let (response, _) = sender.send_request(ask("GET", &format!("/bytes/{size}")), true).unwrap();
            answers.push(tokio::task::spawn_local(answer(response)));
            sender = sender.ready().await.unwrap();
        }
        for (size, came) in sizes.into_iter().zip(answers) {
            assert_eq!(came.await.unwrap().unwrap(), (200, pattern(size).to_vec(), None), "{size}");
        }
        assert_eq!(log.complete.get(), sizes.len());
        assert_eq!(log.sent.get(), sizes.iter().sum::<usize>());
    });
}

#[test]
fn thousands_of_requests_are_answered_on_one_connection() {
    talk(limits(), |sender, log| async move {
        let mut sender = sender.ready().await.unwrap();
        for _ in 0..30 {
            let mut answers = Vec::new();
            for number in 0..100 {
                let path = ["/", "/nowhere", "/bytes/0", "/stream"][number % 4];
                answers.push(sender.send_request(ask("GET", path), true).unwrap().0);
                sender = sender.ready().await.unwrap();
            }
            for (number, response) in answers.into_iter().enumerate() {
                assert_eq!(answer(response).await.unwrap().0, if number % 4 == 1 { 404 } else { 200 });
            }
        }
        assert_eq!(log.complete.get(), 30 * 75);
    });
}

#[test]
fn bodies_go_both_ways_at_once_with_trailers() {
    talk(limits(), |sender, _log| async move {
        let mut sender = sender.ready().await.unwrap();
        for path in ["/echo", "/back"] {
            let (response, mut stream) = sender.send_request(ask("POST", path), false).unwrap();
            let came = tokio::task::spawn_local(answer(response));
            upload(&mut stream, pattern(1_000_000), false).await.unwrap();
            let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("x"))]);
            stream.send_trailers(trailers.clone()).unwrap();
            let (status, body, came) = came.await.unwrap().unwrap();
            assert_eq!((status, came), (200, Some(trailers)), "{path}");
            assert_eq!(body, pattern(1_000_000), "{path}");
            sender = sender.ready().await.unwrap();
        }
    });
}

#[test]
fn many_uploads_share_the_window_of_the_connection() {
    talk(limits(), |sender, _log| async move {
        let mut sender = sender.ready().await.unwrap();
        let mut tasks = Vec::new();
        for number in 1..=20 {
            let (response, mut stream) = sender.send_request(ask("POST", "/count"), false).unwrap();
            tasks.push(tokio::task::spawn_local(async move {
                upload(&mut stream, pattern(number * 20_000), true).await.unwrap();
                assert_eq!(answer(response).await.unwrap().1, (number * 20_000).to_string().as_bytes());
            }));
            sender = sender.ready().await.unwrap();
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn an_upload_that_is_not_wanted_is_answered_and_stopped() {
    talk(limits(), |sender, _log| async move {
        let mut sender = sender.ready().await.unwrap();
        let (response, mut stream) = sender.send_request(ask("POST", "/refuse"), false).unwrap();
        let sent = upload(&mut stream, pattern(10_000_000), true).await;
        assert_eq!(answer(response).await.unwrap().0, 405);
        assert!(sent.is_err(), "it was all taken");
        let (response, _) = sender.ready().await.unwrap().send_request(ask("GET", "/"), true).unwrap();
        assert_eq!(answer(response).await.unwrap().0, 200);
    });
}

#[test]
fn requests_that_are_taken_back_leave_the_others_alone() {
    talk(limits(), |sender, log| async move {
        let mut sender = sender.ready().await.unwrap();
        for _ in 0..50 {
            let (response, mut stream) = sender.send_request(ask("POST", "/wait"), false).unwrap();
            stream.send_reset(h2::Reason::CANCEL);
            drop(response);
            sender = sender.ready().await.unwrap();
            let (response, _) = sender.send_request(ask("GET", "/big"), true).unwrap();
            assert_eq!(answer(response).await.unwrap().1.len(), BIG_BYTES);
            sender = sender.ready().await.unwrap();
        }
        assert_eq!(log.waiting.get(), 0);
    });
}

#[test]
fn a_connection_of_many_requests_ends_without_losing_one() {
    talk(Limits { requests: 150, ..limits() }, |sender, _log| async move {
        let mut answered = 0;
        let mut sender = Some(sender);
        while let Some(ready) = sender.take() {
            let Ok(mut ready) = ready.ready().await else { break };
            let Ok((response, _)) = ready.send_request(ask("GET", "/"), true) else { break };
            match answer(response).await {
                Ok((200, ..)) => answered += 1,
                Ok(other) => panic!("{other:?}"),
                // Never accepted: a client may retry elsewhere.
                Err(error) => assert!(error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR), "{error}"),
            }
            sender = Some(ready);
        }
        assert!((150..200).contains(&answered), "{answered}");
    });
}
