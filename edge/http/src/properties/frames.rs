//! HTTP/2, a single frame of any type: in each state of a connection the frame is accepted, or refused with a code that
//! RFC 9113 names; afterwards the connection continues or has ended for good.
//!
//! The permitted results follow the sections of the standard and are independent of the engine. For a frame with
//! several errors, any of the errors may be reported; if the standard permits the end of the connection or of the
//! stream (§5.4.1), both are permitted.

use super::connection::{Driven, Frame, frames, number};
use super::engine::hpack;
use super::script::{PREFACE, frame};

const PROTOCOL: u32 = 1;
const INTERNAL: u32 = 2;
const FLOW_CONTROL: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;
const COMPRESSION: u32 = 9;
const CALM: u32 = 11;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// Maximum payload: the engine announces only the default (§4.2).
const PAYLOAD_BYTES_MAX: usize = 16_384;
const WINDOW: i64 = 65_535;
const WINDOW_MAX: i64 = (1 << 31) - 1;

/// Memory for one frame beyond its bytes, several times: the frame, the block of the frame, and the fields, which
/// Huffman codes enlarge (RFC 7541 Appendix B: five bits for eight).
const MEMORY_MAX: usize = 16 * 1024;
const COPIES_MAX: usize = 5;

/// Stream numbers of frames. Bit 31 is reserved and ignored.
const STREAMS: [u32; 8] = [0, 1, 3, 2, 0x8000_0001, 0x8000_0000, 0x7fff_ffff, 1];

/// Window increments at both ends of the permitted range.
const INCREMENTS: [u32; 8] = [0, 1, 0x8000_0000, 0x8000_0001, 0x7fff_ffff, 0x7fff_0000, 0x7fff_0001, 0x7fff_0000 + 5];

/// Settings at both ends of the permitted range.
const SETTINGS: [(u16, u32); 12] = [
    (1, 0),
    (1, u32::MAX),
    (2, 1),
    (2, 2),
    (3, 0),
    (4, 0),
    (4, 0x7fff_ffff),
    (4, 0x8000_0000),
    (5, 16_383),
    (5, 16_384),
    (5, 0xff_ffff),
    (5, 0x100_0000),
];

/// Returns a setting as bytes.
fn setting(which: u8) -> [u8; 6] {
    let (id, value) = SETTINGS[usize::from(which) % SETTINGS.len()];
    let ([a, b], [c, d, e, f]) = (id.to_be_bytes(), value.to_be_bytes());
    [a, b, c, d, e, f]
}

/// History of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// The first bytes of the preface, and no SETTINGS.
    Preface,
    Nothing,
    /// A request with an incomplete head.
    Head,
    /// A request with incomplete trailers.
    Trailers,
    /// A request with an incomplete body.
    Upload,
    /// A request with a due, unwritten answer.
    Due,
    /// A request with an answer beyond the window.
    Stalled,
    Answered,
    /// A request answered before the end of the body.
    AnsweredEarly,
    ResetByClient,
    ResetByServer,
    /// The client sent GOAWAY during an upload.
    Leaving,
    /// The server sent GOAWAY.
    Draining,
}

impl Before {
    const ALL: [Self; 13] = [
        Self::Preface,
        Self::Nothing,
        Self::Head,
        Self::Trailers,
        Self::Upload,
        Self::Due,
        Self::Stalled,
        Self::Answered,
        Self::ResetByClient,
        Self::ResetByServer,
        Self::Leaving,
        Self::Draining,
        Self::AnsweredEarly,
    ];

    /// Returns the client's bytes after the preface.
    fn bytes(self) -> Vec<u8> {
        let upload = || frame(1, END_HEADERS, 1, &request("POST", "/echo"));
        let get = |path| frame(1, END_HEADERS | END_STREAM, 1, &request("GET", path));
        match self {
            Self::Preface | Self::Nothing => Vec::new(),
            Self::Head => frame(1, END_STREAM, 1, &request("GET", "/")),
            Self::Trailers => [upload(), frame(1, END_STREAM, 1, &hpack::literal("a", b"b"))].concat(),
            Self::Upload | Self::Draining => upload(),
            Self::Due | Self::Answered => get("/"),
            Self::Stalled => get("/large"),
            Self::AnsweredEarly => frame(1, END_HEADERS, 1, &request("POST", "/missing")),
            Self::ResetByClient => [upload(), frame(3, 0, 1, &[0, 0, 0, 8])].concat(),
            Self::ResetByServer => frame(1, END_HEADERS | END_STREAM, 1, &hpack::literal(":method", b"GET")),
            Self::Leaving => [upload(), frame(7, 0, 0, &[0; 8])].concat(),
        }
    }

    /// Returns a connection in the state.
    fn reached(self) -> Driven {
        let mut driven = Driven::new();
        driven.receive(PREFACE);
        if self != Self::Preface {
            driven.receive(&frame(4, 0, 0, &[]));
        }
        driven.rest(usize::MAX);
        driven.receive(&self.bytes());
        if self == Self::Draining {
            driven.connection.drain();
        }
        if self != Self::Due {
            driven.rest(usize::MAX);
        }
        assert!(!driven.is_over);
        driven
    }

    /// Returns the state of a stream for the client (§5.1).
    fn place(self, stream: u32) -> Place {
        match self {
            _ if stream != 1 => Place::Idle,
            Self::Preface | Self::Nothing | Self::Head => Place::Idle,
            Self::Trailers | Self::Upload | Self::Leaving | Self::Draining => Place::Open,
            Self::Due | Self::Stalled => Place::HalfClosed,
            Self::AnsweredEarly => Place::SaidAll,
            Self::Answered | Self::ResetByClient => Place::Closed,
            Self::ResetByServer => Place::Reset,
        }
    }
}

/// States of streams (§5.1), as far as relevant to input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Idle,
    Open,
    /// The client has finished.
    HalfClosed,
    /// The server has finished, the client has not.
    SaidAll,
    Closed,
    /// Reset by the server: further frames are ignored.
    Reset,
}

/// Outcome of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Taken,
    Reset(u32),
    Ended(u32),
}
use Fate::{Ended, Reset, Taken};

/// Permitted outcomes: any of `must` if not empty; otherwise the frame is accepted.
#[derive(Debug, Default)]
struct Allowed {
    must: Vec<Fate>,
    /// Outcomes that depend on state outside of the model.
    may: Vec<Fate>,
}

impl Allowed {
    fn must(&mut self, is_wrong: bool, fates: &[Fate]) {
        if is_wrong {
            self.must.extend_from_slice(fates);
        }
    }

    fn allows(&self, fate: Fate) -> bool {
        self.may.contains(&fate) || if self.must.is_empty() { fate == Taken } else { self.must.contains(&fate) }
    }
}

/// Returns a field block of a request.
fn request(method: &str, path: &str) -> Vec<u8> {
    let fields = [(":method", method), (":scheme", "https"), (":path", path), (":authority", "a.example")];
    fields.iter().flat_map(|(name, value)| hpack::literal(name, value.as_bytes())).collect()
}

/// Received frame, complete or partial.
#[derive(Debug)]
struct Coming {
    kind: u8,
    flags: u8,
    stream: u32,
    /// Length in the head.
    length: usize,
    payload: Vec<u8>,
}

impl Coming {
    /// Creates a frame from any bytes, mostly with a length permitted for the type.
    fn of([kind, flags, stream, shape]: [u8; 4], rest: &[u8]) -> Self {
        let mut payload = rest.to_vec();
        let first = rest.first().copied().map_or(0, usize::from);
        match (shape % 8, kind) {
            (1..=3, 2) => payload.resize(5, 0),
            (2, 8) => payload = INCREMENTS[first % INCREMENTS.len()].to_be_bytes().to_vec(),
            (1..=3, 3 | 8) => payload.resize(4, 0),
            (1..=3, 6 | 7) => payload.resize(8, 0),
            (2, 4) => payload = rest.iter().flat_map(|which| setting(*which)).collect(),
            (1 | 3, 4) => payload.truncate(payload.len() / 6 * 6),
            (1, 1) => payload = hpack::literal("a", b"b"),
            (2, 1) => payload = request("GET", "/"),
            (3, 1) => payload.splice(0..0, request("GET", "/")).for_each(drop),
            (6, _) => payload.resize(PAYLOAD_BYTES_MAX, 0),
            _ => {}
        }
        let length = match shape % 8 {
            5 => payload.len() + 1 + usize::from(shape / 8),
            7 => PAYLOAD_BYTES_MAX + 1 + (usize::from(shape / 8) << 18),
            _ => payload.len(),
        };
        Self { kind, flags, stream: STREAMS[usize::from(stream) % STREAMS.len()], length, payload }
    }

    fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.length).unwrap().to_be_bytes();
        let head = [&length[1..], &[self.kind, self.flags], &self.stream.to_be_bytes()].concat();
        [head, self.payload.clone()].concat()
    }

    fn is_whole(&self) -> bool {
        self.length == self.payload.len()
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Returns the stream number without the reserved bit.
    fn id(&self) -> u32 {
        self.stream & !(1 << 31)
    }

    /// Returns the content without padding and priority, or the error code (§4.2, §6.1, §6.2).
    fn content(&self) -> Result<&[u8], u32> {
        let pad = usize::from(self.has(PADDED));
        let priority = if self.kind == 1 && self.has(PRIORITY) { 5 } else { 0 };
        let rest = self.payload.get(pad + priority..).ok_or(FRAME_SIZE)?;
        let padding = if pad == 1 { usize::from(self.payload[0]) } else { 0 };
        rest.len().checked_sub(padding).map(|length| &rest[..length]).ok_or(PROTOCOL)
    }

    /// Returns the permitted outcomes; `sent` returns the DATA bytes sent on a stream, or on all.
    fn allowed(&self, before: Before, sent: impl Fn(u32) -> i64) -> Allowed {
        let mut allowed = Allowed::default();
        // §4.2: the payload is not awaited either.
        allowed.must(self.length > PAYLOAD_BYTES_MAX, &[Ended(FRAME_SIZE)]);
        let mut rest = Allowed::default();
        let is_settings = self.kind == 4 && !self.has(ACK);
        rest.must(before == Before::Preface && !is_settings, &[Ended(PROTOCOL)]); // §3.4
        let in_block = matches!(before, Before::Head | Before::Trailers);
        rest.must(in_block != (self.kind == 9) || in_block && self.id() != 1, &[Ended(PROTOCOL)]); // §4.3, §6.10
        self.judge(before, sent, &mut rest);
        allowed.may.append(&mut rest.may);
        // An incomplete frame may be judged later.
        let into = if self.is_whole() { &mut allowed.must } else { &mut allowed.may };
        into.append(&mut rest.must);
        allowed
    }

    /// Applies the rules of §6 for the type.
    fn judge(&self, before: Before, sent: impl Fn(u32) -> i64, allowed: &mut Allowed) {
        let (id, place, length) = (self.id(), before.place(self.id()), self.payload.len());
        let is_idle = place == Place::Idle;
        let is_of_connection = matches!(self.kind, 4 | 6 | 7);
        let is_of_stream = matches!(self.kind, 0..=3 | 5 | 9);
        allowed.must(is_of_connection && id != 0 || is_of_stream && id == 0, &[Ended(PROTOCOL)]);
        match self.kind {
            0 => {
                allowed.must(is_idle, &[Ended(PROTOCOL)]);
                if let Err(code) = self.content() {
                    allowed.must.push(Ended(code));
                }
                let is_late = matches!(place, Place::HalfClosed | Place::Closed);
                allowed.must(is_late, &[Reset(STREAM_CLOSED), Ended(STREAM_CLOSED)]);
            }
            1 => self.judge_headers(before, allowed),
            2 => allowed.must(length != 5, &[Reset(FRAME_SIZE), Ended(FRAME_SIZE)]),
            3 => {
                allowed.must(length != 4, &[Ended(FRAME_SIZE)]);
                allowed.must(is_idle, &[Ended(PROTOCOL)]);
            }
            4 => self.judge_settings(allowed),
            5 => allowed.must.push(Ended(PROTOCOL)),
            6 => allowed.must(length != 8, &[Ended(FRAME_SIZE)]),
            7 => allowed.must(length < 8, &[Ended(FRAME_SIZE)]),
            8 => self.judge_window(before, sent, allowed),
            9 if self.has(END_HEADERS) => {
                let is_known = before == Before::Head && self.payload.is_empty();
                let fates = [Ended(COMPRESSION), Reset(PROTOCOL), Reset(INTERNAL), Reset(CALM)];
                allowed.may.extend_from_slice(if is_known { &[] } else { &fates });
            }
            _ => {}
        }
    }

    /// §6.2, §5.1, §8.1.
    fn judge_headers(&self, before: Before, allowed: &mut Allowed) {
        allowed.must(self.id().is_multiple_of(2), &[Ended(PROTOCOL)]);
        let content = self.content();
        if let Err(code) = content {
            allowed.must.push(Ended(code));
        }
        let mut block = Allowed::default();
        let is_known = content == Ok(&request("GET", "/")[..]) && self.has(END_STREAM);
        match before.place(self.id()) {
            // Frames after GOAWAY are ignored.
            Place::Idle if is_known => {}
            // A service may also send less than announced.
            Place::Idle => block.may = vec![Ended(COMPRESSION), Reset(PROTOCOL), Reset(INTERNAL)],
            Place::Open | Place::SaidAll => {
                block.may = vec![Ended(COMPRESSION), Reset(PROTOCOL), Reset(CALM)];
                block.must(!self.has(END_STREAM), &[Reset(PROTOCOL)]);
            }
            Place::HalfClosed => block.must(true, &[Reset(STREAM_CLOSED), Ended(STREAM_CLOSED)]),
            Place::Closed => {
                block.must(true, &[Reset(STREAM_CLOSED), Ended(STREAM_CLOSED), Ended(PROTOCOL)]);
            }
            Place::Reset => block.may.push(Ended(COMPRESSION)),
        }
        allowed.may.append(&mut block.may);
        let into = if self.has(END_HEADERS) { &mut allowed.must } else { &mut allowed.may };
        into.append(&mut block.must);
    }

    /// §6.5.
    fn judge_settings(&self, allowed: &mut Allowed) {
        let is_odd = !self.payload.len().is_multiple_of(6) || self.has(ACK) && !self.payload.is_empty();
        allowed.must(is_odd, &[Ended(FRAME_SIZE)]);
        if self.has(ACK) {
            return;
        }
        for setting in self.payload.chunks_exact(6) {
            let value = number(&setting[2..]);
            match (setting[0], setting[1]) {
                (0, 2) => allowed.must(value > 1, &[Ended(PROTOCOL)]),
                (0, 4) => allowed.must(i64::from(value) > WINDOW_MAX, &[Ended(FLOW_CONTROL)]),
                (0, 5) => allowed.must(!(1 << 14..1 << 24).contains(&value), &[Ended(PROTOCOL)]),
                _ => {}
            }
        }
    }

    /// §6.9.
    fn judge_window(&self, before: Before, sent: impl Fn(u32) -> i64, allowed: &mut Allowed) {
        allowed.must(self.payload.len() != 4, &[Ended(FRAME_SIZE)]);
        let increment = i64::from(number(&self.payload) & !(1 << 31));
        let (id, place) = (self.id(), before.place(self.id()));
        let fates = |code| if id == 0 { vec![Ended(code)] } else { vec![Reset(code), Ended(code)] };
        match place {
            Place::Idle if id != 0 => allowed.must.push(Ended(PROTOCOL)),
            Place::Closed | Place::Reset => allowed.may.extend(fates(PROTOCOL)),
            _ => allowed.must(increment == 0, &fates(PROTOCOL)),
        }
        // Due bytes may count as sent.
        let due = if before == Before::Due { 5 } else { 0 };
        let window = WINDOW - sent(id) + increment;
        match place {
            Place::SaidAll | Place::Closed | Place::Reset if window > WINDOW_MAX => {
                allowed.may.extend(fates(FLOW_CONTROL));
            }
            Place::SaidAll | Place::Closed | Place::Reset => {}
            _ if window - due > WINDOW_MAX => allowed.must.extend(fates(FLOW_CONTROL)),
            _ if window > WINDOW_MAX => allowed.may.extend(fates(FLOW_CONTROL)),
            _ => {}
        }
    }

    /// Returns true if the frame leaves a block incomplete.
    fn leaves_block(&self) -> bool {
        matches!(self.kind, 1 | 9) && !self.has(END_HEADERS)
    }

    /// Checks the replies to frames of the connection.
    fn check_replies(&self, sent: &[Frame<'_>], is_taken: bool) {
        let count = |kind, flags| sent.iter().filter(|frame| (frame.kind, frame.flags) == (kind, flags)).count();
        let is_answered = is_taken && self.is_whole() && !self.has(ACK);
        assert_eq!(count(4, ACK), usize::from(is_answered && self.kind == 4));
        assert_eq!(count(6, ACK), usize::from(is_answered && self.kind == 6));
        let is_pong = |frame: &&Frame<'_>| frame.kind == 6 && frame.flags == ACK;
        assert!(sent.iter().filter(is_pong).all(|frame| frame.payload == self.payload));
        // §5.5.
        assert!(self.kind < 10 || !is_taken || sent.iter().all(|frame| matches!(frame.kind, 0 | 1)));
    }
}

/// Returns the outcome of a frame for stream `id` by the output.
fn fate(sent: &[Frame<'_>], id: u32) -> Fate {
    let resets: Vec<_> = sent.iter().filter(|frame| frame.kind == 3 && number(frame.payload) != 0).collect();
    assert!(resets.len() < 2 && resets.iter().all(|frame| frame.stream == id));
    let end = sent.iter().position(|frame| frame.kind == 7 && number(&frame.payload[4..]) != 0);
    match (end, resets.first()) {
        (Some(place), _) => {
            assert_eq!(place + 1, sent.len(), "there is more after the end");
            Ended(number(&sent[place].payload[4..]))
        }
        (None, Some(reset)) => Reset(number(reset.payload)),
        (None, None) => Taken,
    }
}

/// Passes one frame from `input` to a connection in one state, and checks both results.
pub(super) fn each_is_taken_or_refused_as_the_standard_says(input: &[u8]) {
    let Some(([before, head @ ..], rest)) = input.split_first_chunk::<5>() else { return };
    let before = Before::ALL[usize::from(*before) % Before::ALL.len()];
    let coming = Coming::of(*head, rest);
    let bytes = coming.bytes();

    let mut driven = before.reached();
    let earlier = driven.pipe.put.len();
    receive(&mut driven, &[&bytes]);
    driven.rest(usize::MAX);
    let put = driven.pipe.put.clone();
    let (sent_before, sent) = (frames(&put[..earlier]).0, frames(&put[earlier..]).0);
    let is_of = |frame: &&Frame<'_>, id| frame.kind == 0 && (id == 0 || frame.stream == id);
    let data = |id| sent_before.iter().filter(|frame| is_of(frame, id)).map(|frame| frame.payload.len()).sum::<usize>();

    let fate = fate(&sent, coming.id());
    let allowed = coming.allowed(before, |id| i64::try_from(data(id)).unwrap());
    assert!(allowed.allows(fate), "{fate:?} {allowed:?} {before:?} {coming:?}");
    coming.check_replies(&sent, fate == Taken);

    // Neither the split nor input after the end has an effect.
    let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
    assert!(put_after(before, &pieces) == put, "it matters how it is cut");
    if let Ended(_) = fate {
        assert!(driven.is_over && !driven.connection.wants_input());
        let more = frame(1, END_HEADERS | END_STREAM, 1_001, &request("GET", "/"));
        assert!(put_after(before, &[&[&bytes[..], &more].concat()]) == put, "it listens after the end");
        return;
    }
    let is_going = matches!(before, Before::Leaving | Before::Draining) || coming.kind == 7;
    assert!(is_going || !driven.is_over);
    if coming.is_whole() && !coming.leaves_block() && !driven.is_over {
        goes_on(&mut driven, &coming, is_going);
    }
    driven.outlast();
}

/// Returns all output of a connection that receives `pieces`.
fn put_after(before: Before, pieces: &[&[u8]]) -> Vec<u8> {
    let mut driven = before.reached();
    receive(&mut driven, pieces);
    driven.rest(usize::MAX);
    driven.pipe.put
}

/// Passes `pieces` to a connection, and checks the memory.
fn receive(driven: &mut Driven, pieces: &[&[u8]]) {
    let came: usize = pieces.iter().map(|piece| piece.len()).sum();
    let held = allocation_counter::measure(|| pieces.iter().for_each(|piece| driven.receive(piece))).bytes_max;
    assert!(held <= u64::try_from(COPIES_MAX * came + MEMORY_MAX).unwrap(), "{held} bytes for {came}");
}

/// Checks that the connection answers a PING, and the next request unless the connection is about to end.
fn goes_on(driven: &mut Driven, coming: &Coming, is_going: bool) {
    let begun = if matches!(coming.kind, 1 | 9) { coming.id() } else { 1 };
    let id = (begun | 1).saturating_add(2);
    let earlier = driven.pipe.put.len();
    let get = frame(1, END_HEADERS | END_STREAM, id, &request("GET", "/"));
    let is_last = is_going || id >= 1 << 31;
    driven.receive(&[frame(6, 0, 0, b"any news"), if is_last { Vec::new() } else { get }].concat());
    driven.rest(usize::MAX);
    let sent = frames(&driven.pipe.put[earlier..]).0;
    assert!(sent.iter().any(|frame| (frame.kind, frame.payload) == (6, &b"any news"[..])), "{coming:?}");
    assert!(is_last || sent.iter().any(|frame| (frame.kind, frame.stream) == (1, id)), "{coming:?}");
}
