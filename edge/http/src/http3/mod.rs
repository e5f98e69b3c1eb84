//! HTTP/3 connection (RFC 9114), server side, without QUIC: bytes of streams in, bytes of streams out.
//!
//! The transport provides streams, stream windows and byte order, which HTTP/2 implements itself. So a request is a
//! stream from the first byte to the last, and streams take turns of a few frames. QPACK is used without the dynamic
//! table, so that no stream waits for another stream.
//!
//! * `frame`: frames as bytes, and error codes; `reader`: the frames of one stream; `settings`: SETTINGS;
//! * `input`: bytes to frames, and frames of requests; `control`: the peer's unidirectional streams; `dispatch`: from a
//!   head to an answer, or a stream;
//! * `streams`: requests with bytes still to receive or to send;
//! * `discard`: the rest of requests whose answers are complete;
//! * `output`: the order of output; `turn`: one turn of one stream; `response_head`: heads of answers;
//! * `share`: read-ahead of response bodies;
//! * `time`: the steps of the connection's end, and slow streams.
//!
//! Code shared with HTTP/2 is beside this module: reading heads, responses, the table of streams and their turns, flood
//! budgets, read-ahead, lingering requests, slow streams, and the state of a drain.

mod control;
mod discard;
mod dispatch;
mod frame;
mod input;
mod output;
mod reader;
mod response_head;
mod settings;
mod share;
mod streams;
mod time;
mod turn;

#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::task::Context;
use std::time::Instant;

use self::control::Unidirectional;
pub use self::frame::Code;
use self::output::Action;
#[cfg(test)]
use self::streams::Stream;
use self::streams::{Opening, Streams};
use super::clocks::earlier;
use super::drain::Drain;
use super::flood::Floods;
use super::limits::Limits;
use super::linger::Lingering;
use super::stream_sink::StreamSink;
use super::{Service, Turn};

/// Control stream of this end, and the only stream opened: the first unidirectional stream of a server (RFC 9000 §2.1).
pub const CONTROL_STREAM: u64 = 3;

/// HTTP/3 connection.
pub struct Connection<S: Service> {
    service: S,
    limits: Rc<Limits>,
    /// Error code with which the connection ended.
    end: Option<Code>,
    /// Unidirectional streams of the peer.
    unidirectional: Unidirectional,
    /// Pending bytes of the control stream.
    control: Vec<u8>,
    /// Pending stream operations without bytes.
    actions: Vec<Action>,
    /// Requests with an incomplete head, sorted by stream number.
    openings: Vec<Opening>,
    /// Request streams without a first byte, and the time since which the byte is awaited.
    unbegun: Vec<(u64, Instant)>,
    streams: Streams<S::Outcome>,
    /// Streams with a complete response and an incomplete request.
    lingering: Lingering<u64, ()>,
    /// Bytes of all request bodies waiting for their readers.
    unread: usize,
    /// True if streams were held back, because of their own unread bytes or the bytes of all streams.
    is_held_back: bool,
    /// True if uploads had no room and have room again: their clocks restart.
    upload_reopened: bool,
    floods: Floods,
    /// Lowest stream number above all accepted streams.
    first_untaken: u64,
    requests: u64,
    drain: Drain<u64>,
    /// Time before which no stream can be too slow.
    next_check: Option<Instant>,
    /// True if memory is scarce: read-ahead is kept to a minimum.
    is_tight: bool,
}

/// Next action for the driver after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The connection continues.
    Open,
    /// The driver closes the connection with the code: for [`Code::None`] once the peer has acknowledged all output,
    /// otherwise at once.
    Over(Code),
}

impl<S: Service> Connection<S> {
    /// Begins a connection. The first output, on [`CONTROL_STREAM`], is this end's SETTINGS.
    pub fn new(limits: Rc<Limits>, service: S) -> Self {
        let mut control = Vec::new();
        frame::write_number(&mut control, frame::stream_type::CONTROL);
        settings::write_own(&mut control, &limits);
        Self {
            service,
            end: None,
            unidirectional: Unidirectional::default(),
            control,
            actions: Vec::new(),
            openings: Vec::new(),
            unbegun: Vec::new(),
            streams: Streams::new(),
            lingering: Lingering::new(),
            unread: 0,
            is_held_back: false,
            upload_reopened: false,
            floods: Floods::new(&limits),
            first_untaken: 0,
            requests: 0,
            drain: Drain::No,
            next_check: None,
            is_tight: false,
            limits,
        }
    }

    /// Consumes all received bytes of a stream, in order and in pieces of any size; `ends` marks the last piece, which
    /// may be empty. A known end must be passed together with the last bytes: then a request without a body is
    /// recognised as complete. Not to be called for a stream after the end, or after this end asked the peer to stop.
    pub fn receive(&mut self, stream: u64, bytes: &[u8], ends: bool, turn: &mut Turn<'_>) {
        self.take_bytes(stream, bytes, ends, turn);
    }

    /// Reports a stream opened by the peer without a first byte, even if later bytes arrived. May be called repeatedly;
    /// the head must be complete in the same time as a begun head.
    pub fn await_first_byte(&mut self, stream: u64, turn: &Turn<'_>) {
        self.await_head(stream, turn.now);
    }

    /// Returns true if more input is welcome on any stream: replies caused by earlier input must not grow without
    /// bound.
    pub fn wants_input(&self) -> bool {
        self.takes_more()
    }

    /// Reports that the peer abandoned sending on a stream (RESET_STREAM, RFC 9000 §19.4).
    pub fn peer_reset(&mut self, stream: u64, turn: &mut Turn<'_>) {
        self.take_reset(stream, turn.now);
    }

    /// Reports that the peer no longer reads a stream (STOP_SENDING, RFC 9000 §19.5).
    pub fn peer_stop(&mut self, stream: u64, turn: &mut Turn<'_>) {
        self.take_stop(stream, turn.now);
    }

    /// Reports that the transport takes bytes of a stream again.
    pub fn writable(&mut self, stream: u64) {
        self.streams.queue(stream);
    }

    /// Ends a batch of input that arrived together: lookups shared within the batch must not be kept for later
    /// requests.
    pub fn end_of_batch(&mut self) {
        self.service.end_of_batch();
    }

    /// Returns the number of further bytes welcome on a stream. The transport's windows bound further input: without
    /// room, the driver must not read from the transport until [`StreamSink::resume`].
    pub fn room(&mut self, stream: u64) -> usize {
        self.upload_room(stream)
    }

    /// Writes output while the sink has room, and polls awaited responses; `cx` is woken when more is ready.
    pub fn produce(&mut self, sink: &mut impl StreamSink, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> State {
        self.put_due(sink, turn, cx)
    }

    /// Replaces [`Connection::produce`] while the transport has no room at all: polls awaited responses (and keeps
    /// their heads), counts reads of uploads, and advances clocks. Writes nothing and polls no body; wakes `cx` as
    /// `produce` does.
    pub fn tend(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) {
        self.end_of_batch();
        self.tend_streams(turn.now, cx);
    }

    /// Starts a graceful shutdown: open streams, and streams about to be opened, are answered (RFC 9114 §5.2). The next
    /// [`Connection::produce`] announces the shutdown.
    pub fn drain(&mut self) {
        self.drain.request();
    }

    /// Returns the time for a call of [`Connection::produce`] even without events: by then a stream or a body may be
    /// too slow.
    pub fn deadline(&self) -> Option<Instant> {
        earlier(self.drain.deadline(), self.next_check)
    }

    /// Returns the number of requests begun so far.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Returns the number of requests whose answer is not completely written, or whose body is still being received.
    pub fn in_flight(&self) -> usize {
        self.openings.len() + self.streams.len() + self.lingering.len()
    }

    /// Returns the heap bytes of the connection.
    #[cfg(test)]
    fn held_bytes(&self) -> usize {
        let openings = self.openings.iter().map(|opening| opening.reader.held_bytes()).sum::<usize>();
        self.unidirectional.held_bytes()
            + self.control.capacity()
            + self.actions.capacity() * size_of::<Action>()
            + self.openings.capacity() * size_of::<Opening>()
            + self.unbegun.capacity() * size_of::<(u64, Instant)>()
            + openings
            + self.streams.memory(Stream::own_bytes)
            + self.lingering.held_bytes()
    }
}
