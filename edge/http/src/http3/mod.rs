//! A connection of HTTP/3 (RFC 9114), as a server, without QUIC: bytes of streams in, bytes of streams out.
//!
//! The transport has what HTTP/2 has of its own: streams, their windows, and the order of their bytes. So a request is
//! a stream here from its first byte to its last; streams take turns, some frames at a time. QPACK is used without its
//! dynamic table, so that no stream waits for another.
//!
//! * `frame`: frames as bytes, and codes of errors; `reader`: the frames of one stream; `settings`: SETTINGS;
//! * `input`: bytes to frames, those of requests to what they bring; `control`: the peer's unidirectional streams;
//!   `dispatch`: a head to an answer, or what is awaited;
//! * `streams`: requests of which something is still to come or to be sent;
//! * `discard`: what still comes of requests that are not whole when their answers are;
//! * `output`: what is put, in which order; `turn`: one turn of one stream; `response_head`: heads of answers;
//! * `share`: what is read of bodies ahead of what the peer takes;
//! * `time`: the steps of the connection's end, and what is too slow.
//!
//! What HTTP/2 does in the same way is beside this module: reading heads, responses, the table of streams and their
//! turns, budgets of what costs a peer nothing, what is read ahead, what lingers, what is too slow, and the state of a
//! drain.

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

/// This end's control stream: the first unidirectional one that a server opens (RFC 9000 §2.1). It is the only one.
pub const CONTROL_STREAM: u64 = 3;

/// A connection of HTTP/3.
pub struct Connection<S: Service> {
    service: S,
    limits: Rc<Limits>,
    /// The code with which it ended.
    end: Option<Code>,
    /// The peer's unidirectional streams.
    unidirectional: Unidirectional,
    /// Bytes of the control stream that are due.
    control: Vec<u8>,
    /// What is due on streams beside bytes.
    actions: Vec<Action>,
    /// Requests whose heads are not whole, by their numbers.
    openings: Vec<Opening>,
    /// Streams of requests of which the first byte has not come, and since when it is awaited.
    unbegun: Vec<(u64, Instant)>,
    streams: Streams<S::Outcome>,
    /// Streams whose responses are complete, and whose requests are not.
    lingering: Lingering<u64, ()>,
    /// Bytes of all requests' bodies that wait for their readers.
    unread: usize,
    /// Streams were given no more bytes for that, or for their own.
    is_held_back: bool,
    /// There was no room for uploads, and there is again: their clocks restart.
    upload_reopened: bool,
    floods: Floods,
    /// The least number of a stream that is greater than all that were taken.
    first_untaken: u64,
    requests: u64,
    drain: Drain<u64>,
    /// No stream is too slow before.
    next_check: Option<Instant>,
    /// Memory is scarce: as little as possible is read ahead.
    is_tight: bool,
}

/// The next need of a connection after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It goes on.
    Open,
    /// It is to be closed with this code: with [`Code::None`] once the peer has acknowledged all that was written, with
    /// any other at once.
    Over(Code),
}

impl<S: Service> Connection<S> {
    /// Begins a connection. Its first bytes to send, on [`CONTROL_STREAM`], are this end's SETTINGS.
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

    /// Takes bytes that came on a stream, all of them, in pieces of any size and in their order; `ends` with the last
    /// of them, which may be none. Where the end is known with the last bytes it is to be said with them: then a
    /// request without a body is known to be whole. Nothing is to be given of a stream after its end, or after this end
    /// asked to stop it.
    pub fn receive(&mut self, stream: u64, bytes: &[u8], ends: bool, turn: &mut Turn<'_>) {
        self.take_bytes(stream, bytes, ends, turn);
    }

    /// The peer has opened a stream, and its first byte has not come, whatever has come behind it. To be called as
    /// often as that is seen; its head is to be whole in the same time as one that has begun.
    pub fn await_first_byte(&mut self, stream: u64, turn: &Turn<'_>) {
        self.await_head(stream, turn.now);
    }

    /// Whether more is welcome on any stream: what is to be said because of what came before must not grow without end.
    pub fn wants_input(&self) -> bool {
        self.takes_more()
    }

    /// The peer abandoned the sending of a stream (RESET_STREAM, RFC 9000 §19.4).
    pub fn peer_reset(&mut self, stream: u64, turn: &mut Turn<'_>) {
        self.take_reset(stream, turn.now);
    }

    /// The peer does not take a stream any more (STOP_SENDING, RFC 9000 §19.5).
    pub fn peer_stop(&mut self, stream: u64, turn: &mut Turn<'_>) {
        self.take_stop(stream, turn.now);
    }

    /// The transport takes bytes of a stream again.
    pub fn writable(&mut self, stream: u64) {
        self.streams.queue(stream);
    }

    /// To be called when all that came together was given: what was found out for one request and holds for others is
    /// not kept for later ones.
    pub fn end_of_batch(&mut self) {
        self.service.end_of_batch();
    }

    /// Number of further bytes of a stream that are welcome. The windows of the transport are to bound what comes
    /// beyond: while there is no room nothing is to be read from the transport, until [`StreamSink::resume`].
    pub fn room(&mut self, stream: u64) -> usize {
        self.upload_room(stream)
    }

    /// Puts what is to be sent while the sink has room, and polls what is awaited; `cx` is woken when there is more.
    pub fn produce(&mut self, sink: &mut impl StreamSink, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> State {
        self.put_due(sink, turn, cx)
    }

    /// To be called instead of [`Connection::produce`] while the transport has no room at all: responses that are
    /// awaited are polled (their heads are kept), what was read of uploads is counted, and clocks go on. Writes
    /// nothing, and polls no body; `cx` is woken as by `produce`.
    pub fn tend(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) {
        self.end_of_batch();
        self.tend_streams(turn.now, cx);
    }

    /// Begins to end the connection: streams that are open, or about to be, are answered (RFC 9114 §5.2). The next
    /// [`Connection::produce`] says so.
    pub fn drain(&mut self) {
        self.drain.request();
    }

    /// When [`Connection::produce`] is to be called even if nothing happens: a stream or a body may be too slow by
    /// then.
    pub fn deadline(&self) -> Option<Instant> {
        earlier(self.drain.deadline(), self.next_check)
    }

    /// Requests that have begun so far.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Requests whose answer was not yet written to the last byte, or that are still received.
    pub fn in_flight(&self) -> usize {
        self.openings.len() + self.streams.len() + self.lingering.len()
    }

    /// Heap bytes of the connection.
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
