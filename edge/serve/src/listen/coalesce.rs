//! Collects what HTTP/2 writes in one turn of its connection, and writes it once.
//!
//! hyper writes every few frames and flushes after each batch; through TLS each of these is a record and a system call.
//! Here a write lands in a buffer and a flush does nothing: the driver of the connection ([`super::connection`])
//! flushes for real when the connection's future has nothing more to do. A full buffer is written at once and pushes
//! back while the peer does not take it, so never more than [`WRITE_BYTES`] are held.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tls::WRITE_BYTES;

/// Empty buffers that a thread keeps for its connections.
const POOL_BUFFERS_MAX: usize = 16;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// The stream that is given to hyper.
pub(crate) struct Coalesced<T>(Rc<RefCell<Inner<T>>>);

/// The driver's end of the same stream.
pub(crate) struct Flusher<T>(Rc<RefCell<Inner<T>>>);

struct Inner<T> {
    io: T,
    /// Bytes that were taken from the writer; the first `written` of them were passed on.
    held: Vec<u8>,
    written: usize,
    /// Bytes were passed on since the last flush of `io`.
    unflushed: bool,
    /// A write was refused for lack of room.
    refused: bool,
}

/// Wraps `io` for hyper and for its driver.
pub(crate) fn coalesce<T>(io: T) -> (Coalesced<T>, Flusher<T>) {
    let inner = Inner { io, held: Vec::new(), written: 0, unflushed: false, refused: false };
    let inner = Rc::new(RefCell::new(inner));
    (Coalesced(Rc::clone(&inner)), Flusher(inner))
}

impl<T: AsyncWrite + Unpin> Flusher<T> {
    /// Writes what was collected. After `Pending` it is to be called again when the task is woken.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.drain(cx))?;
        if inner.unflushed {
            ready!(Pin::new(&mut inner.io).poll_flush(cx))?;
            inner.unflushed = false;
        }
        if std::mem::take(&mut inner.refused) {
            // There is room again, and no event will say so to the writer.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> Inner<T> {
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.held.get(self.written..)
            && !rest.is_empty()
        {
            self.unflushed = true;
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        if self.held.capacity() > 0 {
            give_back(std::mem::take(&mut self.held));
            self.written = 0;
        }
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if total == 0 {
            return Poll::Ready(Ok(0));
        }
        if self.held.len() >= WRITE_BYTES {
            let drained = self.drain(cx);
            self.refused |= drained.is_pending();
            ready!(drained)?;
        }
        if self.held.is_empty() && total >= WRITE_BYTES {
            self.unflushed = true;
            let passed = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
            self.refused |= passed.is_pending();
            return passed;
        }
        if self.held.capacity() == 0 {
            self.held = take_buffer();
        }
        let before = self.held.len();
        for slice in slices {
            let room = WRITE_BYTES - self.held.len();
            let Some(part) = slice.get(..room.min(slice.len())) else { break };
            self.held.extend_from_slice(part);
        }
        Poll::Ready(Ok(self.held.len() - before))
    }
}

fn take_buffer() -> Vec<u8> {
    POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(WRITE_BYTES))
}

fn give_back(mut buffer: Vec<u8>) {
    buffer.clear();
    POOL.with_borrow_mut(|pool| {
        if pool.len() < POOL_BUFFERS_MAX {
            pool.push(buffer);
        }
    });
}

impl<T: AsyncRead + Unpin> AsyncRead for Coalesced<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().io).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Coalesced<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The driver does it at the end of the turn.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.drain(cx))?;
        Pin::new(&mut inner.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    /// A stream that takes as many bytes per write as its script says, 0 being `Pending`; after it, everything.
    #[derive(Default)]
    struct Scripted {
        script: std::collections::VecDeque<usize>,
        taken: Vec<u8>,
        writes: usize,
        flushed_at: usize,
        shut: bool,
    }

    impl AsyncWrite for Scripted {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            assert!(!self.shut);
            let count = match self.script.pop_front() {
                Some(0) => return Poll::Pending,
                Some(count) => count.min(bytes.len()),
                None => bytes.len(),
            };
            self.writes += 1;
            self.taken.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushed_at = self.taken.len();
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.shut = true;
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Write(Vec<usize>),
        HyperFlush,
        TurnEnds,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let size = prop_oneof![0..40_usize, 1_000..20_000_usize, (WRITE_BYTES - 2)..(WRITE_BYTES + 2), Just(150_000)];
        let step = prop_oneof![
            6 => prop::collection::vec(size, 1..4).prop_map(Step::Write),
            2 => Just(Step::HyperFlush),
            2 => Just(Step::TurnEnds),
        ];
        prop::collection::vec(step, 1..24)
    }

    fn taken(flusher: &Flusher<Scripted>) -> Vec<u8> {
        flusher.0.borrow().io.taken.clone()
    }

    proptest! {
        #[test]
        fn every_byte_arrives_once_and_in_order(
            steps in steps(),
            script in prop::collection::vec(prop_oneof![Just(0), 1..100_usize, 1_000..80_000_usize], 0..40),
        ) {
            let (mut stream, flusher) = coalesce(Scripted { script: script.into(), ..Scripted::default() });
            let cx = &mut Context::from_waker(Waker::noop());
            let mut sent: Vec<u8> = Vec::new();
            let mut next = 0_u8;
            for step in steps {
                match step {
                    Step::Write(sizes) => {
                        let parts: Vec<Vec<u8>> = sizes.iter().map(|size| (0..*size).map(|_| {
                            next = next.wrapping_mul(5).wrapping_add(1);
                            next
                        }).collect()).collect();
                        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
                        if let Poll::Ready(count) = Pin::new(&mut stream).poll_write_vectored(cx, &slices) {
                            sent.extend(parts.concat().into_iter().take(count.unwrap()));
                        }
                    }
                    Step::HyperFlush => prop_assert!(Pin::new(&mut stream).poll_flush(cx).is_ready()),
                    Step::TurnEnds => {
                        if flusher.poll_flush(cx).is_ready() {
                            prop_assert_eq!(&taken(&flusher), &sent);
                            prop_assert_eq!(flusher.0.borrow().io.flushed_at, sent.len());
                        }
                    }
                }
                let inner = flusher.0.borrow();
                prop_assert!(inner.held.len() <= WRITE_BYTES);
                prop_assert!(sent.starts_with(&inner.io.taken));
                prop_assert_eq!(sent.len(), inner.io.taken.len() + inner.held.len() - inner.written);
            }
            while Pin::new(&mut stream).poll_shutdown(cx).is_pending() {}
            prop_assert_eq!(taken(&flusher), sent);
            prop_assert!(flusher.0.borrow().io.shut);
        }
    }

    #[test]
    fn a_turn_of_many_small_writes_is_one_write() {
        let (mut stream, flusher) = coalesce(Scripted::default());
        let cx = &mut Context::from_waker(Waker::noop());
        for _ in 0..80 {
            assert!(matches!(Pin::new(&mut stream).poll_write(cx, &[7; 600]), Poll::Ready(Ok(600))));
            assert!(Pin::new(&mut stream).poll_flush(cx).is_ready());
        }
        assert_eq!(flusher.0.borrow().io.writes, 0);
        assert!(flusher.poll_flush(cx).is_ready());
        assert_eq!((flusher.0.borrow().io.writes, taken(&flusher).len()), (1, 48_000));
        assert_eq!(flusher.0.borrow().held.capacity(), 0, "an idle connection holds no buffer");
    }

    #[test]
    fn a_writer_that_was_refused_is_woken_when_there_is_room() {
        struct Count(std::sync::atomic::AtomicUsize);
        impl std::task::Wake for Count {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let count = std::sync::Arc::new(Count(std::sync::atomic::AtomicUsize::new(0)));
        let waker = Waker::from(std::sync::Arc::clone(&count));
        let cx = &mut Context::from_waker(&waker);
        let (mut stream, flusher) = coalesce(Scripted { script: [0].into(), ..Scripted::default() });
        assert!(matches!(Pin::new(&mut stream).poll_write(cx, &[1; WRITE_BYTES - 1]), Poll::Ready(Ok(_))));
        assert!(matches!(Pin::new(&mut stream).poll_write(cx, &[1; 2]), Poll::Ready(Ok(1))));
        assert!(Pin::new(&mut stream).poll_write(cx, &[1; 2]).is_pending());
        assert!(flusher.poll_flush(cx).is_ready());
        assert_eq!(count.0.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert!(matches!(Pin::new(&mut stream).poll_write(cx, &[1; 2]), Poll::Ready(Ok(2))));
    }
}
