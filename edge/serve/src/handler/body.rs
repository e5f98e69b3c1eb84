//! Response bodies: bytes in memory, spans of stored files read while being sent, responses of backends.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use devanture_site::range::{Multipart, Span};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::EXPECT;
use http::{Request, Version as HttpVersion};
use http_body::{Frame, SizeHint};
use tokio::time::timeout;

use super::paced::Paced;
use crate::proxy::{self, ProxyBody};
use crate::version::{Source, Traffic};
use devanture_http::{self as engine, ResponseBody};
use devanture_store::blobs::ReadAt;

/// Bytes per read of a stored file, the most that a slow client holds. A multiple of whole frames near 64 KiB: with 64
/// KiB exactly, every fifth frame had 36 bytes, and 100 MB cost 5 % more.
const PIECE_BYTES: u64 = 4 * engine::FRAME_BYTES as u64;

/// Reason of an aborted body. The connection or the stream is reset, so that a client cannot mistake the bytes sent so
/// far for the whole.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The backend's response was aborted.
    #[error(transparent)]
    Backend(#[from] proxy::Error),
    /// A stored file could not be read to the end.
    #[error("a stored file could not be read: {0}")]
    Store(std::io::Error),
}

/// Maximum bytes read of an unwanted body.
const UNWANTED_BYTES_MAX: usize = 1024 * 1024;
/// Maximum time for reading an unwanted body. A client that is answered while sending may miss the response if its
/// connection ends.
const UNWANTED_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest pause of an unwanted body before the client is answered without the rest.
const UNWANTED_REST_MAX: Duration = Duration::from_millis(100);

/// Outcome of an unwanted body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnreadBody {
    /// The body violates its framing (RFC 9112 §7.1).
    Malformed,
    /// The body has ended, or does not concern the connection.
    Over,
    /// The rest of the body is still to come: the connection cannot read a next request.
    Rewind,
}

/// Reads an unwanted HTTP/1.1 body as far as the bytes arrive without pause.
///
/// A client that waits for the response before sending the rest is answered soon, and a client that waits for `100
/// (Continue)` (`Expect`) at once. HTTP/2 frames bodies below requests: the protocol resets a broken stream itself, and
/// receives the rest of a body after the response.
pub(super) async fn pass_over<B>(request: &mut Request<B>) -> UnreadBody
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    if request.body().is_end_stream() || request.version() > HttpVersion::HTTP_11 {
        return UnreadBody::Over;
    }
    let awaits_word = request.headers().contains_key(EXPECT);
    let read = async {
        let mut bytes = 0;
        while bytes < UNWANTED_BYTES_MAX {
            let frame = std::future::poll_fn(|cx| Pin::new(request.body_mut()).poll_frame(cx));
            match timeout(UNWANTED_REST_MAX, frame).await {
                Ok(None) => return UnreadBody::Over,
                Ok(Some(Ok(frame))) => bytes += frame.data_ref().map_or(0, Bytes::len),
                Ok(Some(Err(_))) => return UnreadBody::Malformed,
                Err(_) => return UnreadBody::Rewind,
            }
        }
        UnreadBody::Rewind
    };
    match awaits_word {
        true => UnreadBody::Rewind,
        false => timeout(UNWANTED_TIME_MAX, read).await.unwrap_or(UnreadBody::Rewind),
    }
}

/// The body of a response.
pub struct Body(Kind);

enum Kind {
    Full(Option<Bytes>),
    Segments(Segments),
    Proxied(Pin<Box<ProxyBody>>),
    Paced(Box<Paced>),
}

/// One segment of a body.
enum Segment {
    Bytes(Bytes),
    Stored { next: u64, end: u64 },
}

struct Segments {
    file: Option<Arc<dyn ReadAt>>,
    queue: VecDeque<Segment>,
    left: u64,
    reading: Option<ReportLimits>,
}

/// A disk read in progress.
struct ReportLimits {
    length: usize,
    read: BoxFuture<'static, std::io::Result<Bytes>>,
}

impl Body {
    /// A body without bytes.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Kind::Full(None))
    }

    /// A body of `bytes`.
    #[must_use]
    pub fn full(bytes: Bytes) -> Self {
        Self(Kind::Full((!bytes.is_empty()).then_some(bytes)))
    }

    /// The response body of a backend.
    #[must_use]
    pub fn proxied(body: ProxyBody) -> Self {
        Self(Kind::Proxied(Box::pin(body)))
    }

    /// The body at the rate that the app may send.
    pub(super) fn paced(self, traffic: Arc<Traffic>) -> Self {
        if http_body::Body::is_end_stream(&self) {
            self
        } else {
            Self(Kind::Paced(Box::new(Paced::new(self, traffic))))
        }
    }

    /// A whole representation.
    pub(super) fn whole(source: &Source, size: u64) -> Self {
        match source {
            Source::Memory(bytes) => Self::full(bytes.clone()),
            Source::Stored(..) if size == 0 => Self::empty(),
            Source::Stored(..) => Self::span(source, (0, size - 1)),
        }
    }

    /// One span of a representation, both ends included.
    pub(super) fn span(source: &Source, span: Span) -> Self {
        match source {
            Source::Memory(bytes) => Self::full(slice(bytes, span)),
            Source::Stored(file, begin) => {
                Self::segments(Some(Arc::clone(file)), VecDeque::from([stored(*begin, span)]))
            }
        }
    }

    /// Several spans with their part heads.
    pub(super) fn parts(source: &Source, parts: &Multipart<'_>, spans: &[Span]) -> Self {
        let mut queue = VecDeque::with_capacity(spans.len() * 2 + 1);
        for (number, span) in spans.iter().enumerate() {
            queue.push_back(Segment::Bytes(parts.part_head(number == 0, *span).into()));
            queue.push_back(match source {
                Source::Memory(bytes) => Segment::Bytes(slice(bytes, *span)),
                Source::Stored(_, begin) => stored(*begin, *span),
            });
        }
        queue.push_back(Segment::Bytes(parts.end().into()));
        let file = match source {
            Source::Memory(_) => None,
            Source::Stored(file, _) => Some(Arc::clone(file)),
        };
        Self::segments(file, queue)
    }

    /// The whole body if in memory; otherwise the body itself.
    pub(super) fn at_hand(self) -> Result<Bytes, Self> {
        match self.0 {
            Kind::Full(bytes) => Ok(bytes.unwrap_or_default()),
            kind => Err(Self(kind)),
        }
    }

    fn segments(file: Option<Arc<dyn ReadAt>>, queue: VecDeque<Segment>) -> Self {
        let left = queue.iter().map(Segment::length).sum();
        Self(Kind::Segments(Segments { file, queue, left, reading: None }))
    }
}

fn slice(bytes: &Bytes, (first, last): Span) -> Bytes {
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let (first, end) = (at(first), at(last.saturating_add(1)));
    bytes.slice(first.min(end)..end)
}

/// A span of the content that starts at `begin` in its file.
const fn stored(begin: u64, (first, last): Span) -> Segment {
    Segment::Stored { next: begin.saturating_add(first), end: begin.saturating_add(last).saturating_add(1) }
}

impl Segment {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Self::Stored { next, end } => end.saturating_sub(*next),
        }
    }
}

impl Segments {
    /// The next piece, for which at most `bytes_max` bytes are read.
    fn poll_piece(&mut self, bytes_max: usize, context: &mut Context<'_>) -> Poll<Option<std::io::Result<Bytes>>> {
        if let Some(ReportLimits { read, .. }) = &mut self.reading {
            let read = ready!(read.as_mut().poll(context));
            self.reading = None;
            return Poll::Ready(Some(self.took(read)));
        }
        match self.queue.pop_front() {
            None => Poll::Ready(None),
            Some(Segment::Bytes(bytes)) => Poll::Ready(Some(self.took(Ok(bytes)))),
            Some(Segment::Stored { next, end }) => {
                let Some(file) = self.file.clone() else { return Poll::Ready(None) };
                let bytes_max = u64::try_from(bytes_max.max(1)).unwrap_or(u64::MAX);
                let length = PIECE_BYTES.min(bytes_max).min(end.saturating_sub(next));
                let after = next.saturating_add(length);
                if after < end {
                    self.queue.push_front(Segment::Stored { next: after, end });
                }
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                match file.read_cached(next, length) {
                    Ok(Some(bytes)) if bytes.len() == length => return Poll::Ready(Some(self.took(Ok(bytes)))),
                    Ok(_) => {}
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
                // A disk read may block, and the serving thread must not.
                let read = file.read_in_turn(next, length);
                let whole = read.map(move |read| match read {
                    Ok(bytes) if bytes.len() == length => Ok(bytes),
                    Ok(_) => Err(std::io::ErrorKind::UnexpectedEof.into()),
                    Err(error) => Err(error),
                });
                self.reading = Some(ReportLimits { length, read: Box::pin(whole) });
                self.poll_piece(0, context)
            }
        }
    }

    fn took(&mut self, piece: std::io::Result<Bytes>) -> std::io::Result<Bytes> {
        if let Ok(bytes) = &piece {
            self.left = self.left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        }
        piece
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.poll_some(usize::MAX, context)
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Full(bytes) => bytes.is_none(),
            Kind::Segments(segments) => segments.left == 0,
            Kind::Proxied(body) => body.is_end_stream(),
            Kind::Paced(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| u64::try_from(b.len()).unwrap_or(u64::MAX)))
            }
            Kind::Segments(segments) => SizeHint::with_exact(segments.left),
            Kind::Proxied(body) => body.size_hint(),
            Kind::Paced(body) => body.size_hint(),
        }
    }
}

impl ResponseBody for Body {
    fn poll_some(
        mut self: Pin<&mut Self>,
        bytes_max: usize,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.0 {
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Segments(segments) => {
                let piece = ready!(segments.poll_piece(bytes_max, context));
                Poll::Ready(piece.map(|piece| piece.map(Frame::data).map_err(Error::Store)))
            }
            Kind::Proxied(body) => body.as_mut().poll_some(bytes_max, context).map_err(Error::from),
            Kind::Paced(body) => Pin::new(&mut **body).poll_some(bytes_max, context),
        }
    }

    fn held_bytes(&self) -> usize {
        match &self.0 {
            Kind::Full(_) => 0,
            Kind::Segments(segments) => segments.reading.as_ref().map_or(0, |reading| reading.length),
            Kind::Proxied(body) => body.held_bytes(),
            Kind::Paced(body) => body.held_bytes(),
        }
    }

    fn is_shared(&self) -> bool {
        match &self.0 {
            Kind::Full(_) => true,
            Kind::Segments(segments) => segments.file.is_none(),
            Kind::Proxied(_) => false,
            Kind::Paced(body) => body.is_shared(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    use parking_lot::Mutex;

    struct Stored(Vec<u8>);

    impl ReadAt for Stored {
        fn read_at(&self, offset: u64, len: usize) -> std::io::Result<Bytes> {
            let from = usize::try_from(offset).unwrap().min(self.0.len());
            Ok(Bytes::copy_from_slice(&self.0[from..(from + len).min(self.0.len())]))
        }

        fn size(&self) -> u64 {
            self.0.len() as u64
        }
    }

    /// The same bytes in memory, in a file alone, and in a file with neighbours on both sides.
    fn everywhere(length: usize) -> (Vec<u8>, [Source; 3]) {
        let bytes: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let among_others = [b"before", &*bytes, b"after"].concat();
        let sources = [
            Source::Memory(bytes.clone().into()),
            Source::Stored(Arc::new(Stored(bytes.clone())), 0),
            Source::Stored(Arc::new(Stored(among_others)), 6),
        ];
        (bytes, sources)
    }

    async fn collected(body: Body) -> Vec<u8> {
        let hint = http_body::Body::size_hint(&body).exact().unwrap();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        assert_eq!(hint, bytes.len() as u64);
        bytes
    }

    #[tokio::test]
    async fn memory_and_store_give_the_same_bytes() {
        let piece = usize::try_from(PIECE_BYTES).unwrap();
        for length in [0, 1, 1_000, piece - 1, piece, piece + 1, 64 * 1024, 64 * 1024 + 1, 2 * piece, 400_000] {
            let (bytes, sources) = everywhere(length);
            for source in &sources {
                assert_eq!(collected(Body::whole(source, length as u64)).await, bytes);
                if length > 2 {
                    assert_eq!(collected(Body::span(source, (1, length as u64 - 2))).await, bytes[1..length - 1]);
                }
            }
        }
    }

    #[tokio::test]
    async fn parts_have_the_length_that_was_announced() {
        let (bytes, sources) = everywhere(300_000);
        let parts = Multipart { boundary: "b", content_type: "text/plain", length: 300_000 };
        let spans = [(0, 9), (200_000, 299_999)];
        for source in &sources {
            let sent = collected(Body::parts(source, &parts, &spans)).await;
            assert_eq!(sent.len() as u64, parts.body_bytes(&spans));
            assert!(sent.windows(10).any(|w| w == &bytes[0..10]));
        }
    }

    /// A file with every other piece in memory.
    struct Patchy {
        whole: Stored,
        waited: Mutex<Vec<(u64, usize)>>,
    }

    impl ReadAt for Patchy {
        fn read_at(&self, offset: u64, len: usize) -> std::io::Result<Bytes> {
            self.waited.lock().push((offset, len));
            self.whole.read_at(offset, len)
        }

        fn read_cached(&self, offset: u64, len: usize) -> std::io::Result<Option<Bytes>> {
            let is_there = (offset / PIECE_BYTES).is_multiple_of(2);
            is_there.then(|| self.whole.read_at(offset, len)).transpose()
        }

        fn size(&self) -> u64 {
            self.whole.size()
        }
    }

    #[tokio::test]
    async fn a_piece_that_is_in_memory_is_not_waited_for_and_what_is_skipped_is_not_read() {
        let (bytes, _) = everywhere(400_000);
        let file = Arc::new(Patchy { whole: Stored(bytes.clone()), waited: Mutex::default() });
        let source = Source::Stored(Arc::<Patchy>::clone(&file), 0);
        let span = (PIECE_BYTES, 4 * PIECE_BYTES + 9);
        let [piece, last] = [span.0, span.1].map(|place| usize::try_from(place).unwrap());
        assert_eq!(collected(Body::span(&source, span)).await, bytes[piece..=last]);
        assert_eq!(*file.waited.lock(), [(PIECE_BYTES, piece), (3 * PIECE_BYTES, piece)]);
    }

    #[tokio::test]
    async fn a_file_that_ends_early_breaks_the_body_off() {
        let source = Source::Stored(Arc::new(Stored(vec![1; 10])), 0);
        assert!(Body::whole(&source, 11).collect().await.is_err());
    }
}
