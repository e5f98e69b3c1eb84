//! HTTP/2 connection (RFC 9113), server side.
//!
//! A small answer in memory moves from the requesting frame into a queue and from there to the sink, without a stream.
//! All other answers are streams, which take turns of one frame each.
//!
//! * `frame`: frames as bytes; `settings`: SETTINGS; `flow`: windows;
//! * `input`: bytes to frames, and frames of messages; `control`: all other frames; `dispatch`: from a head to an
//!   answer or a stream;
//! * `field_block`: an incomplete field block; complete blocks are read by [`super::message`];
//! * `ready`: answers in memory that wait to be written whole;
//! * `streams`: unanswered streams; `recent`: streams reset lately;
//! * `discard`: the rest of requests whose answers are complete;
//! * `share`: read-ahead of response bodies;
//! * `output`: the order of output; `turn`: one turn of one stream; `response_head`: heads of answers;
//! * `time`: the steps of the connection's end, and slow streams.
//!
//! Code shared with HTTP/3 is beside this module: responses, the table of streams and their turns, flood budgets,
//! read-ahead, lingering requests, slow streams, and the state of a drain.

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

/// Bytes of pending replies to the peer's frames beyond which no further input is read.
const CONTROL_BYTES_MAX: usize = 16 * 1024;

/// HTTP/2 connection.
pub struct Connection<S: Service> {
    service: S,
    limits: Rc<Limits>,
    phase: Phase,
    /// First bytes of an incomplete frame.
    partial: Vec<u8>,
    /// Start time of the incomplete frame.
    partial_since: Option<Instant>,
    /// First part of an incomplete field block.
    block: Option<Box<FieldBlock>>,
    decoder: Decoder,
    encoder: Encoder,
    /// Pending control frames, sent before all others.
    control: Vec<u8>,
    /// Pending answers that are written whole. Their bytes are already counted in the window.
    ready: ReadyQueue<S::Outcome>,
    streams: Streams<S::Outcome>,
    /// Streams with a complete response and an incomplete request.
    lingering: Lingering<u32, ReceiveWindow>,
    /// Streams reset by this end.
    recent: Recent,
    peer: PeerSettings,
    /// Send window of the connection.
    window: SendWindow,
    /// Receive window of the connection.
    upload_window: ReceiveWindow,
    /// True if the upload window was shut and is open again: the clocks of uploads restart.
    upload_reopened: bool,
    floods: Floods,
    /// Greatest stream number that the peer has opened.
    last_begun: u32,
    /// Greatest stream number that was accepted.
    last_taken: u32,
    requests: u64,
    drain: Drain<u32>,
    /// Time of the peer's last WINDOW_UPDATE for the connection.
    window_opened: Option<Instant>,
    /// Time before which no stream can be too slow.
    next_check: Option<Instant>,
    /// True if memory is scarce: read-ahead is kept to a minimum.
    is_tight: bool,
}

/// State of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Number of preface bytes received so far (§3.4).
    Preface(u8),
    /// Waiting for the peer's SETTINGS (§3.4).
    Settings,
    /// Frames are exchanged.
    Open,
    /// Only pending output is left.
    Ended,
}

/// Next action for the driver after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The connection continues.
    Open,
    /// The connection is finished: the driver writes the output and closes the socket.
    Over,
}

impl<S: Service> Connection<S> {
    /// Begins a connection. The first output is this end's SETTINGS.
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

    /// Consumes all received bytes, in pieces of any size.
    pub fn receive(&mut self, bytes: &[u8], turn: &mut Turn<'_>) {
        self.take_bytes(bytes, turn);
        self.service.end_of_batch();
    }

    /// Returns true if more input is welcome: replies caused by earlier input must not grow without bound.
    pub fn wants_input(&self) -> bool {
        self.phase != Phase::Ended && self.control.len() <= CONTROL_BYTES_MAX
    }

    /// Writes output while the sink has room, and polls awaited responses; `cx` is woken when more is ready.
    pub fn produce(&mut self, sink: &mut impl Sink, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> State {
        self.put_due(sink, turn, cx)
    }

    /// Replaces [`Connection::produce`] while earlier output still waits for the peer: polls awaited responses (and
    /// keeps their heads), records reads of uploads, whose window the next `produce` returns, and advances clocks.
    /// Writes nothing and polls no body; wakes `cx` as `produce` does.
    pub fn tend(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) {
        self.tend_streams(turn.now, cx);
    }

    /// Starts a graceful shutdown: open streams, and streams about to be opened, are answered (RFC 9113 §6.8). The next
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
        self.ready.len() + self.streams.len() + self.lingering.len()
    }

    /// Returns true if all pending requests only have bytes for which the peer gives no window.
    #[cfg(test)]
    fn only_awaits_peer(&self) -> bool {
        self.ready.is_empty() && !self.streams.is_empty() && self.streams.all_stalled()
    }

    /// Returns the heap bytes of the connection.
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
