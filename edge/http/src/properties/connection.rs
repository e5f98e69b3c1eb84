//! HTTP/2: for any input and split, the output is valid, respects the peer's windows, and ends.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use super::engine::field_coding::Field;
use super::engine::hpack::Decoder;
use super::engine::http2::{Connection, State};
use super::engine::{Limits, Scratch, Turn};
use super::script;
use super::site::{DATE, Pipe, Site, cut, is_known};

/// Maximum turns without output in which a connection asks for another turn.
const IDLE_TURNS_MAX: usize = 200;

/// Returns the limits of a connection.
pub(super) fn limits() -> Limits {
    Limits {
        streams: 8,
        header_bytes: 4_000,
        header_fields: 20,
        target_bytes: 200,
        stream_window: 70_000,
        connection_window: 100_000,
        requests: 40,
        resets_per_second: 20,
        control_frames_per_second: 200,
        response_bytes: 65_536,
        header: Duration::from_secs(15),
        write: Duration::from_secs(10),
        body: Duration::from_secs(10),
        linger: Duration::from_secs(2),
        linger_bytes: 150_000,
    }
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
pub(super) struct Driven {
    pub(super) connection: Connection<Site>,
    scratch: Scratch,
    now: Instant,
    woken: Arc<Woken>,
    pub(super) pipe: Pipe,
    pub(super) is_over: bool,
}

impl Driven {
    pub(super) fn new() -> Self {
        Self {
            connection: Connection::new(Rc::new(limits()), Site),
            scratch: Scratch::default(),
            now: Instant::now(),
            woken: Arc::default(),
            pipe: Pipe::default(),
            is_over: false,
        }
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) {
        if !self.is_over {
            let mut turn = Turn { now: self.now, date: &DATE, scratch: &mut self.scratch };
            self.connection.receive(bytes, &mut turn);
        }
    }

    /// Runs a turn; returns true if more work is ready.
    fn turn(&mut self, room: usize) -> bool {
        if self.is_over {
            return false;
        }
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut turn = Turn { now: self.now, date: &DATE, scratch: &mut self.scratch };
        let before = self.pipe.put.len();
        self.pipe.room = room;
        let state = self.connection.produce(&mut self.pipe, &mut turn, &mut Context::from_waker(&waker));
        self.is_over = state == State::Over;
        self.woken.0.swap(false, Ordering::Relaxed) || self.pipe.put.len() > before
    }

    /// Runs turns until only waiting is left.
    pub(super) fn rest(&mut self, room: usize) {
        let (mut idle_turns, mut bytes) = (0, self.pipe.put.len());
        while self.turn(room) {
            idle_turns = if self.pipe.put.len() > bytes { 0 } else { idle_turns + 1 };
            bytes = self.pipe.put.len();
            assert!(idle_turns < IDLE_TURNS_MAX, "it is woken for nothing");
        }
    }

    /// Advances time until no stream can be too slow.
    pub(super) fn outlast(&mut self) {
        for _ in 0..100 {
            let Some(deadline) = self.connection.deadline() else { break };
            if self.is_over {
                break;
            }
            self.now = self.now.max(deadline) + Duration::from_millis(1);
            self.rest(usize::MAX);
        }
        assert!(self.is_over || self.connection.in_flight() == 0, "a stream lasts for ever");
    }
}

/// Passes a client's bytes to a connection in all ways, and checks the output.
pub(super) fn what_is_sent_is_sound(input: &[u8], sizes: &[u8], room: u16) {
    let bytes = script::client(input);
    let claims = Claims::by_client(&bytes);

    // In one piece and in several before the first turn: the output is equal.
    let whole = run_at_once(&[&bytes]);
    let check = |sent: &[u8]| claims.check(sent);
    check(&whole);
    for sizes in [&[1][..], sizes] {
        assert!(run_at_once(&cut(&bytes, sizes)) == whole, "it matters how it is cut");
    }

    // With turns in between, with more or less room.
    for (sizes, room) in
        [(&[1][..], usize::MAX), (sizes, usize::from(room).max(1)), (&[][..], usize::from(room).max(1))]
    {
        let mut driven = Driven::new();
        for piece in cut(&bytes, sizes) {
            if !driven.connection.wants_input() {
                driven.rest(usize::MAX);
                assert!(driven.connection.wants_input() || driven.is_over, "it wants no input, and puts nothing");
            }
            driven.receive(piece);
            driven.turn(room);
        }
        driven.rest(room);
        driven.outlast();
        check(&driven.pipe.put);
    }
}

/// Returns the output for input that arrives before the first turn.
pub(super) fn run_at_once(pieces: &[&[u8]]) -> Vec<u8> {
    let mut driven = Driven::new();
    for piece in pieces {
        driven.receive(piece);
    }
    driven.rest(usize::MAX);
    driven.outlast();
    driven.pipe.put
}

/// Sent frame.
pub(super) struct Frame<'b> {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: &'b [u8],
}

/// Returns the complete frames at the beginning of `bytes`, and the rest.
pub(super) fn frames(mut bytes: &[u8]) -> (Vec<Frame<'_>>, &[u8]) {
    let mut all = Vec::new();
    while let Some(([a, b, c, kind, flags, stream @ ..], rest)) = bytes.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, *a, *b, *c]);
        let Some((payload, rest)) = rest.split_at_checked(usize::try_from(length).unwrap()) else { break };
        bytes = rest;
        all.push(Frame { kind: *kind, flags: *flags, stream: u32::from_be_bytes(*stream) & !(1 << 31), payload });
    }
    (all, bytes)
}

/// Returns the first four bytes of a payload as a number.
pub(super) fn number(payload: &[u8]) -> u32 {
    payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Claims of a client as bounds for the output.
#[derive(Debug, Default)]
struct Claims {
    /// Sum of the windows given, by stream and, as 0, for the connection.
    windows: BTreeMap<u32, u64>,
    /// Largest initial window.
    initial_window: u64,
    /// Largest permitted frame.
    frame_bytes: usize,
    settings: usize,
    pings: usize,
    /// Greatest stream number.
    stream: u32,
}

impl Claims {
    fn by_client(bytes: &[u8]) -> Self {
        let mut claims = Self { initial_window: 65_535, frame_bytes: 16_384, ..Self::default() };
        claims.windows.insert(0, 65_535);
        for frame in frames(&bytes[24..]).0 {
            match frame.kind {
                1 => claims.stream = claims.stream.max(frame.stream),
                4 => {
                    claims.settings += 1;
                    for setting in frame.payload.chunks_exact(6) {
                        let value = number(&setting[2..]);
                        match setting[1] {
                            4 => claims.initial_window = claims.initial_window.max(value.into()),
                            5 => claims.frame_bytes = claims.frame_bytes.max(usize::try_from(value).unwrap()),
                            _ => {}
                        }
                    }
                }
                6 => claims.pings += 1,
                8 => *claims.windows.entry(frame.stream).or_default() += u64::from(number(frame.payload) & !(1 << 31)),
                _ => {}
            }
        }
        claims
    }

    /// Checks the output for the client.
    fn check(&self, sent: &[u8]) {
        let (frames, rest) = frames(sent);
        assert!(rest.is_empty(), "a frame is cut off");
        assert!(frames.first().is_some_and(|frame| (frame.kind, frame.flags) == (4, 0)), "SETTINGS are first");
        let mut decoder = Decoder::new(4_096);
        let mut streams: BTreeMap<u32, Stream> = BTreeMap::new();
        let (mut acks, mut pongs, mut data, mut is_over) = (0, 0, 0, false);
        for (place, frame) in frames.iter().enumerate() {
            assert!(!is_over, "there is more after the end");
            assert!(frame.payload.len() <= self.frame_bytes);
            assert!(frame.stream == 0 || frame.stream % 2 == 1 && frame.stream <= self.stream, "{}", frame.stream);
            match frame.kind {
                0 => {
                    data += frame.payload.len();
                    streams.get_mut(&frame.stream).expect("a head is first").data(frame);
                }
                1 => streams.entry(frame.stream).or_default().headers(frame, &mut decoder),
                3 => streams.entry(frame.stream).or_default().reset(),
                4 if frame.flags == 0 => assert_eq!(place, 0),
                4 => acks += 1,
                6 if frame.flags == 1 => pongs += 1,
                // A PING of this end during a drain.
                6 => assert_eq!(frame.payload.len(), 8),
                7 => is_over = number(&frame.payload[4..]) != 0,
                8 => assert!(number(frame.payload) > 0),
                kind => panic!("a frame of the kind {kind}"),
            }
        }
        assert!(acks <= self.settings && pongs <= self.pings);
        let window = |stream| self.windows.get(&stream).copied().unwrap_or_default();
        assert!(u64::try_from(data).unwrap() <= window(0));
        for (id, stream) in &streams {
            let bytes = u64::try_from(stream.body.len()).unwrap();
            assert!(bytes <= self.initial_window + window(*id));
            assert!(is_known(&stream.body, stream.has_ended), "{bytes}");
        }
    }
}

/// Output of a stream.
#[derive(Debug, Default)]
struct Stream {
    has_head: bool,
    has_ended: bool,
    is_reset: bool,
    body: Vec<u8>,
}

impl Stream {
    fn headers(&mut self, frame: &Frame<'_>, decoder: &mut Decoder) {
        assert!(!self.has_head && !self.is_reset && frame.flags & 4 != 0);
        let mut names = Vec::new();
        decoder.decode(frame.payload, usize::MAX, |field: Field<'_>| names.push(field.name.to_vec())).unwrap();
        assert_eq!(names.iter().position(|name| name.starts_with(b":")), Some(0));
        assert_eq!(names.iter().filter(|name| name.starts_with(b":")).count(), 1);
        assert_eq!(names.iter().filter(|name| *name == b"date").count(), 1);
        (self.has_head, self.has_ended) = (true, frame.flags & 1 != 0);
    }

    fn data(&mut self, frame: &Frame<'_>) {
        assert!(!self.has_ended && !self.is_reset);
        self.body.extend_from_slice(frame.payload);
        self.has_ended = frame.flags & 1 != 0;
    }

    fn reset(&mut self) {
        self.is_reset = true;
    }
}
