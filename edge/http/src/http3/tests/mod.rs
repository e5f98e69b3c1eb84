//! Connection without a transport, driven frame by frame.

mod floods;
mod messages;
mod model;
mod sections;
mod slow;
mod streams;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::frame::{self, FrameHead, kind};
use super::{CONTROL_STREAM, Code, Connection, State};
use crate::field_coding::Field;
use crate::qpack::{self, Decoder};
use crate::tests::site::{BIG_BYTES, Log, Site, pattern, site};
use crate::{Limits, Scratch, SharedField, StreamSink, Turn};

/// Control stream of the client.
const CONTROL: u64 = 2;

fn limits() -> Limits {
    Limits {
        streams: 128,
        header_bytes: 16_384,
        header_fields: 100,
        target_bytes: 8_192,
        stream_window: 100_000,
        connection_window: 200_000,
        requests: 1_000_000,
        resets_per_second: 200,
        control_frames_per_second: 1_000,
        response_bytes: 262_144,
        header: Duration::from_secs(15),
        write: Duration::from_secs(10),
        body: Duration::from_secs(20),
        linger: Duration::from_secs(2),
        linger_bytes: 300_000,
    }
}

/// Output of one stream.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Sent {
    bytes: Vec<u8>,
    finished: usize,
    reset: Option<u64>,
    stopped: Option<u64>,
    resumed: usize,
}

/// Takes bytes within the windows of the streams.
#[derive(Default)]
struct Bin {
    room: usize,
    streams: BTreeMap<u64, Sent>,
    /// Bytes that the client takes of a stream, if limited.
    windows: BTreeMap<u64, usize>,
    /// Streams with untaken output.
    blocked: BTreeSet<u64>,
}

impl Bin {
    fn stream(&mut self, id: u64) -> &mut Sent {
        self.streams.entry(id).or_default()
    }
}

impl StreamSink for Bin {
    fn room(&self) -> usize {
        self.room
    }

    fn write(&mut self, stream: u64, parts: &mut [Bytes]) {
        for part in parts {
            let window = self.windows.get(&stream).copied().unwrap_or(usize::MAX);
            let taken = part.split_to(part.len().min(window));
            self.windows.entry(stream).and_modify(|window| *window -= taken.len());
            self.room = self.room.saturating_sub(taken.len());
            let sent = self.stream(stream);
            assert!(sent.finished == 0 && sent.reset.is_none(), "{stream} has ended");
            sent.bytes.extend_from_slice(&taken);
            if !part.is_empty() {
                self.blocked.insert(stream);
            }
        }
    }

    fn finish(&mut self, stream: u64) {
        let sent = self.stream(stream);
        assert!(sent.reset.is_none());
        sent.finished += 1;
    }

    fn reset(&mut self, stream: u64, code: u64) {
        let sent = self.stream(stream);
        assert_eq!((sent.finished, sent.reset), (0, None), "{stream} has ended");
        sent.reset = Some(code);
    }

    fn stop(&mut self, stream: u64, code: u64) {
        let sent = self.stream(stream);
        assert_eq!(sent.stopped, None, "{stream} was stopped");
        sent.stopped = Some(code);
    }

    fn resume(&mut self, stream: u64) {
        self.stream(stream).resumed += 1;
    }
}

/// Counts the wakes of the task.
#[derive(Debug, Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Frames received for one request.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Came {
    status: Option<u16>,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
    /// Number of DATA frames.
    data_frames: usize,
    ends: usize,
    reset: Option<u64>,
    stopped: Option<u64>,
}

impl Came {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// Connection with a driver.
struct Rig {
    conn: Connection<Site>,
    log: Rc<Log>,
    now: Instant,
    bin: Bin,
    task: Arc<Task>,
    state: State,
    date: SharedField,
    scratch: Scratch,
}

impl Rig {
    /// Creates a connection before the client's SETTINGS.
    fn bare(limits: &Limits) -> Self {
        let site = site();
        Self {
            log: Rc::clone(&site.log),
            conn: Connection::new(Rc::new(limits.clone()), site),
            now: Instant::now(),
            bin: Bin::default(),
            task: Arc::default(),
            state: State::Open,
            date: SharedField::new("date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
            scratch: Scratch::default(),
        }
    }

    /// Creates a connection after the client's SETTINGS.
    fn with(limits: &Limits) -> Self {
        let mut rig = Self::bare(limits);
        rig.send(CONTROL, control(&settings(&[])));
        rig
    }

    fn new() -> Self {
        Self::with(&limits())
    }

    fn turn<R>(&mut self, act: impl FnOnce(&mut Connection<Site>, &mut Turn<'_>) -> R) -> R {
        act(&mut self.conn, &mut Turn { now: self.now, date: &self.date, scratch: &mut self.scratch })
    }

    fn receive(&mut self, stream: u64, bytes: &[u8], ends: bool) {
        self.turn(|conn, turn| conn.receive(stream, bytes, ends, turn));
    }

    /// Runs a turn with `room`.
    fn produce(&mut self, room: usize) {
        self.bin.room = room;
        let waker = Waker::from(Arc::clone(&self.task));
        let mut turn = Turn { now: self.now, date: &self.date, scratch: &mut self.scratch };
        self.state = self.conn.produce(&mut self.bin, &mut turn, &mut Context::from_waker(&waker));
        assert_eq!(self.log.held.get(), 0, "what was found out for requests that came together is not kept");
    }

    /// Runs the work that needs no sink.
    fn tend(&mut self) {
        let waker = Waker::from(Arc::clone(&self.task));
        self.turn(|conn, turn| conn.tend(turn, &mut Context::from_waker(&waker)));
        assert_eq!(self.log.held.get(), 0, "what was found out for requests that came together is not kept");
    }

    /// Drives the connection until no more output comes.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.task.0.store(0, Ordering::Relaxed);
            self.produce(64 * 1024);
            let is_full = self.bin.room == 0;
            if !is_full && self.task.0.load(Ordering::Relaxed) == 0 || self.state != State::Open {
                return;
            }
        }
        panic!("it never settles");
    }

    /// Sends bytes of a stream that continues.
    fn send(&mut self, stream: u64, bytes: impl AsRef<[u8]>) {
        self.receive(stream, bytes.as_ref(), false);
        self.settle();
    }

    /// Sends the last bytes of a stream.
    fn ask(&mut self, stream: u64, bytes: impl AsRef<[u8]>) {
        self.receive(stream, bytes.as_ref(), true);
        self.settle();
    }

    /// Opens a stream without a readable byte.
    fn await_first_byte(&mut self, stream: u64) {
        self.turn(|conn, turn| conn.await_first_byte(stream, turn));
        self.settle();
    }

    fn peer_reset(&mut self, stream: u64) {
        self.turn(|conn, turn| conn.peer_reset(stream, turn));
        self.settle();
    }

    fn peer_stop(&mut self, stream: u64) {
        self.turn(|conn, turn| conn.peer_stop(stream, turn));
        self.settle();
    }

    /// Lets the client take more bytes of a stream.
    fn open(&mut self, stream: u64, bytes: usize) {
        *self.bin.windows.entry(stream).or_default() += bytes;
        if self.bin.blocked.remove(&stream) {
            self.conn.writable(stream);
        }
    }

    fn sent(&self, stream: u64) -> Sent {
        self.bin.streams.get(&stream).cloned().unwrap_or_default()
    }

    /// Returns the complete frames sent on a stream.
    fn frames(&self, stream: u64) -> Vec<(u64, Vec<u8>)> {
        let bytes = self.sent(stream).bytes;
        let mut rest = if stream == CONTROL_STREAM { &bytes[bytes.len().min(1)..] } else { &bytes[..] };
        let mut frames = Vec::new();
        while let Some((head, after)) = FrameHead::read(rest) {
            let Some((payload, after)) = after.split_at_checked(head.length.try_into().unwrap()) else { break };
            frames.push((head.kind, payload.to_vec()));
            rest = after;
        }
        frames
    }

    /// Returns the numbers of the sent GOAWAY frames.
    fn goaways(&self) -> Vec<u64> {
        let frames = self.frames(CONTROL_STREAM).into_iter().filter(|(kind, _)| *kind == kind::GOAWAY);
        frames.map(|(_, payload)| frame::only_number(&payload).unwrap()).collect()
    }

    fn came(&self, stream: u64) -> Came {
        let sent = self.sent(stream);
        let mut came = Came { ends: sent.finished, reset: sent.reset, stopped: sent.stopped, ..Came::default() };
        let mut rest = &sent.bytes[..];
        while let Some((head, after)) = FrameHead::read(rest) {
            let length = usize::try_from(head.length).unwrap();
            let payload = &after[..length.min(after.len())];
            rest = &after[payload.len()..];
            if head.kind == kind::DATA {
                assert!(came.status.is_some() && came.trailers.is_empty());
                came.data_frames += 1;
                came.body.extend_from_slice(payload);
                continue;
            }
            assert_eq!(head.kind, kind::HEADERS);
            if payload.len() < length {
                break;
            }
            let mut fields = Vec::new();
            let read = Decoder::default().decode(payload, usize::MAX, |field: Field<'_>| {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                fields.push((text(field.name), text(field.value)));
            });
            read.unwrap();
            if came.status.is_none() {
                assert_eq!(fields[0].0, ":status");
                came.status = Some(fields.remove(0).1.parse().unwrap());
                came.fields = fields;
            } else {
                came.trailers = fields;
            }
        }
        came
    }

    /// Returns the error code at the end of the connection.
    fn error(&self) -> Option<Code> {
        match self.state {
            State::Open => None,
            State::Over(code) => Some(code),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.settle();
    }

    /// Releases the requests waiting at `/wait`.
    fn open_gate(&mut self) {
        self.log.gate.set(true);
        self.log.wakers.take().into_iter().for_each(Waker::wake);
        self.settle();
    }
}

/// Returns a frame.
fn frame_of(kind: u64, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write_head(&mut bytes, kind, payload.as_ref().len());
    bytes.extend_from_slice(payload.as_ref());
    bytes
}

/// Returns numbers in sequence.
fn numbers(all: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    all.iter().for_each(|number| frame::write_number(&mut bytes, *number));
    bytes
}

fn settings(pairs: &[(u64, u64)]) -> Vec<u8> {
    let all: Vec<u64> = pairs.iter().flat_map(|(id, value)| [*id, *value]).collect();
    frame_of(kind::SETTINGS, numbers(&all))
}

/// Returns the beginning of a control stream.
fn control(frames: &[u8]) -> Vec<u8> {
    [&[0], frames].concat()
}

fn data(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    frame_of(kind::DATA, bytes)
}

/// Returns a field section of literals.
fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut section = Vec::new();
    qpack::start(&mut section);
    fields.iter().for_each(|(name, value)| section.extend(qpack::literal(name, value.as_bytes())));
    section
}

fn whole<'f>(method: &'f str, path: &'f str) -> Vec<(&'f str, &'f str)> {
    vec![(":method", method), (":scheme", "https"), (":authority", "shop.example"), (":path", path)]
}

/// Returns HEADERS with exactly these fields.
fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    frame_of(kind::HEADERS, section(fields))
}

fn get(path: &str) -> Vec<u8> {
    headers(&whole("GET", path))
}

/// Returns the head of a request with a body to follow.
fn post(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    headers(&[whole("POST", path), more.to_vec()].concat())
}
