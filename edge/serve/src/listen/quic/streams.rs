//! Bytes between the streams of a connection of QUIC and the engine.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use quinn_proto::{Connection, Dir, ReadError, Side, StreamEvent, StreamId, VarInt, WriteError};

use super::unread::Unread;
use devanture_http::{Service, StreamSink, Turn, http3};

/// Bytes of one stream that are read before others have their turn.
const STREAM_TURN_BYTES: usize = 32 * 1024;
/// Bytes that are read in one turn.
const TURN_BYTES: usize = 128 * 1024;

/// Which streams have bytes to read, and what was written and is not known to have come.
#[derive(Debug, Default)]
pub(super) struct Streams {
    readable: VecDeque<StreamId>,
    /// Bytes that were written, by streams that are not acknowledged to their end.
    written: Vec<(StreamId, u64)>,
    /// The sum of these.
    unacknowledged: u64,
    /// What came and was not read.
    unread: Unread,
    has_control: bool,
}

impl Streams {
    /// Opens the stream of this end, once the peer allows it.
    pub(super) fn open_control(&mut self, quic: &mut Connection) {
        if !self.has_control {
            self.has_control = quic.streams().open(Dir::Uni).is_some();
        }
    }

    /// Bytes that were written and that the peer may not have, at most `window`, which is all that QUIC holds. How many
    /// of a stream it has is known at the stream's end alone.
    pub(super) fn unacknowledged(&self, window: u64) -> u64 {
        self.unacknowledged.min(window)
    }

    /// Bytes that QUIC takes for what came and was not read.
    pub(super) fn unread_bytes(&self) -> usize {
        self.unread.bytes()
    }

    /// Since when that has been much, and its peer has filled no gap of it.
    pub(super) fn gaps_since(&self) -> Option<Instant> {
        self.unread.since()
    }

    /// Whether there are bytes to read that nothing awaits.
    pub(super) fn is_readable(&self) -> bool {
        !self.readable.is_empty()
    }

    /// Counts bytes that were written.
    fn add(&mut self, id: StreamId, bytes: u64) {
        self.unacknowledged += bytes;
        match self.written.iter_mut().find(|(other, _)| *other == id) {
            Some((_, written)) => *written += bytes,
            None => self.written.push((id, bytes)),
        }
    }

    /// A stream has come to its end.
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

    /// Takes an event.
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

    /// Gives the engine what came on streams, as far as it has room for it and the turn lasts.
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

    /// Where the engine puts up to `room` bytes.
    pub(super) const fn sink<'s>(&'s mut self, quic: &'s mut Connection, room: usize) -> Sink<'s> {
        Sink { streams: self, quic, room }
    }
}

/// What was read of a stream.
#[derive(Debug, Default)]
struct Read {
    bytes: usize,
    /// Pieces that these were in.
    pieces: usize,
    /// There are more, for which there is room.
    has_more: bool,
    /// QUIC has nothing more of it.
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
    // The end is said with the last bytes, so they wait for what follows them.
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
        // Without room for bytes, a reset is still to be seen.
        None => !has_more && matches!(quic.recv_stream(id).received_reset(), Ok(Some(_))),
    };
    if is_reset {
        engine.peer_reset(number, turn);
    }
    Read { bytes: bytes_max - left, pieces, has_more, is_over: is_over || is_reset }
}

/// Where the engine puts what it sends.
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
        // Until it says that it takes no more: only then it says when it does.
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
            // The control stream has no end, and never more than a few bytes.
            if id.dir() == Dir::Bi {
                self.streams.add(id, written as u64);
            }
        }
    }

    fn finish(&mut self, stream: u64) {
        if let Some(id) = to_send(stream) {
            // The peer may have stopped it: nothing is to be finished then.
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

/// A stream on which this end sends.
fn to_send(stream: u64) -> Option<StreamId> {
    let id = id(stream);
    (id.dir() == Dir::Bi || id.initiator() == Side::Server).then_some(id)
}
