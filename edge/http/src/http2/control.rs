//! Frames about the connection and the streams, not about messages: PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY and
//! WINDOW_UPDATE (RFC 9113 §6.3 to §6.5 and §6.7 to §6.9).

use super::super::inbound::Broken;
use super::super::{Service, Turn};
use super::flow::{Exceeded, WINDOW_MAX};
use super::frame::{self, Code, Fault, FrameHead, flag, kind};
use super::input::Place;
use super::streams::Stream;
use super::{Connection, Phase};

/// Streams that a SETTINGS frame with a changed window may wake for the cost of one control frame.
const STREAMS_PER_FRAME: usize = 16;

/// Returns the window size after an increment; `None` beyond the maximum (§6.9.1).
fn checked(size: u32, opened: i64) -> Option<i64> {
    let window = i64::from(size) + opened;
    (window <= i64::from(WINDOW_MAX)).then_some(window)
}

impl<S: Service> Connection<S> {
    /// Handles PRIORITY (§6.3): deprecated and ignored.
    pub(super) fn priority(&mut self, head: FrameHead, turn: &mut Turn<'_>) -> Result<(), Fault> {
        if head.stream == 0 {
            return Err(Fault::Connection(Code::Protocol));
        }
        if head.length != 5 {
            // An idle stream cannot be reset.
            return Err(Fault::Connection(Code::FrameSize));
        }
        Ok(self.floods.control(turn.now)?)
    }

    /// Handles RST_STREAM (§6.4).
    pub(super) fn peer_reset(&mut self, head: FrameHead, payload: &[u8], turn: &mut Turn<'_>) -> Result<(), Fault> {
        frame::number(payload)?;
        match self.place(head.stream) {
            Place::Idle => Err(Fault::Connection(Code::Protocol)),
            Place::Closed | Place::PassedOver => Ok(self.floods.control(turn.now)?),
            Place::Stream | Place::Ready => {
                let is_begun = self.streams.get(head.stream).is_some_and(|stream| stream.response.is_begun);
                self.forget(head.stream, Broken::Gone);
                Ok(self.floods.reset(is_begun, turn.now)?)
            }
            // The completed answer has paid for the reset.
            Place::Lingering => {
                let is_begun = self.lingering.remove(head.stream).unwrap_or_default();
                Ok(self.floods.reset(is_begun, turn.now)?)
            }
        }
    }

    /// Handles SETTINGS (§6.5).
    pub(super) fn settings(&mut self, head: FrameHead, payload: &[u8], turn: &mut Turn<'_>) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(Fault::Connection(Code::Protocol));
        }
        self.floods.control(turn.now)?;
        if head.has(flag::ACK) {
            return if payload.is_empty() { Ok(()) } else { Err(Fault::Connection(Code::FrameSize)) };
        }
        let before = self.peer;
        let encoder = &mut self.encoder;
        self.peer.update(payload, |bytes| encoder.resize(bytes))?;
        if self.peer.window < before.window {
            // Waiting answers were counted with the old window; the acknowledgement precedes them.
            self.unready(before.window);
        }
        let change = i64::from(self.peer.window) - i64::from(before.window);
        if change != 0 {
            // Each stream may take a turn for the change and send a byte.
            for _ in 0..self.streams.len() / STREAMS_PER_FRAME {
                self.floods.control(turn.now)?;
            }
            // §6.9.2.
            for ready in self.ready.iter() {
                checked(self.peer.window, ready.opened).ok_or(Fault::Connection(Code::FlowControl))?;
            }
            for stream in self.streams.iter_mut() {
                stream.own.shift(change).map_err(|Exceeded| Fault::Connection(Code::FlowControl))?;
            }
            if change > 0 {
                self.queue_stalled();
            }
        }
        frame::write(&mut self.control, kind::SETTINGS, flag::ACK, 0, &[]);
        if self.phase == Phase::Settings {
            self.phase = Phase::Open;
        }
        Ok(())
    }

    /// Queues all stalled streams with a window.
    fn queue_stalled(&mut self) {
        let able = |stream: &&Stream<_>| stream.stalled.is_some() && stream.own.available() > 0;
        let ids: Vec<u32> = self.streams.iter().filter(able).map(|stream| stream.id).collect();
        for id in ids {
            self.streams.opened(id);
        }
    }

    /// Handles PING (§6.7).
    pub(super) fn ping(&mut self, head: FrameHead, payload: &[u8], turn: &mut Turn<'_>) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(Fault::Connection(Code::Protocol));
        }
        let payload: &[u8; 8] = payload.try_into().map_err(|_length| Fault::Connection(Code::FrameSize))?;
        self.floods.control(turn.now)?;
        if head.has(flag::ACK) {
            self.pong(payload);
        } else {
            frame::write(&mut self.control, kind::PING, flag::ACK, 0, payload);
        }
        Ok(())
    }

    /// Handles GOAWAY (§6.8). The GOAWAY of a client concerns server streams, which do not exist, and announces that
    /// the client leaves. The client may send the rest of open requests and receives the answers. Later requests are
    /// not forbidden, but new work for a leaving client is refused: the requests are skipped, and this end's GOAWAY
    /// names the last accepted stream, so that the client can retry elsewhere. (Several servers answer PROTOCOL_ERROR,
    /// which would lose the answers under way.)
    pub(super) fn goaway(&mut self, head: FrameHead, turn: &mut Turn<'_>) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(Fault::Connection(Code::Protocol));
        }
        if head.length < 8 {
            return Err(Fault::Connection(Code::FrameSize));
        }
        self.floods.control(turn.now)?;
        self.last_goaway();
        Ok(())
    }

    /// Handles WINDOW_UPDATE (§6.9).
    pub(super) fn window_update(&mut self, head: FrameHead, payload: &[u8], turn: &mut Turn<'_>) -> Result<(), Fault> {
        let increment = frame::number(payload)? & !(1 << 31);
        self.floods.control(turn.now)?;
        let id = head.stream;
        if id == 0 {
            if increment == 0 {
                return Err(Fault::Connection(Code::Protocol));
            }
            let opened = self.window.shift(i64::from(increment));
            opened.map_err(|Exceeded| Fault::Connection(Code::FlowControl))?;
            self.window_opened = Some(turn.now);
            return Ok(());
        }
        let place = self.place(id);
        match place {
            Place::Idle => return Err(Fault::Connection(Code::Protocol)),
            Place::Stream | Place::Ready | Place::Lingering if increment == 0 => {
                return Err(Fault::Stream(id, Code::Protocol));
            }
            Place::Stream => {}
            Place::Ready => {
                // The answer may still become a stream if SETTINGS lower the window.
                let Some(ready) = self.ready.iter_mut().rev().find(|ready| ready.id == id) else { return Ok(()) };
                ready.opened += i64::from(increment);
                checked(self.peer.window, ready.opened).ok_or(Fault::Stream(id, Code::FlowControl))?;
                return Ok(());
            }
            // Late frames for a stream with nothing left to send.
            Place::Lingering | Place::PassedOver | Place::Closed => return Ok(()),
        }
        let Some(stream) = self.streams.get(id) else { return Ok(()) };
        let was_open = stream.own.available() > 0;
        stream.own.shift(i64::from(increment)).map_err(|Exceeded| Fault::Stream(id, Code::FlowControl))?;
        if !was_open && stream.own.available() > 0 && stream.stalled.is_some() {
            self.streams.opened(id);
        }
        Ok(())
    }
}
