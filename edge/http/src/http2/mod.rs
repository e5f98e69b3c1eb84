//! A connection of HTTP/2 (RFC 9113), as a server.
//!
//! A small answer that is at hand goes from the frame that asked for it into a queue, and from there to the sink: no
//! stream is made for it. All others are streams, which take turns, one frame at a time.
//!
//! * `frame`: frames as bytes; `settings`: SETTINGS; `flow`: windows;
//! * `input`: bytes to frames, those of messages to what they bring; `control`: all others; `dispatch`: a head to an
//!   answer, or a stream;
//! * `field_block`: a block of fields whose end has not come; a whole one is read by [`super::message`];
//! * `ready`: answers at hand that wait to be put whole;
//! * `streams`: streams that are not answered yet; `recent`: those that were reset lately;
//! * `discard`: what still comes of requests that are not whole when their answers are;
//! * `share`: what is read of bodies ahead of what the peer takes;
//! * `output`: what is put, in which order; `turn`: one turn of one stream; `response_head`: heads of answers;
//! * `time`: the steps of the connection's end, and what is too slow.
//!
//! What HTTP/3 does in the same way is beside this module: responses, the table of streams and their turns, budgets of
//! what costs a peer nothing, what is read ahead, what lingers, what is too slow, and the state of a drain.

mod control;
mod discard;
mod dispatch;
mod field_block;
mod flow;
mod frame;
mod input;
mod output;
mod ready;
mod recent;
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

use self::field_block::FieldBlock;
use self::flow::{ReceiveWindow, SendWindow, WINDOW_DEFAULT};
use self::frame::kind;
use self::ready::ReadyQueue;
use self::recent::Recent;
use self::settings::PeerSettings;
use self::streams::Streams;
pub(super) use self::turn::DATA_BYTES_MAX;
use super::clocks::earlier;
use super::drain::Drain;
use super::flood::Floods;
use super::hpack::{Decoder, Encoder, TABLE_BYTES_DEFAULT};
use super::limits::Limits;
use super::linger::Lingering;
use super::sink::Sink;
use super::{Service, Turn};

/// Bytes of frames that answer the peer's frames, beyond which it is not listened to.
const CONTROL_BYTES_MAX: usize = 16 * 1024;

/// A connection of HTTP/2.
pub struct Connection<S: Service> {
    service: S,
    limits: Rc<Limits>,
    phase: Phase,
    /// The begin of a frame whose end has not come.
    partial: Vec<u8>,
    /// When the last one began.
    partial_since: Option<Instant>,
    /// The begin of a field block whose end has not come.
    block: Option<Box<FieldBlock>>,
    decoder: Decoder,
    encoder: Encoder,
    /// Frames that are due, before all others.
    control: Vec<u8>,
    /// Answers that are due as a whole. Their bytes are counted in the window already.
    ready: ReadyQueue<S::Outcome>,
    streams: Streams<S::Outcome>,
    /// Streams whose responses are complete, and whose requests are not.
    lingering: Lingering<u32, ReceiveWindow>,
    /// Streams that this end has reset.
    recent: Recent,
    peer: PeerSettings,
    /// The send window of the connection.
    window: SendWindow,
    /// The receive window of the connection.
    upload_window: ReceiveWindow,
    /// It was shut, and is open again: the clocks of uploads restart.
    upload_reopened: bool,
    floods: Floods,
    /// The greatest number of a stream that the peer has begun.
    last_begun: u32,
    /// The greatest that was taken.
    last_taken: u32,
    requests: u64,
    drain: Drain<u32>,
    /// When the peer opened the window of the connection last.
    window_opened: Option<Instant>,
    /// No stream is too slow before.
    next_check: Option<Instant>,
    /// Memory is scarce: as little as possible is read ahead.
    is_tight: bool,
}

/// The state of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// So many bytes of the preface have come (§3.4).
    Preface(u8),
    /// SETTINGS are awaited (§3.4).
    Settings,
    /// Frames come and go.
    Open,
    /// There is nothing left but to put what is due.
    Ended,
}

/// The next need of a connection after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It goes on.
    Open,
    /// All has been said that is to be said: what was put is to be written, and the socket closed.
    Over,
}

impl<S: Service> Connection<S> {
    /// Begins a connection. Its first bytes to send are this end's SETTINGS.
    pub fn new(limits: Rc<Limits>, service: S) -> Self {
        let upload_window = ReceiveWindow::new(limits.connection_window.max(WINDOW_DEFAULT));
        let mut control = Vec::new();
        frame::write(&mut control, kind::SETTINGS, 0, 0, &settings::own(&limits));
        if upload_window.beyond_default() > 0 {
            frame::write_window(&mut control, 0, upload_window.beyond_default());
        }
        Self {
            service,
            phase: Phase::Preface(0),
            partial: Vec::new(),
            partial_since: None,
            block: None,
            decoder: Decoder::new(TABLE_BYTES_DEFAULT),
            encoder: Encoder::new(),
            control,
            ready: ReadyQueue::new(),
            streams: Streams::new(),
            lingering: Lingering::new(),
            recent: Recent::new(limits.streams),
            peer: PeerSettings::default(),
            window: SendWindow::new(WINDOW_DEFAULT),
            upload_window,
            upload_reopened: false,
            floods: Floods::new(&limits),
            last_begun: 0,
            last_taken: 0,
            requests: 0,
            drain: Drain::No,
            window_opened: None,
            next_check: None,
            is_tight: false,
            limits,
        }
    }

    /// Takes bytes that came, all of them, in pieces of any size.
    pub fn receive(&mut self, bytes: &[u8], turn: &mut Turn<'_>) {
        self.take_bytes(bytes, turn);
        self.service.end_of_batch();
    }

    /// Whether more bytes are welcome: what is to be sent because of those before must not grow without end.
    pub fn wants_input(&self) -> bool {
        self.phase != Phase::Ended && self.control.len() <= CONTROL_BYTES_MAX
    }

    /// Puts what is to be sent while the sink has room, and polls what is awaited; `cx` is woken when there is more.
    pub fn produce(&mut self, sink: &mut impl Sink, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> State {
        self.put_due(sink, turn, cx)
    }

    /// To be called instead of [`Connection::produce`] while what was put before still waits for the peer: responses
    /// that are awaited are polled (their heads are kept), what was read of uploads is given back with the next
    /// `produce`, and clocks go on. Puts nothing, and polls no body; `cx` is woken as by `produce`.
    pub fn tend(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) {
        self.tend_streams(turn.now, cx);
    }

    /// Begins to end the connection: streams that are open, or about to be, are answered (RFC 9113 §6.8). The next
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

    /// Requests whose answer was not yet put to the last byte, or that are still received.
    pub fn in_flight(&self) -> usize {
        self.ready.len() + self.streams.len() + self.lingering.len()
    }

    /// Whether all that is left of the requests is bytes for which the peer gives no window.
    #[cfg(test)]
    fn only_awaits_peer(&self) -> bool {
        self.ready.is_empty() && !self.streams.is_empty() && self.streams.all_stalled()
    }

    /// Heap bytes of the connection.
    #[cfg(test)]
    fn held_bytes(&self) -> usize {
        self.partial.capacity()
            + self.block.as_ref().map_or(0, |block| block.held_bytes())
            + self.control.capacity()
            + self.ready.held_bytes()
            + self.streams.memory(|_| 0)
            + self.lingering.held_bytes()
            + self.recent.held_bytes()
            + self.decoder.memory()
    }
}
