//! The client's request body on the way to the backend: frames are polled as the backend accepts more.

use std::cell::RefCell;
use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderName;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;

use super::progress::{Progress, Upload};
use super::trailers;
use devanture_http::inbound::Broken;

/// Maximum number of bytes of a request body buffered for a repetition of a safe request.
pub(crate) const REPLAY_BYTES_MAX: usize = 64 * 1024;

/// Reason to reject a request with a malformed body.
pub(crate) const MALFORMED: &str = "its body is malformed";

type BoxError = Box<dyn StdError + Send + Sync>;

/// The client's body, counted, and buffered up to a limit: bytes sent to a failed backend can be sent again.
pub(crate) struct Original(Option<Rc<RefCell<Source>>>);

/// The client's body for one attempt.
pub(crate) struct RequestBody {
    source: Option<Rc<RefCell<Source>>>,
    /// Number of replayed buffered pieces.
    given: usize,
    progress: Rc<Progress>,
}

/// The source of a request body, independent of the backend.
struct Source {
    inner: Option<Pin<Box<dyn Body<Data = Bytes, Error = BoxError>>>>,
    /// True once a part has arrived.
    is_begun: bool,
    /// Number of bytes still allowed.
    left: u64,
    /// The bytes so far, while few enough.
    remembered: Option<Vec<Bytes>>,
    remembered_bytes: usize,
    /// Fields forbidden in the trailers of the request, besides the generally forbidden fields.
    dropped: Vec<HeaderName>,
}

/// Error of a broken request body; the reason is in the exchange's [`Progress`].
#[derive(Debug, thiserror::Error)]
#[error("the request's body broke off")]
pub(crate) struct BrokenOff;

impl Source {
    fn remember(&mut self, frame: &Frame<Bytes>) {
        let Some(remembered) = &mut self.remembered else { return };
        match frame.data_ref() {
            Some(data) if self.remembered_bytes + data.len() <= REPLAY_BYTES_MAX => {
                self.remembered_bytes += data.len();
                remembered.push(data.clone());
            }
            // Trailers occur once.
            _ => self.remembered = None,
        }
    }

    fn piece(&self, number: usize) -> Option<Bytes> {
        self.remembered.as_ref()?.get(number).cloned()
    }

    fn is_over(&self) -> bool {
        self.inner.as_ref().is_none_or(|inner| inner.is_end_stream())
    }
}

impl Original {
    /// Wraps `body`: at most `bytes_max` bytes pass, the bytes are buffered if the body `may_be_sent_again`, and the
    /// fields `dropped` are removed from the trailers.
    pub(crate) fn new<B>(body: B, bytes_max: u64, may_be_sent_again: bool, dropped: Vec<HeaderName>) -> Self
    where
        B: Body<Data = Bytes> + 'static,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return Self::empty();
        }
        let inner: Pin<Box<dyn Body<Data = Bytes, Error = BoxError>>> = Box::pin(body.map_err(Into::into));
        let remembered = may_be_sent_again.then(Vec::new);
        let inner = Some(inner);
        let source = Source { inner, is_begun: false, left: bytes_max, remembered, remembered_bytes: 0, dropped };
        Self(Some(Rc::new(RefCell::new(source))))
    }

    pub(crate) const fn empty() -> Self {
        Self(None)
    }

    /// Returns the body from its beginning, if complete.
    pub(crate) fn body(&self) -> RequestBody {
        let upload = if self.0.is_some() { Upload::Running } else { Upload::Done };
        RequestBody { source: self.0.clone(), given: 0, progress: Rc::new(Progress::new(upload)) }
    }

    /// Returns true if all received bytes are buffered.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.as_ref().is_none_or(|source| {
            let source = source.borrow();
            source.remembered.is_some() || !source.is_begun
        })
    }
}

impl RequestBody {
    pub(crate) fn progress(&self) -> Rc<Progress> {
        Rc::clone(&self.progress)
    }

    fn break_off(&mut self, why: Upload) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(source) = self.source.take() {
            source.borrow_mut().inner = None;
        }
        self.progress.set_upload(why);
        Poll::Ready(Some(Err(BrokenOff)))
    }

    fn end(&mut self) {
        self.source = None;
        self.progress.set_upload(Upload::Done);
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = &mut *self;
        let Some(shared) = this.source.clone() else { return Poll::Ready(None) };
        let mut source = shared.borrow_mut();
        if let Some(piece) = source.piece(this.given) {
            this.given += 1;
            this.progress.note();
            let is_last = source.piece(this.given).is_none() && source.is_over();
            drop(source);
            if is_last {
                this.end();
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let Some(inner) = &mut source.inner else {
            drop(source);
            this.end();
            return Poll::Ready(None);
        };
        let Poll::Ready(item) = inner.as_mut().poll_frame(context) else {
            this.progress.set_upload(Upload::Waiting);
            return Poll::Pending;
        };
        this.progress.note();
        source.is_begun = true;
        let mut frame = match item {
            None => {
                source.inner = None;
                drop(source);
                this.end();
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "a client broke off its request's body");
                drop(source);
                return this.break_off(why_broken(&error));
            }
            Some(Ok(frame)) => frame,
        };
        let length = u64::try_from(frame.data_ref().map_or(0, Bytes::len)).unwrap_or(u64::MAX);
        match source.left.checked_sub(length) {
            Some(left) => source.left = left,
            None => {
                drop(source);
                return this.break_off(Upload::TooLarge);
            }
        }
        if let Some(trailers) = frame.trailers_mut() {
            trailers::filter(trailers, &source.dropped);
        }
        source.remember(&frame);
        this.given += 1;
        // The body may not be polled again after the last frame, so the end is recorded with the frame.
        let at_end = frame.is_trailers() || source.is_over();
        if at_end {
            source.inner = None;
        }
        drop(source);
        if at_end {
            this.end();
        } else {
            this.progress.set_upload(Upload::Running);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let Some(source) = &self.source else { return SizeHint::with_exact(0) };
        let source = source.borrow();
        let rest = source.remembered.iter().flatten().skip(self.given).map(Bytes::len).sum::<usize>();
        let rest = u64::try_from(rest).unwrap_or(u64::MAX);
        let inner = source.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), |inner| inner.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

/// Returns the reason of a broken request body.
///
/// hyper reports undecodable bodies as invalid input or data (RFC 9112 §7.1), and a closed or broken connection by
/// other kinds; but data that TLS cannot decrypt has no sender who could get a response.
fn why_broken(error: &BoxError) -> Upload {
    match error.downcast_ref() {
        Some(Broken::Slow) => return Upload::TooSlow,
        Some(Broken::Malformed) => return Upload::Malformed,
        Some(Broken::Gone) => return Upload::BrokenOff,
        None => {}
    }
    let io = error.downcast_ref::<hyper::Error>().and_then(StdError::source).and_then(|source| source.downcast_ref());
    let is_malformed = io.is_some_and(|io: &io::Error| {
        let is_of_tls = io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) && !is_of_tls
    });
    if is_malformed { Upload::Malformed } else { Upload::BrokenOff }
}

#[cfg(test)]
mod tests;
