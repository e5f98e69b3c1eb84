//! Upgraded connections: the client's and the backend's joined, byte for byte, until both have ended.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::forward::{Counters, add};
use super::pool::{Connection, Permit};

/// How long an upgraded connection may be silent, unless its route waits longer. Dead peers are found by TCP itself, so
/// this is for those that live and have forgotten.
const SILENCE_MAX: Duration = Duration::from_secs(3600);
/// Longest time between the backend's 101 and the client's having it.
const SWITCH_MAX: Duration = Duration::from_secs(30);
/// Bytes under way in each direction.
const BUFFER_BYTES: usize = 8 * 1024;

/// Two connections that are to be joined.
pub(crate) struct Tunnel {
    pub(crate) backend: OnUpgrade,
    pub(crate) client: OnUpgrade,
    /// Drives the backend's side until it is handed over.
    pub(crate) connection: Connection,
    pub(crate) counters: Rc<Counters>,
    pub(crate) permit: Permit,
    /// How long one side may be silent after the other has ended.
    pub(crate) rest_max: Duration,
    pub(crate) stop: CancellationToken,
}

/// Joins them by a task of this thread.
pub(crate) fn start(tunnel: Tunnel) {
    drop(tokio::task::spawn_local(tunnel.run()));
}

impl Tunnel {
    async fn run(self) {
        let Self { backend, client, connection, counters, permit, rest_max, stop } = self;
        let both = timeout(SWITCH_MAX, async { tokio::try_join!(client, backend) }).await;
        let Ok(Ok((client, backend))) = both else {
            tracing::debug!("a connection was to be upgraded, and one side went away");
            return;
        };
        drop(connection);
        add(&counters.upgraded, 1);
        let state = Rc::new(State { ended: Cell::new(false), moved: Cell::new(Instant::now()) });
        let metered = |io, count| Metered {
            counters: Rc::clone(&counters),
            count,
            io: TokioIo::new(io),
            state: Rc::clone(&state),
        };
        let mut client = metered(client, |counters: &Counters| &counters.upgraded_bytes_received);
        let mut backend = metered(backend, |counters: &Counters| &counters.upgraded_bytes_sent);
        // A side that has ended is told to the other, which may still have something to say.
        let joined = copy_bidirectional_with_sizes(&mut client, &mut backend, BUFFER_BYTES, BUFFER_BYTES);
        let how = tokio::select! {
            ended = joined => if ended.is_ok() { "both sides ended it" } else { "one side broke it off" },
            () = state.silence(SILENCE_MAX.max(rest_max), rest_max) => "nothing moved for too long",
            () = stop.cancelled() => "the edge is stopping",
        };
        tracing::debug!(how, "an upgraded connection ended");
        drop(permit);
    }
}

/// What the two directions know of each other.
struct State {
    /// Whether one side has ended.
    ended: Cell<bool>,
    /// When a byte last came.
    moved: Cell<Instant>,
}

impl State {
    /// Returns when nothing has moved for `both`, or for `one` after one side has ended.
    async fn silence(&self, both: Duration, one: Duration) {
        loop {
            sleep(one.min(both)).await;
            let limit = if self.ended.get() { one } else { both };
            if self.moved.get().elapsed() >= limit {
                return;
            }
        }
    }
}

/// Counts what is read from one side.
struct Metered {
    count: fn(&Counters) -> &Cell<u64>,
    counters: Rc<Counters>,
    io: TokioIo<Upgraded>,
    state: Rc<State>,
}

impl AsyncRead for Metered {
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
        }
        polled
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
