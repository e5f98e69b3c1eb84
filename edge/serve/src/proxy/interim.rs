//! Interim answers of backends, such as 103 (RFC 9110, section 15.2), on their way to a client of HTTP/1.1.
//!
//! They are for the one request that is under way, before its answer has begun, and are put between two messages. What
//! is more than a few is left out: they are advice.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use http::header::{self, HeaderMap, HeaderName};
use http::{Request, StatusCode};
use parking_lot::Mutex;

use super::headers;

/// Most interim answers that are passed on for one request.
const INTERIMS_MAX: usize = 16;
/// Most bytes of them that wait to be written.
const HELD_BYTES_MAX: usize = 32 * 1024;
/// Fields that frame a message, or that make browsers remember something: the edge looks at that in the final answer
/// alone.
const WITHHELD: [HeaderName; 9] = [
    header::ALT_SVC,
    header::CONTENT_LENGTH,
    header::SET_COOKIE,
    header::STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("nel"),
    HeaderName::from_static("public-key-pins"),
    HeaderName::from_static("report-to"),
    HeaderName::from_static("set-cookie2"),
];

/// The interim answers of one connection: between its stream, which writes them, and the request that is under way.
#[derive(Debug, Default)]
pub struct Interim {
    /// Whether there is something to write.
    is_held: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: Vec<u8>,
    /// Number that may follow.
    left: usize,
    /// The request for which they are passed; odd while there is one.
    turn: u64,
    waker: Option<Waker>,
}

/// Passes interim answers on while its request has no answer, which is while it lives.
#[derive(Debug)]
pub struct Passing {
    interim: Arc<Interim>,
    turn: u64,
}

impl Interim {
    /// A request of this connection is under way, and its answer has not begun.
    #[must_use]
    pub fn open(self: &Arc<Self>) -> Passing {
        let mut state = self.state.lock();
        state.turn = state.turn.wrapping_add(1) | 1;
        state.left = INTERIMS_MAX;
        Passing { interim: Arc::clone(self), turn: state.turn }
    }

    /// Whom to wake when there is something to write.
    pub fn set_waker(&self, waker: &Waker) {
        self.state.lock().waker = Some(waker.clone());
    }

    /// The bytes to write before anything else.
    pub fn take(&self) -> Option<Vec<u8>> {
        if !self.is_held.load(Ordering::Relaxed) {
            return None;
        }
        self.is_held.store(false, Ordering::Relaxed);
        Some(std::mem::take(&mut self.state.lock().held))
    }

    fn pass(&self, turn: u64, status: StatusCode, fields: &HeaderMap) {
        // 100 is between each pair of programs, and 101 is no interim answer to an upgrade.
        let is_own = matches!(status, StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS);
        let mut state = self.state.lock();
        if is_own || !status.is_informational() || state.turn != turn || state.left == 0 {
            return;
        }
        state.left -= 1;
        let bytes = written(status, fields);
        if state.held.len() + bytes.len() > HELD_BYTES_MAX {
            return;
        }
        state.held.extend_from_slice(&bytes);
        self.is_held.store(true, Ordering::Relaxed);
        if let Some(waker) = &state.waker {
            waker.wake_by_ref();
        }
    }
}

impl Passing {
    /// Passes an interim answer on.
    pub(crate) fn pass(&self, status: StatusCode, fields: &HeaderMap) {
        self.interim.pass(self.turn, status, fields);
    }

    /// Has hyper pass on the interim answers to `request`, which is about to be sent to a backend.
    pub(crate) fn hear<B>(&self, request: &mut Request<B>) {
        let (interim, turn) = (Arc::clone(&self.interim), self.turn);
        hyper::ext::on_informational(request, move |answer| interim.pass(turn, answer.status(), answer.headers()));
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let mut state = self.interim.state.lock();
        if state.turn == self.turn {
            state.turn = state.turn.wrapping_add(1);
        }
    }
}

/// The answer as it stands on the wire: without what belongs to the backend's connection.
fn written(status: StatusCode, fields: &HeaderMap) -> Vec<u8> {
    let mut fields = fields.clone();
    headers::answer(&mut fields, false);
    for name in WITHHELD {
        fields.remove(name);
    }
    let mut line = String::new();
    // Writing to a string cannot fail.
    write!(line, "HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or_default())
        .unwrap_or_default();
    let mut bytes = line.into_bytes();
    for (name, value) in &fields {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINTS: StatusCode = StatusCode::EARLY_HINTS;

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_for_the_request_that_is_under_way() {
        let interim = Arc::<Interim>::default();
        let first = interim.open();
        for status in [StatusCode::CONTINUE, StatusCode::SWITCHING_PROTOCOLS, StatusCode::OK] {
            interim.pass(first.turn, status, &fields(&[]));
            assert_eq!(interim.take(), None, "{status}");
        }
        interim.pass(
            first.turn,
            HINTS,
            &fields(&[("link", "</a.css>"), ("set-cookie", "a=1"), ("connection", "close")]),
        );
        assert_eq!(interim.take().unwrap(), b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
        assert_eq!(interim.take(), None);
        let turn = first.turn;
        drop(first);
        interim.pass(turn, HINTS, &fields(&[]));
        let second = interim.open();
        interim.pass(turn, HINTS, &fields(&[]));
        assert_eq!(interim.take(), None, "the first request has its answer");
        for _ in 0..2 * INTERIMS_MAX {
            interim.pass(second.turn, StatusCode::PROCESSING, &fields(&[]));
        }
        let all = b"HTTP/1.1 102 Processing\r\n\r\n".repeat(INTERIMS_MAX);
        assert_eq!(interim.take().unwrap(), all);
    }
}
