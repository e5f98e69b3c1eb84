//! Random exchanges: for any split of the input and any client windows the answers are equal, every request is answered
//! once, and no state remains.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Request and the expected outcome.
#[derive(Debug, Clone)]
enum TestRequest {
    /// Bytes in memory.
    Bytes(usize),
    /// Polled body.
    Stream,
    /// Awaited response.
    Slow,
    /// Body of these parts, sent back; true with trailers.
    Echo(Vec<usize>, bool),
    /// Body of these parts, sent back while still arriving.
    Back(Vec<usize>),
    /// Unread body.
    Refused(Vec<usize>),
    /// Head beyond the limits.
    TooLarge(usize),
    /// Malformed request.
    Malformed,
}

fn request() -> impl Strategy<Value = TestRequest> {
    let parts = || vec(0_usize..9_000, 0..5);
    prop_oneof![
        4 => prop_oneof![0_usize..2_000, 10_000_usize..70_000, Just(65_500_usize), Just(65_501_usize)].prop_map(TestRequest::Bytes),
        1 => Just(TestRequest::Stream),
        1 => Just(TestRequest::Slow),
        2 => (parts(), any::<bool>()).prop_map(|(parts, trailers)| TestRequest::Echo(parts, trailers)),
        1 => parts().prop_map(TestRequest::Back),
        1 => parts().prop_map(TestRequest::Refused),
        1 => prop_oneof![16_400_usize..20_000, 60_000_usize..90_000].prop_map(TestRequest::TooLarge),
        1 => Just(TestRequest::Malformed),
    ]
}

impl TestRequest {
    fn bytes(&self) -> Vec<u8> {
        let with = |path: &str, parts: &[usize]| {
            let parts: Vec<u8> = parts.iter().flat_map(|part| data(pattern(*part))).collect();
            [post(path, &[]), frame_of(0x21, [1, 2, 3]), parts].concat()
        };
        match self {
            Self::Bytes(size) => get(&format!("/bytes/{size}")),
            Self::Stream => get("/stream"),
            Self::Slow => get("/nowhere"),
            Self::Echo(parts, false) => with("/echo", parts),
            Self::Echo(parts, true) => [with("/echo", parts), headers(&[("x-sum", "1")])].concat(),
            Self::Back(parts) => with("/back", parts),
            Self::Refused(parts) => with("/refuse", parts),
            Self::TooLarge(bytes) => headers(&[whole("GET", "/"), vec![("x", &"&".repeat(*bytes)[..])]].concat()),
            Self::Malformed => headers(&[("x", "y")]),
        }
    }

    /// Returns the expected status and body.
    fn expected(&self) -> (Option<u16>, Vec<u8>) {
        match self {
            Self::Bytes(size) => (Some(200), pattern(*size).to_vec()),
            Self::Stream => (Some(200), [pattern(20_000), pattern(3)].concat()),
            Self::Slow => (Some(404), b"missing".to_vec()),
            Self::Echo(parts, _) | Self::Back(parts) => {
                (Some(200), parts.iter().flat_map(|part| pattern(*part)).collect())
            }
            Self::Refused(_) => (Some(405), b"no".to_vec()),
            Self::TooLarge(_) => (Some(431), Vec::new()),
            Self::Malformed => (None, Vec::new()),
        }
    }
}

/// Client that sends requests in interleaved pieces within the room, and reads at any pace.
struct Client {
    rig: Rig,
    /// Unsent bytes per stream.
    unsent: Vec<(u64, Vec<u8>)>,
}

impl Client {
    fn new(requests: &[TestRequest], window: usize) -> Self {
        let mut rig = Rig::bare(&Limits { stream_window: 20_000, connection_window: 65_535, ..limits() });
        let own = control(&[settings(&[(6, 1 << 20)]), frame_of(0x21, [9; 30])].concat());
        let mut unsent = vec![(CONTROL, own), (6, vec![2]), (10, vec![3])];
        for (stream, request) in (0..).step_by(4).zip(requests) {
            rig.bin.windows.insert(stream, window);
            unsent.push((stream, request.bytes()));
        }
        Self { rig, unsent }
    }

    /// Sends at most `bytes_max` bytes of the stream at `place` in the list. Returns true if bytes were sent.
    fn send(&mut self, place: usize, bytes_max: usize) -> bool {
        let place = place % self.unsent.len().max(1);
        let Some((stream, unsent)) = self.unsent.get(place).cloned() else { return false };
        let is_request = stream.is_multiple_of(4);
        let sent = self.rig.sent(stream);
        if is_request && (sent.stopped.is_some() || sent.reset.is_some()) {
            self.unsent.remove(place);
            return true;
        }
        let count = unsent.len().min(bytes_max.max(1)).min(self.rig.conn.room(stream));
        if count == 0 && !unsent.is_empty() {
            return false;
        }
        let (part, rest) = unsent.split_at(count);
        self.rig.receive(stream, part, is_request && rest.is_empty());
        if rest.is_empty() {
            self.unsent.remove(place);
        } else {
            self.unsent[place].1 = rest.to_vec();
        }
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_answered_once_however_its_bytes_are_cut_and_whatever_is_taken(
        requests in vec(request(), 1..12),
        window in prop_oneof![Just(0_usize), 1_usize..40_000, Just(1 << 20)],
        sends in vec((any::<usize>(), prop_oneof![1_usize..4, 1_usize..5_000]), 1..50),
        rooms in vec(1_usize..40_000, 1..20),
    ) {
        let mut client = Client::new(&requests, window);
        let mut turn = 0;
        let mut idle = 0;
        while !client.unsent.is_empty() || client.rig.conn.in_flight() > 0 {
            let (place, bytes_max) = sends[turn % sends.len()];
            let sent = client.send(place, bytes_max) || client.send(turn, bytes_max);
            client.rig.produce(rooms[turn % rooms.len()]);
            prop_assert_eq!(client.rig.state, State::Open);
            if turn % 3 == 0 {
                for stream in client.rig.bin.blocked.clone() {
                    // Smaller windows would count as a flood.
                    client.rig.open(stream, 1_024 + bytes_max * 16);
                }
            }
            idle = if sent { 0 } else { idle + 1 };
            turn += 1;
            prop_assert!(idle < 20_000, "it is stuck");
        }
        for (stream, request) in (0..).step_by(4).zip(&requests) {
            let came = client.rig.came(stream);
            let (status, body) = request.expected();
            prop_assert_eq!(came.status, status, "{:?}", request);
            prop_assert_eq!(came.body, body, "{:?}", request);
            let is_malformed = matches!(request, TestRequest::Malformed);
            prop_assert_eq!((came.ends, came.reset.is_some()), (usize::from(!is_malformed), is_malformed), "{:?}", request);
            let has_trailers = matches!(request, TestRequest::Echo(_, true));
            prop_assert_eq!(came.trailers.len(), usize::from(has_trailers));
        }
        let log = &client.rig.log;
        prop_assert_eq!((log.waiting.get(), log.ended.get()), (0, log.complete.get()));
        prop_assert_eq!(client.rig.conn.unread, 0);
        prop_assert!(client.rig.conn.held_bytes() < 1_024);
    }

    /// An exchange split once at any byte has the same answers.
    #[test]
    fn a_request_is_the_same_wherever_it_is_cut(request in request(), at in any::<prop::sample::Index>()) {
        let bytes = request.bytes();
        let whole = {
            let mut rig = Rig::new();
            rig.ask(0, &bytes);
            rig.came(0)
        };
        let places = (0..bytes.len().min(300)).chain([at.index(bytes.len())]);
        for place in places {
            let mut rig = Rig::new();
            rig.send(0, &bytes[..place]);
            let is_over = rig.came(0).reset.is_some();
            if !is_over {
                rig.ask(0, &bytes[place..]);
            }
            let came = rig.came(0);
            prop_assert_eq!((came.status, &came.body, &came.trailers), (whole.status, &whole.body, &whole.trailers), "{}", place);
            prop_assert_eq!((came.ends, came.reset), (whole.ends, whole.reset), "{}", place);
        }
    }

    /// Arbitrary bytes may end a connection, but cause no further harm.
    #[test]
    fn any_bytes_at_all_are_survived(
        steps in vec((0_u64..24, vec(prop_oneof![0_u8..16, any::<u8>()], 0..40), 0_u8..12), 0..60),
    ) {
        let mut rig = Rig::bare(&limits());
        for (stream, bytes, kind) in steps {
            let sent = rig.sent(stream);
            if sent.stopped.is_some() || sent.reset.is_some() {
                continue;
            }
            match kind {
                0 => rig.turn(|conn, turn| conn.peer_reset(stream, turn)),
                1 => rig.turn(|conn, turn| conn.peer_stop(stream, turn)),
                _ => rig.receive(stream, &bytes, kind == 2),
            }
            rig.produce(100_000);
        }
        prop_assert!(rig.conn.held_bytes() < 64 * 1024);
    }
}
