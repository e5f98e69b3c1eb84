//! Bytes between the streams of a QUIC connection and the engine.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use quinn_proto::{Connection, Dir, ReadError, Side, StreamEvent, StreamId, VarInt, WriteError};

use super::unread::Unread;
use devanture_http::{Service, StreamSink, Turn, http3};

/// Bytes read from one stream before other streams have their turn.
const STREAM_TURN_BYTES: usize = 32 * 1024;
/// Bytes read in one turn.
const TURN_BYTES: usize = 128 * 1024;

/// Streams with bytes to read, and unacknowledged output.
#[derive(Debug, Default)]
pub(super) struct Streams {
    readable: VecDeque<StreamId>,
    /// Written bytes by stream, until the stream's end is acknowledged.
    written: Vec<(StreamId, u64)>,
    /// The sum of `written`.
    unacknowledged: u64,
    /// Received and unread pieces.
    unread: Unread,
    has_control: bool,
}

impl Streams {
    /// Opens the edge's control stream, once the peer allows the stream.
    pub(super) fn open_control(&mut self, quic: &mut Connection) {
        if !self.has_control {
            self.has_control = quic.streams().open(Dir::Uni).is_some();
        }
    }

    /// Returns the written bytes that the peer may not have, at most `window`, the maximum held by QUIC. The
    /// acknowledged part of a stream is only known at the stream's end.
    pub(super) fn unacknowledged(&self, window: u64) -> u64 {
        self.unacknowledged.min(window)
    }

    /// Returns the memory that QUIC uses for received and unread pieces.
    pub(super) fn unread_bytes(&self) -> usize {
        self.unread.bytes()
    }

    /// Returns the time since which the memory has been large and no gap was filled.
    pub(super) fn gaps_since(&self) -> Option<Instant> {
        self.unread.since()
    }

    /// Returns true if a stream has bytes to read.
    pub(super) fn is_readable(&self) -> bool {
        !self.readable.is_empty()
    }

    /// Counts written bytes.
    fn add(&mut self, id: StreamId, bytes: u64) {
        self.unacknowledged += bytes;
        match self.written.iter_mut().find(|(other, _)| *other == id) {
            Some((_, written)) => *written += bytes,
            None => self.written.push((id, bytes)),
        }
    }

    /// Removes a stream that has ended.
    fn forget(&mut self, id: StreamId) {
        if let Some(index) = self.written.iter().position(|(other, _)| *other == id) {
            self.unacknowledged -= self.written.swap_remove(index).1;
        }
    }

    fn push(&mut self, id: StreamId) {
        if !self.readable.contains(&id) {
            self.readable.push_back(id);
        }
    }

    /// Handles an event.
    pub(super) fn take<S: Service>(
        &mut self,
        event: StreamEvent,
        quic: &mut Connection,
        engine: &mut http3::Connection<S>,
        turn: &mut Turn<'_>,
    ) {
        match event {
            StreamEvent::Opened { dir } => {
                while let Some(id) = quic.streams().accept(dir) {
                    self.push(id);
                }
            }
            StreamEvent::Readable { id } => {
                self.unread.add(id, turn.now);
                self.push(id);
            }
            StreamEvent::Writable { id } => engine.writable(id.into()),
            StreamEvent::Finished { id } => self.forget(id),
            StreamEvent::Stopped { id, .. } => {
                self.forget(id);
                engine.peer_stop(id.into(), turn);
            }
            StreamEvent::Available { dir: Dir::Uni } => self.open_control(quic),
            StreamEvent::Available { dir: Dir::Bi } => {}
        }
    }

    /// Passes received stream bytes to the engine, within the engine's capacity and the turn.
    pub(super) fn read<S: Service>(
        &mut self,
        quic: &mut Connection,
        engine: &mut http3::Connection<S>,
        turn: &mut Turn<'_>,
    ) {
        let mut left = TURN_BYTES;
        while left > 0
            && engine.wants_input()
            && let Some(id) = self.readable.pop_front()
        {
            let read = read_stream(id, left.min(STREAM_TURN_BYTES), quic, engine, turn);
            left = left.saturating_sub(read.bytes.max(1));
            if read.is_over {
                self.unread.remove(id);
            } else {
                self.unread.take(id, read.pieces, turn.now);
            }
            if read.has_more {
                self.readable.push_back(id);
            }
        }
        engine.end_of_batch();
    }

    /// Returns the sink for the engine's output, with up to `room` bytes.
    pub(super) const fn sink<'s>(&'s mut self, quic: &'s mut Connection, room: usize) -> Sink<'s> {
        Sink { streams: self, quic, room }
    }
}

/// Result of a read from a stream.
#[derive(Debug, Default)]
struct Read {
    bytes: usize,
    /// Number of pieces of the read bytes.
    pieces: usize,
    /// True if more bytes are available, and the engine has room.
    has_more: bool,
    /// True if QUIC has no more bytes of the stream.
    is_over: bool,
}

/// Reads a stream.
fn read_stream<S: Service>(
    id: StreamId,
    bytes_max: usize,
    quic: &mut Connection,
    engine: &mut http3::Connection<S>,
    turn: &mut Turn<'_>,
) -> Read {
    let number = u64::from(id);
    let (mut left, mut pieces) = (bytes_max, 0);
    let mut stream = quic.recv_stream(id);
    let Ok(mut chunks) = stream.read(true) else { return Read { is_over: true, ..Read::default() } };
    // The end of the stream is reported with the last bytes, so each piece waits for the next piece.
    let mut before: Option<Bytes> = None;
    let mut is_over = false;
    let (error, has_more) = loop {
        if left == 0 {
            break (None, true);
        }
        let (room, held) = (engine.room(number), before.as_ref().map_or(0, Bytes::len));
        if room <= held {
            match before.take() {
                None => break (None, false),
                Some(bytes) => engine.receive(number, &bytes, false, turn),
            }
            continue;
        }
        match chunks.next((room - held).min(left)) {
            Ok(Some(chunk)) => {
                left -= chunk.bytes.len();
                pieces += 1;
                if let Some(bytes) = before.replace(chunk.bytes) {
                    engine.receive(number, &bytes, false, turn);
                }
            }
            Ok(None) => {
                engine.receive(number, &before.take().unwrap_or_default(), true, turn);
                is_over = true;
                break (None, false);
            }
            Err(error) => break (Some(error), false),
        }
    };
    drop(chunks);
    if let Some(bytes) = before {
        engine.receive(number, &bytes, false, turn);
    }
    let is_reset = match error {
        Some(ReadError::Reset(_)) => true,
        Some(ReadError::Blocked) => {
            if pieces == 0 {
                engine.await_first_byte(number, turn);
            }
            false
        }
        // Without room for bytes, a reset must still be noticed.
        None => !has_more && matches!(quic.recv_stream(id).received_reset(), Ok(Some(_))),
    };
    if is_reset {
        engine.peer_reset(number, turn);
    }
    Read { bytes: bytes_max - left, pieces, has_more, is_over: is_over || is_reset }
}

/// The sink of the engine's output.
pub(super) struct Sink<'s> {
    streams: &'s mut Streams,
    quic: &'s mut Connection,
    room: usize,
}

impl StreamSink for Sink<'_> {
    fn room(&self) -> usize {
        self.room
    }

    fn write(&mut self, stream: u64, parts: &mut [Bytes]) {
        let Some(id) = to_send(stream) else { return };
        let mut written = 0;
        let mut rest = &mut parts[..];
        // Until a write is blocked: only then QUIC reports when the stream is writable again.
        while !rest.is_empty() {
            match self.quic.send_stream(id).write_chunks(rest) {
                Ok(taken) => {
                    written += taken.bytes;
                    rest = rest.get_mut(taken.chunks..).unwrap_or_default();
                }
                Err(WriteError::Blocked | WriteError::Stopped(_) | WriteError::ClosedStream) => break,
            }
        }
        if written > 0 {
            self.room = self.room.saturating_sub(written);
            // The control stream never ends, and never has more than a few bytes.
            if id.dir() == Dir::Bi {
                self.streams.add(id, written as u64);
            }
        }
    }

    fn finish(&mut self, stream: u64) {
        if let Some(id) = to_send(stream) {
            // The peer may have stopped the stream, so that no finish is needed.
            if self.quic.send_stream(id).finish().is_err() {
                self.streams.forget(id);
            }
        }
    }

    fn reset(&mut self, stream: u64, code: u64) {
        if let Some(id) = to_send(stream) {
            self.streams.forget(id);
            drop(self.quic.send_stream(id).reset(number(code)));
        }
    }

    fn stop(&mut self, stream: u64, code: u64) {
        let id = id(stream);
        if id.initiator() == Side::Client {
            drop(self.quic.recv_stream(id).stop(number(code)));
            self.streams.unread.remove(id);
        }
    }

    fn resume(&mut self, stream: u64) {
        self.streams.push(id(stream));
    }
}

fn number(value: u64) -> VarInt {
    VarInt::from_u64(value).unwrap_or(VarInt::MAX)
}

fn id(stream: u64) -> StreamId {
    StreamId::from(number(stream))
}

/// Returns the id of a stream on which the edge sends.
fn to_send(stream: u64) -> Option<StreamId> {
    let id = id(stream);
    (id.dir() == Dir::Bi || id.initiator() == Side::Server).then_some(id)
}
