//! Body of a deferred request: filled by the connection, read by the service.
//!
//! The announced windows bound the unread bytes: only read bytes reopen the windows.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

/// Shorter parts are joined, so that a body in tiny frames takes no more memory than its bytes.
const PART_BYTES_MIN: usize = 2_048;
/// Maximum length of joined parts.
const PART_BYTES_MAX: usize = 16_384;

/// Reason why a request body broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The peer reset the stream or disconnected.
    #[error("the client took its request back")]
    Gone,
    /// The body contradicts the head or the protocol.
    #[error("the client's request body is malformed")]
    Malformed,
    /// No bytes arrived for too long.
    #[error("the client's request body came too slowly")]
    Slow,
}

/// Body of a request.
#[derive(Debug)]
pub struct Inbound {
    pipe: Option<Arc<Mutex<Pipe>>>,
}

/// Queue between the connection and the reader.
#[derive(Debug, Default)]
struct Pipe {
    parts: VecDeque<Bytes>,
    /// Last short parts, joined.
    tail: BytesMut,
    trailers: Option<HeaderMap>,
    end: Option<Result<(), Broken>>,
    /// Remaining bytes according to the head.
    expected: Option<u64>,
    /// Unread bytes.
    unread: usize,
    /// Read bytes not yet reported to the connection.
    read: usize,
    /// Number of `read` bytes from which on the connection is woken.
    notable: usize,
    /// Waker of the reader.
    reader: Option<Waker>,
    /// Waker of the connection for this stream.
    connection: Option<Waker>,
    /// True if the reader was dropped.
    abandoned: bool,
}

/// The connection's end of the body.
#[derive(Debug)]
pub(super) struct InboundSender {
    pipe: Arc<Mutex<Pipe>>,
}

/// Actions of the reader of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReaderActions {
    /// Bytes read, or never to be read.
    pub(super) read: usize,
    /// True if the reader waits for more bytes.
    pub(super) is_awaited: bool,
    /// True if the reader is gone.
    pub(super) is_abandoned: bool,
}

impl Inbound {
    /// Returns an empty body.
    #[must_use]
    pub const fn empty() -> Self {
        Self { pipe: None }
    }

    /// Creates a body of `expected` bytes, if known. `connection` is woken after `notable` read bytes or the last
    /// bytes, when the reader begins to wait, and when the reader is dropped.
    pub(super) fn new(expected: Option<u64>, notable: usize, connection: Waker) -> (Self, InboundSender) {
        let pipe = Pipe { expected, notable, connection: Some(connection), ..Pipe::default() };
        let pipe = Arc::new(Mutex::new(pipe));
        (Self { pipe: Some(Arc::clone(&pipe)) }, InboundSender { pipe })
    }
}

impl Pipe {
    fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.tail.is_empty()
    }

    fn push(&mut self, bytes: &[u8]) {
        self.unread += bytes.len();
        if bytes.len() < PART_BYTES_MIN {
            self.tail.extend_from_slice(bytes);
            if self.tail.len() >= PART_BYTES_MAX {
                self.parts.push_back(std::mem::take(&mut self.tail).freeze());
            }
            return;
        }
        if !self.tail.is_empty() {
            self.parts.push_back(std::mem::take(&mut self.tail).freeze());
        }
        self.parts.push_back(Bytes::copy_from_slice(bytes));
    }

    fn pop(&mut self) -> Option<Bytes> {
        let part = match self.parts.pop_front() {
            Some(part) => part,
            None if self.tail.is_empty() => return None,
            None => std::mem::take(&mut self.tail).freeze(),
        };
        self.unread -= part.len();
        self.read += part.len();
        Some(part)
    }

    fn clear(&mut self) {
        (self.parts, self.tail, self.trailers) = (VecDeque::new(), BytesMut::new(), None);
        self.read += std::mem::take(&mut self.unread);
    }

    fn tell_connection(&self) {
        if let Some(connection) = &self.connection {
            connection.wake_by_ref();
        }
    }
}

impl InboundSender {
    fn with<R>(&self, change: impl FnOnce(&mut Pipe) -> R) -> R {
        let (result, reader) = {
            let mut pipe = self.pipe.lock();
            let result = change(&mut pipe);
            let has_more = !pipe.is_empty() || pipe.end.is_some();
            (result, if has_more { pipe.reader.take() } else { None })
        };
        if let Some(reader) = reader {
            reader.wake();
        }
        result
    }

    /// Adds bytes. Returns the number of bytes that will never be read.
    pub(super) fn push(&self, bytes: &[u8]) -> usize {
        self.with(|pipe| {
            // All received bytes count, read or not.
            pipe.expected = pipe.expected.map(|expected| expected.saturating_sub(bytes.len() as u64));
            if pipe.abandoned || pipe.end.is_some() {
                return bytes.len();
            }
            pipe.push(bytes);
            0
        })
    }

    /// Returns the remaining bytes according to the head.
    pub(super) fn expected(&self) -> Option<u64> {
        self.pipe.lock().expected
    }

    /// Returns true if `bytes` more, followed by the end if `ends`, agree with the length in the head (RFC 9113 §8.1.1,
    /// RFC 9114 §4.1.2).
    pub(super) fn agrees(&self, bytes: usize, ends: bool) -> bool {
        let Some(expected) = self.expected() else { return true };
        let count = u64::try_from(bytes).unwrap_or(u64::MAX);
        expected.checked_sub(count).is_some_and(|left| !ends || left == 0)
    }

    /// Marks the body as complete.
    pub(super) fn end(&self, trailers: Option<HeaderMap>) {
        self.with(|pipe| {
            if pipe.end.is_none() && !pipe.abandoned {
                pipe.trailers = trailers;
                pipe.end = Some(Ok(()));
            }
        });
    }

    /// Breaks the body off; unread bytes are lost.
    pub(super) fn fail(&self, broken: Broken) {
        self.with(|pipe| {
            if pipe.end != Some(Ok(())) {
                pipe.clear();
                pipe.end.get_or_insert(Err(broken));
            }
        });
    }

    /// Detaches the body from an ended stream; the reader keeps the rest. Returns the bytes not yet reported as read.
    pub(super) fn detach(&self) -> usize {
        let mut pipe = self.pipe.lock();
        pipe.connection = None;
        std::mem::take(&mut pipe.read) + pipe.unread
    }

    /// Returns the actions of the reader since the last call.
    pub(super) fn tend(&self) -> ReaderActions {
        let mut pipe = self.pipe.lock();
        let is_awaited = pipe.reader.is_some() && pipe.is_empty() && pipe.end.is_none();
        ReaderActions { read: std::mem::take(&mut pipe.read), is_awaited, is_abandoned: pipe.abandoned }
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        let pipe = self.pipe.lock();
        let parts: usize = pipe.parts.iter().map(Bytes::len).sum();
        parts + pipe.tail.capacity() + pipe.parts.capacity() * size_of::<Bytes>() + size_of::<Pipe>()
    }
}

impl Drop for InboundSender {
    /// No more bytes will come.
    fn drop(&mut self) {
        self.fail(Broken::Gone);
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some(pipe) = &self.pipe else { return Poll::Ready(None) };
        let mut pipe = pipe.lock();
        if let Some(part) = pipe.pop() {
            // At the end of the body, the remaining bytes also wake the connection: no later poll reports them, and
            // they were charged to the window of the connection.
            if pipe.read >= pipe.notable || pipe.end.is_some() && pipe.is_empty() {
                pipe.tell_connection();
            }
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        match pipe.end {
            Some(Ok(())) => Poll::Ready(pipe.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
            Some(Err(broken)) => Poll::Ready(Some(Err(broken))),
            None => {
                if pipe.reader.is_none() {
                    pipe.tell_connection();
                }
                pipe.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pipe.as_ref().is_none_or(|pipe| {
            let pipe = pipe.lock();
            pipe.is_empty() && pipe.trailers.is_none() && pipe.end == Some(Ok(()))
        })
    }

    fn size_hint(&self) -> SizeHint {
        let Some(pipe) = &self.pipe else { return SizeHint::with_exact(0) };
        let pipe = pipe.lock();
        let unread = pipe.unread as u64;
        match (pipe.end, pipe.expected) {
            // A broken body has no size, so that no reader takes it for empty.
            (Some(Err(_)), _) => SizeHint::new(),
            // A body with an announced length has no place for trailers (RFC 9112 §6.5, §7.1.2).
            (Some(Ok(())), _) if pipe.trailers.is_none() => SizeHint::with_exact(unread),
            (_, Some(expected)) => SizeHint::with_exact(unread.saturating_add(expected)),
            (_, None) => {
                let mut hint = SizeHint::new();
                hint.set_lower(unread);
                hint
            }
        }
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        let mut pipe = pipe.lock();
        pipe.abandoned = true;
        pipe.reader = None;
        pipe.clear();
        if pipe.read > 0 {
            pipe.tell_connection();
        }
        pipe.connection = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use proptest::prelude::*;

    use super::*;

    /// Counts wakes.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Count {
        fn take(&self) -> usize {
            self.0.swap(0, Ordering::Relaxed)
        }
    }

    fn body(expected: Option<u64>, notable: usize) -> (Inbound, InboundSender, Arc<Count>) {
        let count = Arc::<Count>::default();
        let (inbound, filler) = Inbound::new(expected, notable, Arc::clone(&count).into());
        (inbound, filler, count)
    }

    fn poll(inbound: &mut Inbound) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Pin::new(inbound).poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    fn data(inbound: &mut Inbound) -> Option<Bytes> {
        match poll(inbound) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().ok(),
            _ => None,
        }
    }

    /// The proxy needs exactly these bounds of a request body, and may send the body to another thread.
    fn is_a_body<B: Body<Data = Bytes, Error = Broken> + Unpin + Send + 'static>(_: &B) {}

    #[test]
    fn a_body_is_read_as_it_came_with_its_size_and_its_trailers() {
        let (mut inbound, filler, _) = body(Some(6), 100);
        is_a_body(&inbound);
        assert_eq!(inbound.size_hint().exact(), Some(6));
        assert_eq!(filler.push(b"abc"), 0);
        assert_eq!((inbound.size_hint().exact(), filler.expected()), (Some(6), Some(3)));
        assert_eq!(data(&mut inbound).unwrap(), "abc");
        assert_eq!(inbound.size_hint().exact(), Some(3));
        filler.push(b"def");
        let trailers = HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))]);
        filler.end(Some(trailers.clone()));
        assert_eq!(data(&mut inbound).unwrap(), "def");
        assert!(!inbound.is_end_stream());
        let Poll::Ready(Some(Ok(frame))) = poll(&mut inbound) else { panic!("trailers") };
        assert_eq!(frame.into_trailers().unwrap(), trailers);
        assert!(inbound.is_end_stream());
        assert!(matches!(poll(&mut inbound), Poll::Ready(None)));
    }

    #[test]
    fn a_body_that_breaks_off_says_why_and_loses_what_is_unread() {
        for broken in [Broken::Gone, Broken::Malformed, Broken::Slow] {
            let (mut inbound, filler, _) = body(None, 100);
            filler.push(b"abc");
            filler.fail(broken);
            filler.fail(Broken::Gone);
            assert!(matches!(poll(&mut inbound), Poll::Ready(Some(Err(why))) if why == broken));
            assert_eq!((inbound.size_hint().exact(), inbound.is_end_stream()), (None, false));
            assert_eq!(filler.detach(), 3);
            assert_eq!(filler.push(b"more"), 4);
        }
    }

    #[test]
    fn a_body_that_came_whole_outlives_its_stream() {
        let (mut inbound, filler, _) = body(None, 100);
        filler.push(b"abc");
        filler.end(None);
        filler.fail(Broken::Gone);
        assert_eq!(filler.detach(), 3);
        drop(filler);
        assert_eq!(data(&mut inbound).unwrap(), "abc");
        assert!(inbound.is_end_stream());
    }

    #[test]
    fn the_connection_is_woken_when_much_was_read_and_when_the_reader_waits_or_is_gone() {
        let (mut inbound, filler, count) = body(None, 3);
        filler.push(b"ab");
        data(&mut inbound);
        assert_eq!(count.take(), 0);
        filler.push(b"c");
        data(&mut inbound);
        assert_eq!((count.take(), filler.tend().read, filler.tend().read), (1, 3, 0));
        assert!(poll(&mut inbound).is_pending() && poll(&mut inbound).is_pending());
        assert_eq!((count.take(), filler.tend().is_awaited), (1, true));
        filler.push(b"xyz");
        assert!(!filler.tend().is_awaited);
        drop(inbound);
        assert_eq!((count.take(), filler.tend().read), (1, 3));
        assert_eq!(filler.push(b"never read"), 10);
    }

    #[test]
    fn the_connection_is_woken_when_the_last_bytes_of_a_whole_body_were_read_or_will_not_be() {
        for reads in [true, false] {
            let (mut inbound, filler, count) = body(Some(5), 100);
            filler.push(b"abcde");
            filler.end(None);
            assert_eq!(count.take(), 0);
            if reads {
                data(&mut inbound);
            }
            drop(inbound);
            assert_eq!((count.take() > 0, filler.tend().read), (true, 5));
        }
    }

    #[test]
    fn bytes_that_nobody_reads_came_all_the_same() {
        let (inbound, filler, _) = body(Some(5), 100);
        drop(inbound);
        assert_eq!((filler.push(b"abc"), filler.expected()), (3, Some(2)));
    }

    #[test]
    fn a_body_in_tiny_parts_takes_little_more_memory_than_its_bytes() {
        let (_inbound, filler, _) = body(None, 100);
        for _ in 0..100_000 {
            filler.push(b"x");
        }
        assert!(filler.held_bytes() < 140_000, "{}", filler.held_bytes());
    }

    proptest! {
        #[test]
        fn whatever_the_parts_the_body_is_the_same(lengths in proptest::collection::vec(0_usize..20_000, 0..20), reads: Vec<bool>) {
            let (mut inbound, filler, _) = body(None, 1);
            let (mut sent, mut came, mut reported) = (Vec::new(), Vec::new(), 0);
            for (number, length) in lengths.iter().enumerate() {
                let part = vec![u8::try_from(number).unwrap(); *length];
                filler.push(&part);
                sent.extend_from_slice(&part);
                if reads.get(number).copied().unwrap_or_default() {
                    came.extend(data(&mut inbound).unwrap_or_default());
                    reported += filler.tend().read;
                }
            }
            filler.end(None);
            while let Some(part) = data(&mut inbound) {
                came.extend_from_slice(&part);
            }
            prop_assert_eq!(reported + filler.tend().read, sent.len());
            prop_assert_eq!(came, sent);
        }
    }
}
