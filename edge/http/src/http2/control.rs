//! Frames about the connection and its streams, rather than of a message: PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY
//! and WINDOW_UPDATE (RFC 9113 §6.3 to §6.5 and §6.7 to §6.9).

use super::super::inbound::Broken;
use super::super::{Service, Turn};
use super::flow::{Exceeded, WINDOW_MAX};
use super::frame::{self, Code, Fault, FrameHead, flag, kind};
use super::input::Place;
use super::streams::Stream;
use super::{Connection, Phase};

/// Streams that SETTINGS of another window may give a turn for what one frame of control costs.
const STREAMS_PER_FRAME: usize = 16;

/// The size of a window after an increment; `None` beyond the maximum (§6.9.1).
fn checked(size: u32, opened: i64) -> Option<i64> {
    let window = i64::from(size) + opened;
    (window <= i64::from(WINDOW_MAX)).then_some(window)
}

impl<S: Service> Connection<S> {
    /// §6.3: deprecated, and passed over.
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

    /// §6.4.
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
            // Its answer came to its end, which has paid for this.
            Place::Lingering => {
                let is_begun = self.lingering.remove(head.stream).unwrap_or_default();
                Ok(self.floods.reset(is_begun, turn.now)?)
            }
        }
    }

    /// §6.5.
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
            // Answers that wait were counted by the window as it was; the acknowledgement comes before them.
            self.unready(before.window);
        }
        let change = i64::from(self.peer.window) - i64::from(before.window);
        if change != 0 {
            // Each stream may have a turn for it, and send a byte.
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

    /// Puts every stream in line that may send.
    fn queue_stalled(&mut self) {
        let able = |stream: &&Stream<_>| stream.stalled.is_some() && stream.own.available() > 0;
        let ids: Vec<u32> = self.streams.iter().filter(able).map(|stream| stream.id).collect();
        for id in ids {
            self.streams.opened(id);
        }
    }

    /// §6.7.
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

    /// §6.8. A client's GOAWAY is about streams of the server's, of which there are none, and says that it will go. It
    /// may send what is still to come of its requests, and is answered. Requests after it are not forbidden; but
    /// nothing is begun for a client that goes: they are passed over, and our GOAWAY tells the last that was taken, so
    /// that the client knows it may ask again elsewhere. (Others take them for a PROTOCOL_ERROR, which would cost it
    /// the answers that are under way.)
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

    /// §6.9.
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
                // It may become a stream yet, if SETTINGS lower the window.
                let Some(ready) = self.ready.iter_mut().rev().find(|ready| ready.id == id) else { return Ok(()) };
                ready.opened += i64::from(increment);
                checked(self.peer.window, ready.opened).ok_or(Fault::Stream(id, Code::FlowControl))?;
                return Ok(());
            }
            // What is under way to a stream that has nothing more to send.
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
