//! HTTP/3: for any input on any streams and any split, the output is valid and ends.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::connection::limits;
use super::engine::field_coding::Field;
use super::engine::http3::{CONTROL_STREAM, Connection, State};
use super::engine::qpack::{self, Decoder};
use super::engine::{Scratch, StreamSink, Turn};
use super::site::{DATE, PATHS, Site, cut, is_known};

/// Maximum turns without output in which a connection asks for another turn.
const IDLE_TURNS_MAX: usize = 200;

/// Optional fields of a request, including invalid fields.
const FIELDS: [(&str, &[u8]); 9] = [
    ("accept", b"*/*"),
    ("cookie", b"a=1"),
    ("te", b"trailers"),
    ("te", b"gzip"),
    ("connection", b"close"),
    ("content-length", b"3"),
    ("host", b"b.example"),
    (":late", b"1"),
    ("x-upper", b" spaces "),
];

/// Action of a client.
#[derive(Debug)]
enum Step {
    /// Bytes of a stream; true for the last bytes.
    Send(u64, Vec<u8>, bool),
    /// Abandons a stream.
    Reset(u64),
    /// Stops reading a stream.
    Stop(u64),
    /// Drains the connection from this end.
    Drain,
}

/// Returns a QUIC number (RFC 9000 §16) in the shortest form.
fn number(value: usize) -> Vec<u8> {
    let value = u32::try_from(value).unwrap().to_be_bytes();
    match value {
        [0, 0, 0, small] if small < 0x40 => vec![small],
        [0, 0, high, low] if high < 0x40 => vec![0x40 | high, low],
        [first, rest @ ..] => [&[0x80 | first], &rest[..]].concat(),
    }
}

fn frame(kind: usize, payload: &[u8]) -> Vec<u8> {
    [number(kind), number(payload.len()), payload.to_vec()].concat()
}

/// Remaining steps.
struct Steps<'i> {
    input: std::iter::Copied<std::slice::Iter<'i, u8>>,
    /// Next stream of a request.
    next: u64,
}

/// Derives a client's actions from any bytes: mostly valid frames in any order.
fn client(input: &[u8]) -> Vec<Step> {
    let mut steps = Steps { input: input.iter().copied(), next: 0 };
    let mut all = vec![Step::Send(2, [&[0][..], &frame(4, &[6, 0x7f, 0xff])].concat(), false)];
    while let Some(step) = steps.input.next() {
        all.push(steps.step(step));
    }
    all
}

impl Steps<'_> {
    fn byte(&mut self) -> u8 {
        self.input.next().unwrap_or_default()
    }

    /// Returns mostly a stream with a begun request.
    fn stream(&mut self) -> u64 {
        match self.byte() {
            255 => self.next,
            byte => self.next.saturating_sub(4 * u64::from(byte % 4 + 1)),
        }
    }

    /// Returns the next bytes of the input unchanged.
    fn raw(&mut self) -> Vec<u8> {
        let count = usize::from(self.byte());
        self.input.by_ref().take(count).collect()
    }

    fn step(&mut self, step: u8) -> Step {
        let ends = step & 0x80 != 0;
        match step % 16 {
            // Input that does not begin with a request mostly ends the connection, and is rarely useful.
            kind if kind < 5 || self.next == 0 && step < 0xe0 => {
                let (head, is_whole) = self.request();
                self.next += 4;
                Step::Send(self.next - 4, head, is_whole)
            }
            5 | 6 | 14 => {
                let (stream, bytes) = (self.stream(), usize::from(self.byte()) * usize::from(step / 16));
                Step::Send(stream, frame(0, &vec![b'd'; bytes]), ends)
            }
            7 => Step::Send(self.stream(), Vec::new(), true),
            8 => {
                let kind = [0x21, 0xd, 0xf_0700, 0xd, 0x21, 0x7, 0xd, 0x3, 0x4, 0x0][usize::from(step / 16) % 10];
                let payload = number(usize::from(self.byte()));
                Step::Send(2, frame(kind, &payload), false)
            }
            9 if ends => Step::Reset(self.stream()),
            9 => Step::Stop(self.stream()),
            10 => {
                let stream = 6 + 4 * u64::from(self.byte() % 8);
                Step::Send(stream, self.raw(), ends)
            }
            11 => {
                let (stream, kind) = (self.stream(), usize::from(self.byte()));
                Step::Send(stream, frame(kind, &self.raw()), ends)
            }
            // Trailers, or a section of any kind.
            12 => {
                let stream = self.stream();
                let section = if step & 0x60 == 0x60 { self.raw() } else { qpack::literal("x-sum", b"1") };
                Step::Send(stream, frame(1, &[&[0, 0], &section[..]].concat()), ends)
            }
            13 if ends && step & 0x40 != 0 => Step::Drain,
            13 => Step::Send(self.stream(), frame(0x21, &self.raw()), ends),
            _ => Step::Send(self.stream(), self.raw(), ends),
        }
    }

    /// Returns HEADERS of a request; true without a body.
    fn request(&mut self) -> (Vec<u8>, bool) {
        let (place, kind) = (usize::from(self.byte()), self.byte());
        let path = PATHS[place % PATHS.len()];
        let (method, is_whole) = match kind % 4 {
            0 | 1 => ("GET", kind & 0x40 == 0),
            2 => ("HEAD", true),
            _ => ("POST", kind & 0x80 != 0),
        };
        let mut section = Vec::new();
        qpack::start(&mut section);
        for (name, value) in [(":method", method), (":scheme", "https"), (":path", path), (":authority", "a.example")] {
            if kind & 0x20 != 0 {
                section.extend_from_slice(&qpack::literal(name, value.as_bytes()));
            } else {
                qpack::field(name, value.as_bytes(), &mut section);
            }
        }
        if place >= 9 * 16 {
            let (name, value) = FIELDS[place % FIELDS.len()];
            section.extend_from_slice(&qpack::literal(name, value));
        }
        (frame(1, &section), is_whole)
    }
}

/// Output of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sent {
    bytes: Vec<u8>,
    has_ended: bool,
    reset: Option<u64>,
    stopped: Option<u64>,
}

/// Transport that takes a limited number of bytes of a stream at once.
#[derive(Default)]
struct Transport {
    room: usize,
    takes: usize,
    streams: BTreeMap<u64, Sent>,
    blocked: BTreeSet<u64>,
}

impl StreamSink for Transport {
    fn room(&self) -> usize {
        self.room
    }

    fn write(&mut self, stream: u64, parts: &mut [Bytes]) {
        let (mut takes, sent) = (self.takes, self.streams.entry(stream).or_default());
        assert!(!sent.has_ended && sent.reset.is_none());
        for part in parts {
            let taken = part.split_to(part.len().min(takes));
            takes -= taken.len();
            self.room = self.room.saturating_sub(taken.len());
            sent.bytes.extend_from_slice(&taken);
            if !part.is_empty() {
                self.blocked.insert(stream);
            }
        }
    }

    fn finish(&mut self, stream: u64) {
        let sent = self.streams.entry(stream).or_default();
        assert!(!sent.has_ended && sent.reset.is_none());
        sent.has_ended = true;
    }

    fn reset(&mut self, stream: u64, code: u64) {
        let sent = self.streams.entry(stream).or_default();
        assert!(!sent.has_ended && sent.reset.is_none());
        sent.reset = Some(code);
    }

    fn stop(&mut self, stream: u64, code: u64) {
        let sent = self.streams.entry(stream).or_default();
        assert!(sent.stopped.is_none());
        sent.stopped = Some(code);
    }

    fn resume(&mut self, _stream: u64) {}
}

/// True if more work is ready.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Connection and its output.
struct Driven {
    connection: Connection<Site>,
    scratch: Scratch,
    now: Instant,
    woken: Arc<Woken>,
    transport: Transport,
    state: State,
    /// Streams with the client's last byte sent, or with stopped reading.
    ended: BTreeSet<u64>,
    stopped: BTreeSet<u64>,
}

impl Driven {
    fn new() -> Self {
        Self {
            connection: Connection::new(Rc::new(limits()), Site),
            scratch: Scratch::default(),
            now: Instant::now(),
            woken: Arc::default(),
            transport: Transport::default(),
            state: State::Open,
            ended: BTreeSet::new(),
            stopped: BTreeSet::new(),
        }
    }

    fn is_over(&self) -> bool {
        self.state != State::Open
    }

    /// Input that QUIC would not deliver is dropped: after the end of a stream, or after this end's stop.
    fn is_deaf(&self, stream: u64) -> bool {
        let sent = self.transport.streams.get(&stream);
        self.ended.contains(&stream) || sent.is_some_and(|sent| sent.stopped.is_some())
    }

    fn act(&mut self, step: &Step, sizes: &[u8], mut then: impl FnMut(&mut Self)) {
        if self.is_over() {
            return;
        }
        match step {
            Step::Send(stream, bytes, ends) => {
                let mut pieces = if sizes.is_empty() { vec![&bytes[..]] } else { cut(bytes, sizes) };
                if pieces.is_empty() {
                    pieces.push(&[]);
                }
                let last = pieces.len() - 1;
                for (number, piece) in pieces.into_iter().enumerate() {
                    if self.is_deaf(*stream) || self.is_over() {
                        return;
                    }
                    let ends = *ends && number == last;
                    let mut turn = Turn { now: self.now, date: &DATE, scratch: &mut self.scratch };
                    self.connection.receive(*stream, piece, ends, &mut turn);
                    if ends {
                        self.ended.insert(*stream);
                    }
                    then(self);
                }
            }
            Step::Reset(stream) => {
                if !self.is_deaf(*stream) {
                    self.ended.insert(*stream);
                    let mut turn = Turn { now: self.now, date: &DATE, scratch: &mut self.scratch };
                    self.connection.peer_reset(*stream, &mut turn);
                }
            }
            Step::Stop(stream) => {
                let sent = self.transport.streams.get(stream);
                let is_closed = sent.is_some_and(|sent| sent.has_ended || sent.reset.is_some());
                if !is_closed && self.stopped.insert(*stream) {
                    let mut turn = Turn { now: self.now, date: &DATE, scratch: &mut self.scratch };
                    self.connection.peer_stop(*stream, &mut turn);
                }
            }
            Step::Drain => self.connection.drain(),
        }
    }

    /// Runs a turn; returns true if more work is ready.
    fn turn(&mut self, room: usize, takes: usize) -> bool {
        if self.is_over() {
            return false;
        }
        for stream in std::mem::take(&mut self.transport.blocked) {
            self.connection.writable(stream);
        }
        let sum = |driven: &Self| -> usize { driven.transport.streams.values().map(|sent| sent.bytes.len()).sum() };
        let before = sum(self);
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut turn = Turn { now: self.now, date: &DATE, scratch: &mut self.scratch };
        (self.transport.room, self.transport.takes) = (room, takes);
        self.state = self.connection.produce(&mut self.transport, &mut turn, &mut Context::from_waker(&waker));
        self.woken.0.swap(false, Ordering::Relaxed) || sum(self) > before
    }

    /// Runs turns until only waiting is left.
    fn rest(&mut self) {
        let mut turns = 0;
        while self.turn(usize::MAX, usize::MAX) {
            turns += 1;
            assert!(turns < IDLE_TURNS_MAX * 40, "it is woken for nothing");
        }
    }

    /// Advances time until no stream can be too slow.
    fn outlast(&mut self) {
        for _ in 0..100 {
            let Some(deadline) = self.connection.deadline() else { break };
            if self.is_over() {
                break;
            }
            self.now = self.now.max(deadline) + Duration::from_millis(1);
            self.rest();
        }
        assert!(self.is_over() || self.connection.in_flight() == 0, "a stream lasts for ever");
    }

    /// Checks the output.
    fn check(&self) {
        for (id, sent) in &self.transport.streams {
            if *id == CONTROL_STREAM {
                check_control(&sent.bytes, self.is_over());
            } else if id.is_multiple_of(4) {
                check_response(sent, self.is_over());
            } else {
                // This end may only stop other streams.
                assert!(sent.bytes.is_empty() && !sent.has_ended && sent.reset.is_none(), "{id}");
            }
        }
    }
}

/// Returns the next number.
fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let first = *bytes.first()?;
    let (taken, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    *bytes = rest;
    let value = taken[1..].iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    Some(value)
}

/// Returns the frames of a stream; true if the last frame is cut off.
fn frames(mut bytes: &[u8]) -> (Vec<(u64, &[u8])>, bool) {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (Some(kind), Some(length)) = (read_number(&mut bytes), read_number(&mut bytes)) else { return (all, true) };
        let length = usize::try_from(length).unwrap();
        let is_cut = bytes.len() < length;
        let (payload, rest) = bytes.split_at(length.min(bytes.len()));
        all.push((kind, payload));
        bytes = rest;
        if is_cut {
            return (all, true);
        }
    }
    (all, false)
}

fn check_control(bytes: &[u8], is_over: bool) {
    // A transport without room has no bytes of the stream when the connection ends.
    let Some((kind, bytes)) = bytes.split_first() else { return assert!(is_over) };
    assert_eq!(*kind, 0);
    let (mut frames, is_cut) = frames(bytes);
    assert!(!is_cut || is_over);
    if is_cut && frames.last().is_some_and(|(kind, _)| *kind == 7) {
        frames.pop();
    }
    let mut last = u64::MAX;
    for (place, (kind, mut payload)) in frames.into_iter().enumerate() {
        assert_eq!(kind, if place == 0 { 4 } else { 7 });
        if place > 0 {
            // RFC 9114 §5.2: a stream of a request, not greater than the last.
            let id = read_number(&mut payload).unwrap();
            assert!(id <= last && id.is_multiple_of(4) && payload.is_empty());
            last = id;
        }
    }
}

fn check_response(sent: &Sent, is_over: bool) {
    let (frames, is_cut) = frames(&sent.bytes);
    assert!(!is_cut || sent.reset.is_some() || is_over);
    let mut body = Vec::new();
    for (place, (kind, payload)) in frames.iter().enumerate() {
        let is_last = place + 1 == frames.len();
        match kind {
            0 => body.extend_from_slice(payload),
            1 if is_cut && is_last => {}
            1 => {
                let mut names = Vec::new();
                let mut decoder = Decoder::default();
                decoder.decode(payload, usize::MAX, |field: Field<'_>| names.push(field.name.to_vec())).unwrap();
                assert_eq!(names.iter().position(|name| name.starts_with(b":")), Some(0));
                assert_eq!(names.iter().filter(|name| name.starts_with(b":")).count(), 1);
                assert_eq!(names.iter().filter(|name| *name == b"date").count(), 1);
                assert_eq!(place, 0);
            }
            kind => panic!("a frame of the kind {kind}"),
        }
        assert!(place > 0 || *kind == 1, "a head is first");
    }
    assert!(is_known(&body, sent.has_ended && !frames.is_empty()), "{} bytes", body.len());
    assert!(!sent.has_ended || !frames.is_empty());
}

/// Passes a client's actions to a connection in all ways, and checks the output.
pub(super) fn what_is_sent_is_sound(input: &[u8], sizes: &[u8], room: u16, takes: u16) {
    let steps = client(input);

    // In one piece and in several before the first turn: the output is equal.
    let at_once = |sizes: &[u8]| {
        let mut driven = Driven::new();
        for step in &steps {
            driven.act(step, sizes, |_| {});
        }
        driven.rest();
        driven.outlast();
        driven.check();
        (driven.transport.streams, driven.state)
    };
    let whole = at_once(&[]);
    for sizes in [&[1][..], sizes] {
        assert!(at_once(sizes) == whole, "it matters how it is cut");
    }

    // With turns in between, with more or less room.
    let (room, takes) = (usize::from(room).max(1), usize::from(takes));
    for (sizes, room, takes) in [(&[1][..], usize::MAX, usize::MAX), (sizes, room, usize::MAX), (&[][..], room, takes)]
    {
        let mut driven = Driven::new();
        for step in &steps {
            driven.act(step, sizes, |driven| {
                driven.turn(room, takes);
            });
            driven.turn(room, takes);
        }
        driven.rest();
        driven.outlast();
        driven.check();
    }
}
