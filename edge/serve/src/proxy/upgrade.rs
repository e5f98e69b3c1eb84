//! Upgraded connections: bytes are copied between client and backend until both have ended; at the edge's shutdown, a
//! WebSocket gets a closing handshake.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::copy_bidirectional::Join;
use super::http1::BufferedStream;
use super::permit::Permit;
use super::stats::{Counters, add};
use super::websocket::{Frames, GOING_AWAY, masked_going_away};
use devanture_http::{OnUpgrade, UpgradedStream};

/// Longest silence of an upgraded connection, unless the route's limit is longer. TCP itself detects dead peers, so
/// that the limit concerns live but inactive peers.
const SILENCE_MAX: Duration = Duration::from_secs(3600);
/// Longest time between the backend's 101 and its delivery to the client.
const SWITCH_MAX: Duration = Duration::from_secs(30);
/// Longest time of the closing handshake of a WebSocket.
const CLOSE_MAX: Duration = Duration::from_secs(1);
/// Maximum number of bytes per read during a close.
const CLOSE_BUFFER_BYTES: usize = 4 * 1024;

/// The client's stream, once the client has the response with the switch; `None` if the client disconnects earlier.
pub(crate) type ClientStream = Pin<Box<dyn Future<Output = Option<UpgradedStream>>>>;

/// Takes the stream of the client out of its request, which is there if it asked for another protocol.
pub(crate) fn client<B>(request: &mut Request<B>) -> ClientStream {
    let stream = OnUpgrade::take(request);
    Box::pin(async move { stream?.await })
}

/// Two connections to join.
pub(crate) struct Tunnel {
    pub(crate) backend: BufferedStream,
    pub(crate) client: ClientStream,
    pub(crate) counters: Rc<Counters>,
    pub(crate) permit: Permit,
    /// Longest silence of one side after the end of the opposite side, and longest time in which one side accepts no
    /// bytes: meanwhile an end of the opposite side goes unnoticed.
    pub(crate) rest_max: Duration,
    /// True for a WebSocket.
    pub(crate) is_websocket: bool,
    /// Cancelled at shutdown.
    pub(crate) stop: CancellationToken,
}

/// Joins the connections in a task on the current thread.
pub(crate) fn start(tunnel: Tunnel) {
    drop(tokio::task::spawn_local(tunnel.run()));
}

impl Tunnel {
    async fn run(self) {
        let Self { backend, client, counters, permit, rest_max, is_websocket, stop } = self;
        let Ok(Some(client)) = timeout(SWITCH_MAX, client).await else {
            tracing::debug!("a connection was to be upgraded, and the client went away");
            return;
        };
        add(&counters.upgraded, 1);
        let state = Rc::new(State::new());
        let frames = || is_websocket.then(Frames::default);
        let mut client = Metered {
            received: frames(),
            sent: frames(),
            counters: Rc::clone(&counters),
            count: |counters| &counters.upgraded_bytes_received,
            blocked: |state| &state.client_blocked,
            io: client,
            state: Rc::clone(&state),
        };
        let mut backend = Metered {
            received: None,
            sent: frames(),
            counters,
            count: |counters| &counters.upgraded_bytes_sent,
            blocked: |state| &state.backend_blocked,
            io: backend,
            state: Rc::clone(&state),
        };
        let mut join = Join::default();
        let how = tokio::select! {
            ended = join.run(&mut client, &mut backend) => {
                if ended.is_ok() { "both sides ended it" } else { "one side broke it off" }
            }
            () = state.silence(SILENCE_MAX.max(rest_max), rest_max) => "nothing moved for too long",
            () = stop.cancelled() => "the edge is stopping",
        };
        if is_websocket && stop.is_cancelled() {
            timeout(CLOSE_MAX, close(&mut client, &mut backend, join)).await.ok();
        }
        tracing::debug!(how, "an upgraded connection ended");
        drop(permit);
    }
}

/// Closes a WebSocket towards both sides: each side gets the rest of the current frame and a Close frame (RFC 6455
/// §5.5.1). The client's connection ends after the client's Close frame, as RFC 6455 §7.1.1 requires.
async fn close<C, B>(client: &mut Metered<C>, backend: &mut Metered<B>, join: Join) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (to_backend, to_client) = join.into_unwritten();
    close_one(client, backend, to_client, &GOING_AWAY).await?;
    // A backend that does not accept the frame is about to be ended anyway.
    drop(close_one(backend, client, to_backend, &masked_going_away(rand::random())).await);
    let mut ignored = [0; CLOSE_BUFFER_BYTES];
    while !client.received.as_ref().is_some_and(Frames::is_closed) && client.read(&mut ignored).await? > 0 {}
    client.shutdown().await
}

/// Completes the last frame written to `to`, whose bytes are first in `rest` and then in `from`; then writes `frame`,
/// unless a Close frame was written already.
async fn close_one<T, F>(to: &mut Metered<T>, from: &mut Metered<F>, mut rest: Vec<u8>, frame: &[u8]) -> io::Result<()>
where
    T: AsyncWrite + Unpin,
    F: AsyncRead + Unpin,
{
    while let Some(frames) = to.sent.as_ref().filter(|frames| !frames.is_at_boundary()) {
        if rest.is_empty() {
            rest.resize(CLOSE_BUFFER_BYTES, 0);
            let read = from.read(&mut rest).await?;
            rest.truncate(read);
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let count = frames.until_boundary(&rest);
        to.write_all(rest.get(..count).unwrap_or_default()).await?;
        rest.drain(..count.min(rest.len()));
    }
    if !to.sent.as_ref().is_some_and(Frames::is_closed) {
        to.write_all(frame).await?;
    }
    to.flush().await
}

/// The shared state of the two directions.
struct State {
    /// True once one side has ended.
    ended: Cell<bool>,
    /// Time of the last byte.
    moved: Cell<Instant>,
    /// Time since which the client accepts no bytes.
    client_blocked: Cell<Option<Instant>>,
    /// Time since which the backend accepts no bytes.
    backend_blocked: Cell<Option<Instant>>,
}

impl State {
    fn new() -> Self {
        Self {
            ended: Cell::new(false),
            moved: Cell::new(Instant::now()),
            client_blocked: Cell::new(None),
            backend_blocked: Cell::new(None),
        }
    }

    /// Returns after a silence of `both`, or of `one` after the end of one side, or after one side has accepted no
    /// bytes for `one`.
    async fn silence(&self, both: Duration, one: Duration) {
        loop {
            sleep(one.min(both)).await;
            let limit = if self.ended.get() { one } else { both };
            let blocked = [self.client_blocked.get(), self.backend_blocked.get()];
            let is_stuck = blocked.into_iter().flatten().any(|since| since.elapsed() >= one);
            if is_stuck || self.moved.get().elapsed() >= limit {
                return;
            }
        }
    }
}

/// Stream of one side that counts read bytes, records progress, and follows WebSocket frames.
struct Metered<T> {
    /// Received frames, for a WebSocket.
    received: Option<Frames>,
    /// Sent frames, for a WebSocket.
    sent: Option<Frames>,
    count: fn(&Counters) -> &Cell<u64>,
    counters: Rc<Counters>,
    /// Selects the time since which the side accepts no bytes.
    blocked: fn(&State) -> &Cell<Option<Instant>>,
    io: T,
    state: Rc<State>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = polled {
            let read = buffer.filled().len().saturating_sub(before);
            add((self.count)(&self.counters), u64::try_from(read).unwrap_or(u64::MAX));
            self.state.moved.set(Instant::now());
            if read == 0 {
                self.state.ended.set(true);
            }
            if let Some(frames) = &mut self.received {
                frames.pass(buffer.filled().get(before..).unwrap_or_default());
            }
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(context, bytes);
        if let (Poll::Ready(Ok(count)), Some(frames)) = (&polled, &mut self.sent) {
            frames.pass(bytes.get(..*count).unwrap_or_default());
        }
        let blocked = (self.blocked)(&self.state);
        match polled {
            Poll::Pending => blocked.set(blocked.get().or_else(|| Some(Instant::now()))),
            Poll::Ready(_) => blocked.set(None),
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    fn metered<T>(io: T) -> Metered<T> {
        Metered {
            received: Some(Frames::default()),
            sent: Some(Frames::default()),
            count: |counters| &counters.upgraded_bytes_sent,
            counters: Rc::default(),
            blocked: |state| &state.backend_blocked,
            io,
            state: Rc::new(State::new()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_side_that_takes_nothing_ends_the_connection_and_one_that_takes_little_does_not() {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
        let (mut reader, stream) = duplex(10);
        let mut writer = metered(stream);
        let state = Rc::clone(&writer.state);
        writer.write_all(&[0; 10]).await.unwrap();
        let writing = tokio::task::LocalSet::new();
        let slow = writing.run_until(async {
            tokio::task::spawn_local(async move { drop(writer.write_all(&[0; 1_000]).await) });
            for _ in 0..5 {
                // Less than a minute each time.
                assert!(timeout(minute / 2, state.silence(hour, minute)).await.is_err());
                reader.read_exact(&mut [0; 10]).await.unwrap();
                tokio::task::yield_now().await;
            }
            assert!(timeout(minute * 3, state.silence(hour, minute)).await.is_ok());
        });
        slow.await;
    }

    #[tokio::test]
    async fn a_frame_is_whole_before_its_websocket_is_closed() {
        let ((mut visitor, client), (mut server, backend)) = (duplex(100), duplex(100));
        let (mut client, mut backend) = (metered(client), metered(backend));
        client.write_all(b"\x82\x06ab").await.unwrap();
        server.write_all(b"ef\x82\x01x").await.unwrap();
        let mut join = Join::default();
        join.back.held = b"\0cd".to_vec();
        join.back.written = 1;
        visitor.write_all(&masked_going_away([1; 4])).await.unwrap();
        close(&mut client, &mut backend, join).await.unwrap();
        let mut received = Vec::new();
        visitor.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"\x82\x06abcdef\x88\x02\x03\xe9");
        drop(backend);
        received.clear();
        server.read_to_end(&mut received).await.unwrap();
        let mut frames = Frames::default();
        frames.pass(&received);
        assert!(frames.is_closed() && received.len() == 8);
    }
}
