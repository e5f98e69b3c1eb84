//! Upgraded connections: the client's and the backend's joined, byte for byte, until both have ended.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::counts::{Counters, add};
use super::forward::Permit;
use super::http1::Early;
use super::join::join;

/// How long an upgraded connection may be silent, unless its route waits longer. Dead peers are found by TCP itself, so
/// this is for those that live and have forgotten.
const SILENCE_MAX: Duration = Duration::from_secs(3600);
/// Longest time between the backend's 101 and the client's having it.
const SWITCH_MAX: Duration = Duration::from_secs(30);

/// Two connections that are to be joined.
pub(crate) struct Tunnel {
    pub(crate) backend: Early,
    pub(crate) client: OnUpgrade,
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
        let Self { backend, client, counters, permit, rest_max, stop } = self;
        let Ok(Ok(client)) = timeout(SWITCH_MAX, client).await else {
            tracing::debug!("a connection was to be upgraded, and the client went away");
            return;
        };
        add(&counters.upgraded, 1);
        let state = Rc::new(State { ended: Cell::new(false), moved: Cell::new(Instant::now()) });
        let client = Metered {
            counters: Rc::clone(&counters),
            count: |counters| &counters.upgraded_bytes_received,
            io: TokioIo::new(client),
            state: Rc::clone(&state),
        };
        let backend = Metered {
            counters,
            count: |counters| &counters.upgraded_bytes_sent,
            io: backend,
            state: Rc::clone(&state),
        };
        let joined = join(client, backend);
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
struct Metered<T> {
    count: fn(&Counters) -> &Cell<u64>,
    counters: Rc<Counters>,
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
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
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
