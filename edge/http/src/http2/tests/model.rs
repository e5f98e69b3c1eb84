//! Random exchanges: for any split of the input the answers are equal, and for any permitted client behavior a model
//! that only counts finds every window respected and every request answered once.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn odd(number: usize) -> u32 {
    u32::try_from(number).unwrap() * 2 + 1
}

/// Request and the expected outcome.
#[derive(Debug, Clone)]
enum TestRequest {
    /// Bytes in memory.
    Bytes(usize),
    /// Polled body.
    Stream,
    /// Deferred answer.
    Slow,
    /// Body of these parts, sent back.
    Echo(Vec<usize>),
}

fn request() -> impl Strategy<Value = TestRequest> {
    prop_oneof![
        4 => prop_oneof![0_usize..2_000, 10_000_usize..70_000, Just(16_375_usize), Just(16_376_usize)].prop_map(TestRequest::Bytes),
        1 => Just(TestRequest::Stream),
        1 => Just(TestRequest::Slow),
        2 => vec(0_usize..9_000, 0..6).prop_map(TestRequest::Echo),
    ]
}

impl TestRequest {
    fn frames(&self, stream: u32) -> Vec<Vec<u8>> {
        match self {
            Self::Bytes(size) => vec![get(stream, &format!("/bytes/{size}"))],
            Self::Stream => vec![get(stream, "/stream")],
            Self::Slow => vec![get(stream, "/nowhere")],
            Self::Echo(parts) => {
                let parts = parts.iter().map(|part| data(stream, false, pattern(*part)));
                [post(stream, "/echo", &[])].into_iter().chain(parts).chain([data(stream, true, "")]).collect()
            }
        }
    }

    fn body(&self) -> Vec<u8> {
        match self {
            Self::Bytes(size) => pattern(*size).to_vec(),
            Self::Stream => [pattern(20_000), pattern(3)].concat(),
            Self::Slow => b"missing".to_vec(),
            Self::Echo(parts) => parts.iter().flat_map(|part| pattern(*part)).collect(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_the_same_however_bytes_are_cut_and_whatever_the_room(
        requests in vec(request(), 1..20),
        window_size in prop_oneof![Just(0_u32), 1_u32..40_000, Just(1 << 20)],
        cuts in vec(1_usize..5_000, 1..50),
        rooms in vec(1_usize..40_000, 1..20),
    ) {
        let all = requests.iter().enumerate().flat_map(|(number, request)| request.frames(odd(number)).concat());
        let opened = (0..requests.len()).flat_map(|number| window(odd(number), 1 << 20));
        let bytes: Vec<u8> =
            preface().into_iter().chain(settings(&[(4, window_size)])).chain(all).chain(opened).chain(window(0, 1 << 24)).collect();
        let (mut rig, mut rest, mut turn) = (Rig::bare(&limits()), &bytes[..], 0);
        while !rest.is_empty() {
            let (part, after) = rest.split_at(cuts[turn % cuts.len()].min(rest.len()));
            rig.receive(part);
            rig.produce(rooms[turn % rooms.len()]);
            (rest, turn) = (after, turn + 1);
        }
        while rig.conn.in_flight() > 0 {
            rig.produce(rooms[turn % rooms.len()]);
            turn += 1;
            prop_assert!(turn < 100_000, "it is stuck");
        }
        for (number, request) in requests.iter().enumerate() {
            let came = rig.came(odd(number));
            let status = if matches!(request, TestRequest::Slow) { 404 } else { 200 };
            prop_assert_eq!((came.status, came.ends, came.reset), (Some(status), 1, None), "{:?}", request);
            prop_assert_eq!(came.body, request.body(), "{:?}", request);
        }
        prop_assert_eq!(rig.conn.held_bytes(), rig.conn.decoder.memory());
    }

    /// Arbitrary bytes may end a connection, but cause no further harm.
    #[test]
    fn any_bytes_at_all_are_survived(frames in vec((0_u8..12, any::<u8>(), 0_u32..8, vec(any::<u8>(), 0..40)), 0..60), cut in 1_usize..50) {
        let mut rig = Rig::new();
        let bytes: Vec<u8> = frames.iter().flat_map(|(kind, flags, stream, payload)| frame_of(*kind, *flags, *stream, payload)).collect();
        for part in bytes.chunks(cut) {
            rig.receive(part);
            rig.produce(100_000);
        }
        prop_assert!(rig.conn.held_bytes() < 64 * 1024);
    }
}

/// Action of a client.
#[derive(Debug, Clone)]
enum Step {
    Ask(TestRequest),
    /// Opens the window of a recent stream.
    Open(usize, u32),
    OpenAll(u32),
    Initial(u32),
    Reset(usize),
    /// Sends the next part of an upload, if the windows permit.
    Upload(usize),
    Ping,
    Produce(usize),
    /// Runs the work that needs no room.
    Tend,
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => request().prop_map(Step::Ask),
        4 => (0_usize..10, 1_u32..50_000).prop_map(|(back, by)| Step::Open(back, by)),
        3 => (1_u32..100_000).prop_map(Step::OpenAll),
        2 => (0_u32..100_000).prop_map(Step::Initial),
        1 => (0_usize..10).prop_map(Step::Reset),
        6 => (0_usize..10).prop_map(Step::Upload),
        1 => Just(Step::Ping),
        8 => (0_usize..60_000).prop_map(Step::Produce),
        2 => prop::bool::weighted(0.025).prop_map(|drains| if drains { Step::Drain } else { Step::Tend }),
    ]
}

/// Request as known to the client.
#[derive(Debug)]
struct RepeatedFields {
    /// Bytes that the edge may still send.
    window: i64,
    /// Bytes that the client may still send.
    upload_window: i64,
    /// Parts still to be sent, and the end if unsent.
    uploads: VecDeque<usize>,
    ends_upload: bool,
    /// Reset by the client, or never accepted.
    dropped: bool,
    body: Vec<u8>,
}

/// Client that respects its windows and counts the windows of the edge.
struct Model {
    rig: Rig,
    known: BTreeMap<u32, RepeatedFields>,
    window: i64,
    upload_window: i64,
    initial: i64,
    /// Shrinking windows of these streams, once SETTINGS are acknowledged.
    shrinking: VecDeque<(i64, Vec<u32>)>,
    pings: usize,
    last: Option<u32>,
}

impl Model {
    fn new() -> Self {
        let mut rig = Rig::bare(&limits());
        rig.trace = Some(Vec::new());
        rig.receive(&preface());
        Self {
            rig,
            known: BTreeMap::new(),
            window: 65_535,
            upload_window: 65_535,
            initial: 65_535,
            shrinking: VecDeque::from([(0, Vec::new())]),
            pings: 0,
            last: None,
        }
    }

    fn back(&self, back: usize) -> Option<u32> {
        self.known.keys().rev().nth(back).copied()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Ask(request) => self.ask(&request),
            Step::Open(back, by) => {
                let Some(stream) = self.back(back) else { return };
                self.rig.receive(&window(stream, by));
                self.known.get_mut(&stream).unwrap().window += i64::from(by);
            }
            Step::OpenAll(by) => {
                self.rig.receive(&window(0, by));
                self.window += i64::from(by);
            }
            Step::Initial(size) => {
                self.rig.receive(&settings(&[(4, size)]));
                let change = i64::from(size) - self.initial;
                self.initial = i64::from(size);
                let now = change.max(0);
                self.known.values_mut().for_each(|known| known.window += now);
                self.shrinking.push_back((change.min(0), self.known.keys().copied().collect()));
            }
            Step::Reset(back) => {
                let Some(stream) = self.back(back) else { return };
                let known = self.known.get_mut(&stream).unwrap();
                if !known.dropped && self.rig.came(stream).ends == 0 {
                    self.rig.receive(&reset(stream));
                    known.dropped = true;
                    known.uploads.clear();
                }
            }
            Step::Upload(back) => {
                let Some(stream) = self.back(back) else { return };
                self.upload(stream);
            }
            Step::Ping => {
                self.rig.receive(&frame_of(kind::PING, 0, 0, [1; 8]));
                self.pings += 1;
            }
            Step::Produce(room) => self.produce(room),
            Step::Tend => self.rig.tend(),
            Step::Drain => self.rig.conn.drain(),
        }
    }

    fn ask(&mut self, request: &TestRequest) {
        if self.last.is_some() || self.rig.conn.in_flight() >= 128 {
            return;
        }
        let stream = self.known.keys().next_back().map_or(1, |last| last + 2);
        self.rig.receive(&request.frames(stream)[0]);
        let uploads = match request {
            TestRequest::Echo(parts) => parts.iter().copied().collect(),
            _ => VecDeque::new(),
        };
        let known = RepeatedFields {
            window: self.initial,
            upload_window: 100_000,
            uploads,
            ends_upload: matches!(request, TestRequest::Echo(_)),
            dropped: false,
            body: request.body(),
        };
        self.known.insert(stream, known);
    }

    /// Sends the next part of an upload; true if a part was left and the windows permitted the part.
    fn upload(&mut self, stream: u32) -> bool {
        let known = self.known.get_mut(&stream).unwrap();
        if known.dropped || !known.ends_upload {
            return false;
        }
        let Some(part) = known.uploads.front().copied() else {
            known.ends_upload = false;
            self.rig.receive(&data(stream, true, ""));
            return true;
        };
        let size = i64::try_from(part).unwrap();
        if size > known.upload_window.min(self.upload_window) {
            return false;
        }
        known.uploads.pop_front();
        known.upload_window -= size;
        self.upload_window -= size;
        self.rig.receive(&data(stream, false, pattern(part)));
        true
    }

    fn produce(&mut self, room: usize) {
        self.rig.produce(room);
        for frame in std::mem::take(self.rig.trace.as_mut().unwrap()) {
            let stream = frame.stream;
            match frame.kind {
                kind::DATA => {
                    let size = i64::try_from(frame.payload.len()).unwrap();
                    let known = self.known.get_mut(&stream).unwrap();
                    self.window -= size;
                    known.window -= size;
                    assert!(size == 0 || known.window >= 0, "beyond the window of stream {stream}");
                    assert!(self.window >= 0, "beyond the window of the connection");
                }
                kind::SETTINGS if frame.flags & flag::ACK != 0 => {
                    let (change, streams) = self.shrinking.pop_front().expect("an acknowledgement of nothing");
                    for stream in streams {
                        self.known.get_mut(&stream).unwrap().window += change;
                    }
                }
                kind::WINDOW_UPDATE if stream == 0 => self.upload_window += i64::from(frame.number(0)),
                kind::WINDOW_UPDATE => {
                    self.known.get_mut(&stream).unwrap().upload_window += i64::from(frame.number(0));
                }
                kind::PING if frame.flags & flag::ACK != 0 => self.pings -= 1,
                kind::PING => self.rig.receive(&frame_of(kind::PING, flag::ACK, 0, &frame.payload)),
                kind::GOAWAY => {
                    assert_eq!(frame.number(4), 0, "an error");
                    if frame.number(0) < 0x7fff_ffff {
                        self.last = Some(frame.number(0));
                    }
                }
                kind::RST_STREAM => panic!("stream {stream} was reset with {}", frame.number(0)),
                _ => {}
            }
        }
        let last = self.last.unwrap_or(u32::MAX);
        for (stream, known) in self.known.range_mut(last.saturating_add(1)..) {
            known.dropped = true;
            assert_eq!(self.rig.streams.get(stream).and_then(|came| came.status), None, "answered after the last");
        }
        assert!((0..=200_000).contains(&self.upload_window), "{}", self.upload_window);
        assert!(self.known.values().all(|known| known.upload_window <= 100_000));
    }

    /// Writes all possible output: streams with open windows are complete.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            self.rig.task.0.store(0, Ordering::Relaxed);
            self.produce(100_000);
            if self.rig.bin.room == 100_000 && self.rig.task.0.load(Ordering::Relaxed) == 0 {
                break;
            }
        }
        for (stream, known) in &self.known {
            let came = self.rig.came(*stream);
            let is_due = !known.dropped && !known.ends_upload && came.ends == 0;
            let is_shut = !known.body.is_empty() && (self.window <= 0 || known.window <= 0);
            assert!(!is_due || is_shut, "stream {stream} waits for nothing: {} {known:?}", self.window);
        }
    }

    /// Opens every window and completes all requests.
    fn finish(mut self) {
        self.settle();
        self.step(Step::OpenAll(1 << 30));
        self.step(Step::Initial(1 << 28));
        self.produce(1 << 20);
        for _ in 0..10_000 {
            let streams: Vec<u32> = self.known.keys().copied().collect();
            let mut sent = false;
            for stream in streams {
                sent |= self.upload(stream);
            }
            self.produce(100_000);
            if !sent && self.rig.conn.in_flight() == 0 && self.rig.bin.room > 0 {
                break;
            }
        }
        self.produce(1 << 20);
        assert_eq!((self.rig.conn.in_flight(), self.pings, self.shrinking.len()), (0, 0, 0));
        for (stream, known) in &self.known {
            let came = self.rig.came(*stream);
            if known.dropped {
                assert!(came.ends <= 1);
            } else {
                assert_eq!((came.ends, came.body.len()), (1, known.body.len()), "stream {stream}");
                assert_eq!(came.body, known.body);
            }
        }
        // Every window of a cancelled upload was returned.
        assert!(self.upload_window > 200_000 / 2, "{}", self.upload_window);
        assert_eq!(self.rig.state, if self.last.is_some() { State::Over } else { State::Open });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn windows_are_kept_and_every_request_is_answered_once(steps in vec(step(), 0..120)) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
        }
        model.finish();
    }
}
