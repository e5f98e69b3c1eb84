//! Connection without sockets, driven frame by frame, and a site to serve.

mod clients;
mod floods;
mod lengths;
mod lingering;
mod messages;
mod model;
mod sections;
mod shares;
mod slow;
mod stalls;
mod uploads;
mod windows;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};

use super::frame::{FrameHead, flag, kind};
use super::{Connection, State, frame};
use crate::field_coding::Field;
use crate::hpack::{self, Decoder};
use crate::tests::site::{BIG_BYTES, Log, Site, pattern, site};
use crate::{Limits, Scratch, SharedField, Sink, Turn};

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

/// Takes bytes while room is left.
#[derive(Default)]
struct Bin {
    bytes: Vec<u8>,
    room: usize,
    by_reference: usize,
}

impl Sink for Bin {
    fn room(&self) -> usize {
        self.room
    }

    fn put(&mut self, bytes: &[u8]) {
        self.room = self.room.saturating_sub(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    fn put_body(&mut self, bytes: Bytes) {
        self.by_reference += bytes.len();
        self.put(&bytes);
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

/// Received frame.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    fn ends(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & flag::END_STREAM != 0
    }
}

/// Frames received for one request.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Came {
    status: Option<u16>,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
    ends: usize,
    reset: Option<u32>,
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
    streams: BTreeMap<u32, Came>,
    /// Frames about no answer.
    others: Vec<Frame>,
    decoder: Decoder,
    /// All frames in order, if requested.
    trace: Option<Vec<Frame>>,
    date: SharedField,
    scratch: Scratch,
    unread: Vec<u8>,
}

impl Rig {
    /// Creates a connection without any frame.
    fn bare(limits: &Limits) -> Self {
        let site = site();
        Self {
            log: Rc::clone(&site.log),
            conn: Connection::new(Rc::new(limits.clone()), site),
            now: Instant::now(),
            bin: Bin::default(),
            task: Arc::default(),
            state: State::Open,
            streams: BTreeMap::new(),
            others: Vec::new(),
            decoder: Decoder::new(4_096),
            trace: None,
            date: SharedField::new("date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
            scratch: Scratch::default(),
            unread: Vec::new(),
        }
    }

    /// Creates a connection after the preface.
    fn with(limits: &Limits) -> Self {
        let mut rig = Self::bare(limits);
        rig.send(preface());
        rig.others.clear();
        rig
    }

    fn new() -> Self {
        Self::with(&limits())
    }

    fn receive(&mut self, bytes: &[u8]) {
        let mut turn = Turn { now: self.now, date: &self.date, scratch: &mut self.scratch };
        self.conn.receive(bytes, &mut turn);
        assert_eq!(self.log.held.get(), 0, "what was found out for requests that came together is let go of");
    }

    /// Runs a turn with `room`.
    fn produce(&mut self, room: usize) {
        self.bin.room = room;
        let mut turn = Turn { now: self.now, date: &self.date, scratch: &mut self.scratch };
        let waker = Waker::from(Arc::clone(&self.task));
        self.state = self.conn.produce(&mut self.bin, &mut turn, &mut Context::from_waker(&waker));
        self.read();
    }

    /// Runs the work that needs no room.
    fn tend(&mut self) {
        let mut turn = Turn { now: self.now, date: &self.date, scratch: &mut self.scratch };
        let waker = Waker::from(Arc::clone(&self.task));
        self.conn.tend(&mut turn, &mut Context::from_waker(&waker));
    }

    /// Drives the connection until no more output comes.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.task.0.store(0, Ordering::Relaxed);
            let room = 64 * 1024;
            self.produce(room);
            let is_full = self.bin.room == 0;
            if !is_full && self.task.0.load(Ordering::Relaxed) == 0 || self.state == State::Over {
                return;
            }
        }
        panic!("it never settles");
    }

    /// Sends bytes, and collects all output.
    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.receive(bytes.as_ref());
        self.settle();
    }

    fn read(&mut self) {
        self.unread.append(&mut self.bin.bytes);
        while let Some((head, rest)) = FrameHead::read(&self.unread) {
            if rest.len() < head.length {
                break;
            }
            let payload = rest[..head.length].to_vec();
            self.unread.drain(..9 + head.length);
            self.frame(Frame { kind: head.kind, flags: head.flags, stream: head.stream, payload });
        }
    }

    fn frame(&mut self, frame: Frame) {
        if let Some(trace) = &mut self.trace {
            trace.push(frame.clone());
        }
        let came = self.streams.entry(frame.stream).or_default();
        match frame.kind {
            kind::HEADERS | kind::CONTINUATION => {
                self.others.push(frame.clone());
                if frame.flags & flag::END_HEADERS == 0 {
                    return;
                }
                // The head may have several frames.
                let first = self.others.iter().rposition(|frame| frame.kind == kind::HEADERS).unwrap();
                let frames: Vec<Frame> = self.others.drain(first..).collect();
                let block: Vec<u8> = frames.iter().flat_map(|frame| frame.payload.clone()).collect();
                let mut fields = Vec::new();
                let mut push = |field: Field<'_>| {
                    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                    fields.push((text(field.name), text(field.value)));
                };
                self.decoder.decode(&block, usize::MAX, &mut push).unwrap();
                if came.status.is_none() {
                    assert_eq!(fields[0].0, ":status");
                    came.status = Some(fields.remove(0).1.parse().unwrap());
                    came.fields = fields;
                } else {
                    came.trailers = fields;
                }
                came.ends += usize::from(frames[0].ends());
            }
            kind::DATA => {
                assert!(came.status.is_some() && came.ends == 0 && came.reset.is_none(), "{frame:?}");
                assert!(frame.payload.len() <= 16_375);
                came.ends += usize::from(frame.ends());
                came.body.extend_from_slice(&frame.payload);
            }
            kind::RST_STREAM => {
                assert_eq!(came.reset, None, "reset twice");
                came.reset = Some(frame.number(0));
            }
            _ => self.others.push(frame),
        }
    }

    fn came(&self, stream: u32) -> Came {
        self.streams.get(&stream).cloned().unwrap_or_default()
    }

    /// Returns the code of the GOAWAY that ended the connection.
    fn error(&self) -> Option<u32> {
        let goaway = self.others.iter().rfind(|frame| frame.kind == kind::GOAWAY)?;
        assert_eq!(self.state, State::Over);
        Some(goaway.number(4))
    }

    /// Returns the code if the connection ended.
    fn error_if_over(&self) -> Option<u32> {
        if self.state == State::Over { self.error() } else { None }
    }

    /// Returns the sum of increments for a stream's window.
    fn increments(&self, stream: u32) -> u32 {
        let updates = self.others.iter().filter(|frame| frame.kind == kind::WINDOW_UPDATE && frame.stream == stream);
        updates.map(|frame| frame.number(0)).sum()
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.settle();
    }
}

/// Returns a frame.
fn frame_of(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write(&mut bytes, kind, flags, stream, payload.as_ref());
    bytes
}

fn preface() -> Vec<u8> {
    [frame::PREFACE, &settings(&[])].concat()
}

fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let payload = pairs.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
    frame_of(kind::SETTINGS, 0, 0, payload.collect::<Vec<u8>>())
}

fn window(stream: u32, increment: u32) -> Vec<u8> {
    frame_of(kind::WINDOW_UPDATE, 0, stream, increment.to_be_bytes())
}

fn reset(stream: u32) -> Vec<u8> {
    frame_of(kind::RST_STREAM, 0, stream, 8_u32.to_be_bytes())
}

fn data(stream: u32, ends: bool, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    frame_of(kind::DATA, u8::from(ends), stream, bytes)
}

/// Returns a field block of literals.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| hpack::literal(name, value.as_bytes())).collect()
}

fn fields<'f>(method: &'f str, path: &'f str) -> Vec<(&'f str, &'f str)> {
    vec![(":method", method), (":scheme", "https"), (":authority", "shop.example"), (":path", path)]
}

/// Returns HEADERS with exactly these fields.
fn headers(stream: u32, ends: bool, fields: &[(&str, &str)]) -> Vec<u8> {
    frame_of(kind::HEADERS, flag::END_HEADERS | u8::from(ends), stream, block(fields))
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, true, &fields("GET", path))
}

/// Returns a request with a body to follow.
fn post(stream: u32, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    headers(stream, false, &[fields("POST", path), more.to_vec()].concat())
}
