//! HTTP without sockets: bytes in, bytes out. Frames, HPACK, QPACK, flow control, the heads of all protocols, and their
//! limits.
//!
//! A connection is a state machine. The driver (`listen`) passes received plaintext to `receive`, and a [`Sink`] with
//! room for output to `produce`; each call carries the time. A [`Service`] answers the requests: at once with an
//! [`Answer`] whose head was prepared long before, or later with a future that the connection polls. The crate has no
//! socket, TLS, clock, file or app, so crates that prepare and decide answers may use the crate although it serves
//! above them.
//!
//! * [`fields`], [`request`]: what came, as it is read by who decides;
//! * [`answer`]: what is answered, prepared for all protocols; [`body`]: bodies that are polled as they are sent;
//! * [`hpack`]: fields as HTTP/2 writes them (RFC 7541); [`qpack`]: as HTTP/3 does (RFC 9204); [`field_coding`]: what
//!   both have in common;
//! * [`http2`]: the connection of RFC 9113; [`http3`]: that of RFC 9114, above a transport that has streams;
//! * [`http1`]: the connection of RFC 9112; [`chunks`]: bodies in chunks, of requests and of the responses of backends;
//! * `message`: a field block as a head or trailers; `response`: the response to a request, as it is awaited and sent;
//! * `streams`: the streams of a connection, and whose turn it is; `share`: what is read ahead of the peer; `clocks`:
//!   what is too slow; `wakes`: which were woken;
//! * `flood`, `linger`, `drain`: budgets of what costs a peer nothing, requests that outlast their responses, and the
//!   state of a drain;
//! * [`inbound`]: the body of a request, for those that are not answered at once;
//! * [`under_way`]: what is under way, by kind, for the drain;
//! * [`upgrade`]: the stream of a connection that switches to another protocol;
//! * [`sink`]: output of HTTP/1.1 and HTTP/2; [`stream_sink`]: output of HTTP/3.

pub mod answer;
pub mod body;
pub mod chunks;
mod clocks;
mod drain;
mod ended;
pub mod field_coding;
pub mod fields;
mod flood;
pub mod hpack;
pub mod http1;
pub mod http2;
pub mod http3;
pub mod inbound;
pub mod limits;
mod linger;
mod message;
#[cfg(test)]
mod properties;
pub mod qpack;
pub mod request;
mod response;
mod share;
pub mod sink;
pub mod stream_sink;
mod streams;
#[cfg(test)]
mod tests;
pub mod under_way;
pub mod upgrade;
mod wakes;

use std::pin::Pin;
use std::task::Waker;
use std::time::Instant;

pub use answer::{Answer, AnswerBody, AnswerHead, PreparedHead, SharedField, SharedFields, announced_length};
pub use body::{ResponseBody, stream_body};
pub use ended::Cause;
pub use fields::{Fields, Lines, Name, Names};
pub use inbound::Inbound;
pub use limits::Limits;
pub use request::RequestHead;
pub use sink::Sink;
pub use stream_sink::StreamSink;
pub use under_way::{Kinds, UnderWay};
pub use upgrade::{OnUpgrade, UpgradeSender, UpgradedStream};

/// Bytes of a body that fill one frame of HTTP/2: pieces of a multiple leave no short frame behind.
pub const FRAME_BYTES: usize = http2::DATA_BYTES_MAX;

/// Error that ended the body of a response early.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Response body that is not in memory as a whole. The connection polls the body on the stream's turn, and no further
/// ahead than the peer reads.
pub type StreamBody = Pin<Box<dyn ResponseBody<Error = BodyError>>>;

/// Future of a response. Dropped when the peer cancels the request or disconnects.
pub type Answering = Pin<Box<dyn Future<Output = http::Response<StreamBody>>>>;

/// Answers the requests of one connection.
pub trait Service {
    /// Receives the progress of sending an answer.
    type Outcome: Outcome;
    /// Decision about a request that cannot be answered at once.
    type Pending;

    /// Answers a request at once if the head suffices and no waiting is needed, and returns the result of `put` for the
    /// answer; all other requests go to [`Service::begin`] with the decision made here. Never called for requests with
    /// a body. `now` is the time of the turn in which the request arrived, so measurements need no other clock.
    ///
    /// An answer has some hundred bytes with freshly written fields, so the answer is built in the place that `put`
    /// provides and never moved.
    fn answer<R>(
        &self,
        request: &RequestHead<'_>,
        now: Instant,
        put: impl FnOnce(Answer<Self::Outcome>) -> R,
    ) -> Answered<R, Self::Pending>;

    /// Ends a batch of requests that arrived together: lookups shared within the batch must not be kept for later
    /// requests.
    fn end_of_batch(&self);

    /// Begins to answer a request that [`Service::answer`] left open, with the decision, or with `None` if `answer` was
    /// not called.
    fn begin(&self, request: http::Request<Inbound>, pending: Option<Self::Pending>) -> Answering;

    /// Reports that the engine answered a request with `status`, since the request was unreadable or too large.
    fn note_refusal(&self, version: http::Version, status: http::StatusCode) {
        let _ = (version, status);
    }

    /// Takes the interim responses (RFC 9110 §15.2) to the awaited request, in the wire format of HTTP/1.1. `waker` is
    /// woken when more are ready.
    fn interim(&self, waker: &Waker) -> Option<Vec<u8>> {
        let _ = waker;
        None
    }
}

/// Result of [`Service::answer`].
#[derive(Debug)]
pub enum Answered<R, P> {
    /// The request is answered; holds the result of `put`.
    Now(R),
    /// The request waits; holds the decision, so that each request is decided once.
    Later(P),
}

impl<R, P> Answered<R, P> {
    /// Returns the result of an immediate answer.
    pub fn now(self) -> Option<R> {
        match self {
            Self::Now(result) => Some(result),
            Self::Later(_) => None,
        }
    }
}

impl<R> From<Option<R>> for Answered<R, ()> {
    /// For a service that decides nothing before `begin`.
    fn from(answered: Option<R>) -> Self {
        answered.map_or(Self::Later(()), Self::Now)
    }
}

/// Receives the progress of sending one answer; dropped at the end, successful or not.
pub trait Outcome {
    /// Reports that `bytes` of the body were handed over for sending.
    fn sent(&mut self, bytes: usize);

    /// Reports that the last byte was handed over, in a turn at `now`.
    fn complete(&mut self, now: Instant);

    /// Returns true if a body in memory may be kept for this answer alone, since the source was replaced meanwhile.
    fn pins_body(&self) -> bool {
        false
    }
}

/// Passed to a connection with every call, since a connection has no clock.
pub struct Turn<'t> {
    /// Current time.
    pub now: Instant,
    /// Field `date` of this second; keeps one id until the second is over.
    pub date: &'t SharedField,
    /// Buffers of the thread, valid within one call.
    pub scratch: &'t mut Scratch,
}

/// Buffers that all connections of a thread use in turn: their content has no meaning after a call.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Fields of the request being read.
    pub lines: Lines,
    /// Head being written.
    pub block: Vec<u8>,
    /// Decoder of HTTP/3.
    qpack: qpack::Decoder,
    /// Head that was read last, of any connection.
    read: message::LastRead,
}
