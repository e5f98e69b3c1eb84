//! A connection without a transport, that is driven frame by frame.

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

/// The client's control stream.
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

/// What came of one stream.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Sent {
    bytes: Vec<u8>,
    finished: usize,
    reset: Option<u64>,
    stopped: Option<u64>,
    resumed: usize,
}

/// Takes bytes as far as the windows of the streams go.
#[derive(Default)]
struct Bin {
    room: usize,
    streams: BTreeMap<u64, Sent>,
    /// What the client takes of a stream, where that is not all.
    windows: BTreeMap<u64, usize>,
    /// Streams of which less was taken than there was.
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

/// Counts how often the task was woken.
#[derive(Debug, Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What came for one request.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Came {
    status: Option<u16>,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
    /// Frames of DATA.
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

/// A connection and who drives it.
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
    /// Of which the client has said nothing.
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

    /// Whose client has sent its SETTINGS.
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

    /// Has it put what it will into so much room.
    fn produce(&mut self, room: usize) {
        self.bin.room = room;
        let waker = Waker::from(Arc::clone(&self.task));
        let mut turn = Turn { now: self.now, date: &self.date, scratch: &mut self.scratch };
        self.state = self.conn.produce(&mut self.bin, &mut turn, &mut Context::from_waker(&waker));
        assert_eq!(self.log.held.get(), 0, "what was found out for requests that came together is not kept");
    }

    /// Has it do what needs no sink.
    fn tend(&mut self) {
        let waker = Waker::from(Arc::clone(&self.task));
        self.turn(|conn, turn| conn.tend(turn, &mut Context::from_waker(&waker)));
        assert_eq!(self.log.held.get(), 0, "what was found out for requests that came together is not kept");
    }

    /// Drives it until nothing more comes.
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

    /// Sends bytes of a stream that goes on.
    fn send(&mut self, stream: u64, bytes: impl AsRef<[u8]>) {
        self.receive(stream, bytes.as_ref(), false);
        self.settle();
    }

    /// Sends the last bytes of a stream.
    fn ask(&mut self, stream: u64, bytes: impl AsRef<[u8]>) {
        self.receive(stream, bytes.as_ref(), true);
        self.settle();
    }

    /// A stream was opened, and nothing of it can be read.
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

    /// The client takes so many more bytes of a stream.
    fn open(&mut self, stream: u64, bytes: usize) {
        *self.bin.windows.entry(stream).or_default() += bytes;
        if self.bin.blocked.remove(&stream) {
            self.conn.writable(stream);
        }
    }

    fn sent(&self, stream: u64) -> Sent {
        self.bin.streams.get(&stream).cloned().unwrap_or_default()
    }

    /// The frames that were sent on a stream, as far as they are whole.
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

    /// The numbers of the GOAWAY frames that were sent.
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

    /// The code with which the connection ended.
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

    /// Lets what waits at `/wait` go.
    fn open_gate(&mut self) {
        self.log.gate.set(true);
        self.log.wakers.take().into_iter().for_each(Waker::wake);
        self.settle();
    }
}

/// A frame.
fn frame_of(kind: u64, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write_head(&mut bytes, kind, payload.as_ref().len());
    bytes.extend_from_slice(payload.as_ref());
    bytes
}

/// Numbers, one behind the other.
fn numbers(all: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    all.iter().for_each(|number| frame::write_number(&mut bytes, *number));
    bytes
}

fn settings(pairs: &[(u64, u64)]) -> Vec<u8> {
    let all: Vec<u64> = pairs.iter().flat_map(|(id, value)| [*id, *value]).collect();
    frame_of(kind::SETTINGS, numbers(&all))
}

/// The begin of a control stream.
fn control(frames: &[u8]) -> Vec<u8> {
    [&[0], frames].concat()
}

fn data(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    frame_of(kind::DATA, bytes)
}

/// A field section of literals.
fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut section = Vec::new();
    qpack::start(&mut section);
    fields.iter().for_each(|(name, value)| section.extend(qpack::literal(name, value.as_bytes())));
    section
}

fn whole<'f>(method: &'f str, path: &'f str) -> Vec<(&'f str, &'f str)> {
    vec![(":method", method), (":scheme", "https"), (":authority", "shop.example"), (":path", path)]
}

/// HEADERS of exactly these fields.
fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    frame_of(kind::HEADERS, section(fields))
}

fn get(path: &str) -> Vec<u8> {
    headers(&whole("GET", path))
}

/// The head of a request whose body is to come.
fn post(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    headers(&[whole("POST", path), more.to_vec()].concat())
}
