//! HTTP without sockets: bytes in, bytes out. Frames, HPACK, QPACK, flow control, heads of all protocols, and their
//! limits.
//!
//! A connection is a state machine. Its driver (the room `listen`) gives it the plaintext that came
//! (`receive`), and a [`Sink`] with room for what is to be sent (`produce`); time comes in with each turn. What a
//! request is answered with, a [`Service`] says: at once with an [`Answer`] whose head was prepared long before, or in
//! a while with a future that is polled where the connection is. Nothing here knows a socket, TLS, a clock, a file or
//! an app; so the rooms that prepare answers and decide them may use it, although it serves above them.
//!
//! * [`fields`], [`request`]: what came, as it is read by who decides;
//! * [`answer`]: what is answered, prepared for all protocols; [`body`]: bodies that are polled as they are sent;
//! * [`hpack`]: fields as HTTP/2 writes them (RFC 7541); [`qpack`]: as HTTP/3 does (RFC 9204); [`field_coding`]: what
//!   both have in common;
//! * [`http2`]: the connection of RFC 9113; [`http3`]: that of RFC 9114, above a transport that has streams;
//! * [`http1`]: plain requests of RFC 9112; all others are handed over with the connection; [`chunks`]: bodies in
//!   chunks, of requests and of the responses of backends;
//! * `message`: a field block as a head or trailers; `response`: the response to a request, as it is awaited and sent;
//! * `streams`: the streams of a connection, and whose turn it is; `share`: what is read ahead of the peer; `clocks`:
//!   what is too slow; `wakes`: which were woken;
//! * `flood`, `linger`, `drain`: budgets of what costs a peer nothing, requests that outlast their responses, and the
//!   state of a drain;
//! * [`inbound`]: the body of a request, for those that are not answered at once;
//! * [`under_way`]: what is under way, by kind, for the drain;
//! * [`upgrade`]: the stream of a connection that switches to another protocol;
//! * [`sink`]: where bytes go; [`stream_sink`]: where they go in HTTP/3.

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

/// Bytes of a body that fill one frame of HTTP/2: pieces of a multiple of it leave no short frame behind.
pub const FRAME_BYTES: usize = http2::DATA_BYTES_MAX;

/// Why the body of a response broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a response that is not at hand as a whole. Polled by the connection as its turn comes, and no further
/// ahead than the peer takes it.
pub type StreamBody = Pin<Box<dyn ResponseBody<Error = BodyError>>>;

/// A response that is awaited. Dropped when the peer takes its request back, or is gone.
pub type Answering = Pin<Box<dyn Future<Output = http::Response<StreamBody>>>>;

/// Answers the requests of one connection.
pub trait Service {
    /// Receives how the sending of an answer went.
    type Outcome: Outcome;
    /// The decision about a request that cannot be answered at once.
    type Pending;

    /// Answers at once what needs no waiting and nothing but the head, and gives what `put` makes of the answer; all
    /// else is for [`Service::begin`], with what was decided here. Requests with a body are never asked about here.
    /// `now` is the time of the turn in which the request came, for who measures; no other clock need be read.
    ///
    /// An answer is some hundred bytes, and its fields were just written: so it is made where `put` wants it, and not
    /// moved from hand to hand.
    fn answer<R>(
        &self,
        request: &RequestHead<'_>,
        now: Instant,
        put: impl FnOnce(Answer<Self::Outcome>) -> R,
    ) -> Answered<R, Self::Pending>;

    /// Ends a batch of requests that arrived together: what was found out for one of them and holds for the
    /// others is not to be kept for later ones.
    fn end_of_batch(&self);

    /// Begins to answer a request that [`Service::answer`] did not: with its decision, or without one where it was not
    /// asked.
    fn begin(&self, request: http::Request<Inbound>, pending: Option<Self::Pending>) -> Answering;

    /// Receives that the engine answered a request itself, with this status: it could not be read, or is larger than it
    /// may be.
    fn note_refusal(&self, version: http::Version, status: http::StatusCode) {
        let _ = (version, status);
    }

    /// Takes the interim responses (RFC 9110 §15.2) to the request that is awaited, as they stand on the wire of
    /// HTTP/1.1. `waker` is woken when there are more.
    fn interim(&self, waker: &Waker) -> Option<Vec<u8>> {
        let _ = waker;
        None
    }
}

/// The result of [`Service::answer`].
#[derive(Debug)]
pub enum Answered<R, P> {
    /// The request is answered, and this was made of the answer.
    Now(R),
    /// The request waits, with what was decided about it: it is decided once.
    Later(P),
}

impl<R, P> Answered<R, P> {
    /// The result of an answer at once.
    pub fn now(self) -> Option<R> {
        match self {
            Self::Now(result) => Some(result),
            Self::Later(_) => None,
        }
    }
}

impl<R> From<Option<R>> for Answered<R, ()> {
    /// For a service that decides nothing before it begins.
    fn from(answered: Option<R>) -> Self {
        answered.map_or(Self::Later(()), Self::Now)
    }
}

/// Receives how the sending of one answer goes; dropped when it is over, however it ended.
pub trait Outcome {
    /// So many bytes of the body were handed over to be sent.
    fn sent(&mut self, bytes: usize);

    /// The last byte was, in a turn of that time.
    fn complete(&mut self, now: Instant);

    /// Whether a body at hand may be in memory for this answer alone: what it is of was replaced meanwhile.
    fn pins_body(&self) -> bool {
        false
    }
}

/// Passed to a connection with every call: it has no clock of its own.
pub struct Turn<'t> {
    /// The time.
    pub now: Instant,
    /// The field `date` of this second; of one id until the second is over.
    pub date: &'t SharedField,
    /// Buffers of the thread, used within a call alone.
    pub scratch: &'t mut Scratch,
}

/// Buffers that all connections of a thread use in turn: what is in them after a call is of no use.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The fields of the request that is being read.
    pub lines: Lines,
    /// The head that is being written.
    pub block: Vec<u8>,
    /// The decoder of HTTP/3.
    qpack: qpack::Decoder,
    /// The head that was read last, of any connection.
    read: message::LastRead,
}
