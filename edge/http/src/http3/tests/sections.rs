//! Frames and streams by the sections of RFC 9114 and RFC 9204: the reaction of a connection to invalid frames.

use super::*;

/// Outcome of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The connection ended with this code.
    Ended(Code),
    /// Stream 0 was reset with this code, and the connection continues.
    Reset(Code),
    /// Stream 0 was answered 200.
    Answered,
    /// No visible effect.
    Nothing,
}
use Fate::{Answered, Ended, Nothing, Reset};

/// Action of the peer on a stream.
#[derive(Debug, Clone)]
enum Step {
    /// Bytes, with more to follow.
    Some(u64, Vec<u8>),
    /// Last bytes.
    Last(u64, Vec<u8>),
    /// Reset of the stream.
    Abandoned(u64),
    /// Request to stop the stream.
    Stopped(u64),
}
use Step::{Abandoned, Last, Some as Part, Stopped};

fn fate_in(mut rig: Rig, steps: &[Step]) -> Fate {
    for step in steps {
        match step {
            Part(stream, bytes) => rig.receive(*stream, bytes, false),
            Last(stream, bytes) => rig.receive(*stream, bytes, true),
            Abandoned(stream) => rig.peer_reset(*stream),
            Stopped(stream) => rig.peer_stop(*stream),
        }
    }
    rig.settle();
    if let Some(code) = rig.error() {
        return Ended(code);
    }
    rig.ask(4_000, get("/"));
    assert_eq!(rig.came(4_000).status, Some(200), "the connection goes on");
    match rig.came(0) {
        Came { reset: Some(code), .. } => Reset(CODES.into_iter().find(|known| *known as u64 == code).unwrap()),
        Came { status: Some(200), .. } => Answered,
        _ => Nothing,
    }
}

fn fate(steps: &[Step]) -> Fate {
    fate_in(Rig::new(), steps)
}

/// Returns the outcome for a client without earlier output.
fn fate_of_first(steps: &[Step]) -> Fate {
    fate_in(Rig::bare(&limits()), steps)
}

const CODES: [Code; 18] = [
    Code::None,
    Code::GeneralProtocol,
    Code::Internal,
    Code::StreamCreation,
    Code::ClosedCriticalStream,
    Code::FrameUnexpected,
    Code::Frame,
    Code::ExcessiveLoad,
    Code::Id,
    Code::Settings,
    Code::MissingSettings,
    Code::RequestRejected,
    Code::RequestCancelled,
    Code::RequestIncomplete,
    Code::Message,
    Code::QpackDecompressionFailed,
    Code::QpackEncoderStream,
    Code::QpackDecoderStream,
];

#[test]
fn codes_are_those_of_the_registry() {
    // RFC 9114 §8.1, RFC 9204 §6.
    assert_eq!(CODES.map(|code| code as u64)[..15], std::array::from_fn::<u64, 15, _>(|at| 0x100 + at as u64));
    assert_eq!(CODES.map(|code| code as u64)[15..], [0x200, 0x201, 0x202]);
}

#[test]
fn frames_of_requests_are_checked_as_their_format_says() {
    let unexpected = Ended(Code::FrameUnexpected);
    let reserved = frame_of(0x1f * 5 + 0x21, [7; 9]);
    let trailers = headers(&[("x-sum", "1")]);
    #[rustfmt::skip]
    let cases: Vec<(&str, Vec<Step>, Fate)> = vec![
        ("4.1 a request",                vec![Last(0, get("/"))],                                          Answered),
        ("4.1 an end that comes later",  vec![Part(0, post("/echo", &[])), Last(0, vec![])],               Answered),
        ("4.1 DATA first",               vec![Part(0, data("x"))],                                         unexpected),
        ("4.1 DATA after trailers",      vec![Part(0, [post("/echo", &[]), trailers.clone(), data("x")].concat())], unexpected),
        ("4.1 HEADERS after trailers",   vec![Part(0, [post("/echo", &[]), trailers.clone(), trailers.clone()].concat())], unexpected),
        ("4.1 unknown after trailers",   vec![Last(0, [post("/echo", &[]), trailers.clone(), reserved.clone()].concat())], Answered),
        ("4.1 nothing at all",           vec![Last(0, vec![])],                                            Reset(Code::RequestIncomplete)),
        ("4.1 unknown frames alone",     vec![Last(0, reserved.clone())],                                  Reset(Code::RequestIncomplete)),
        ("4.1 reserved frames anywhere", vec![Part(0, [reserved.clone(), post("/echo", &[]), reserved.clone(), data("x")].concat()), Last(0, reserved.clone())], Answered),
        ("4.1.1 reset before its head",  vec![Part(0, get("/")[..5].to_vec()), Abandoned(0)],              Reset(Code::RequestIncomplete)),
        ("4.1.1 reset",                  vec![Part(0, post("/echo", &[])), Abandoned(0)],                  Reset(Code::RequestCancelled)),
        ("4.1.1 stopped",                vec![Last(0, get("/wait")), Stopped(0)],                          Reset(Code::RequestCancelled)),
        ("4.1.2 a malformed head",       vec![Last(0, headers(&[("a", "b")]))],                            Reset(Code::Message)),
        ("4.1.2 less than its length",   vec![Last(0, [post("/echo", &[("content-length", "2")]), data("x")].concat())], Reset(Code::Message)),
        ("4.1.2 more than its length",   vec![Part(0, [post("/echo", &[("content-length", "2")]), data("xyz")].concat())], Reset(Code::Message)),
        ("7.1 cut head of a frame",      vec![Last(0, vec![0x40])],                                        Ended(Code::Frame)),
        ("7.1 cut HEADERS",              vec![Last(0, get("/")[..9].to_vec())],                            Ended(Code::Frame)),
        ("7.1 cut DATA",                 vec![Part(0, post("/echo", &[])), Last(0, data("abc")[..4].to_vec())], Ended(Code::Frame)),
        ("7.1 cut trailers",             vec![Part(0, post("/echo", &[])), Last(0, trailers[..4].to_vec())], Ended(Code::Frame)),
        ("7.1 cut unknown frame",        vec![Part(0, post("/echo", &[])), Last(0, reserved[..4].to_vec())], Ended(Code::Frame)),
        ("7.2.3 CANCEL_PUSH",            vec![Part(0, frame_of(3, [0]))],                                  unexpected),
        ("7.2.4 SETTINGS",               vec![Part(0, settings(&[]))],                                     unexpected),
        ("7.2.4 SETTINGS in a body",     vec![Part(0, [post("/echo", &[]), settings(&[])].concat())],      unexpected),
        ("7.2.5 PUSH_PROMISE",           vec![Part(0, frame_of(5, [0, 0, 0]))],                            unexpected),
        ("7.2.6 GOAWAY",                 vec![Part(0, frame_of(7, [0]))],                                  unexpected),
        ("7.2.7 MAX_PUSH_ID",            vec![Part(0, frame_of(13, [0]))],                                 unexpected),
        ("7.2.8 PRIORITY of HTTP/2",     vec![Part(0, frame_of(2, [0; 5]))],                               unexpected),
        ("7.2.8 PING of HTTP/2",         vec![Part(0, [post("/echo", &[]), frame_of(6, [0; 8])].concat())], unexpected),
        ("7.2.8 WINDOW_UPDATE",          vec![Part(0, frame_of(8, [0; 4]))],                               unexpected),
        ("7.2.8 CONTINUATION",           vec![Part(0, frame_of(9, []))],                                   unexpected),
        ("9204 2.2 undecodable",         vec![Part(0, frame_of(1, [0, 0, 0xff]))],                         Ended(Code::QpackDecompressionFailed)),
        ("9204 4.5.1 an entry required", vec![Part(0, frame_of(1, [2, 0, 0x80]))],                         Ended(Code::QpackDecompressionFailed)),
        ("9204 2.2 empty section",       vec![Part(0, frame_of(1, []))],                                   Ended(Code::QpackDecompressionFailed)),
        ("9204 2.2 trailers",            vec![Part(0, [post("/echo", &[]), frame_of(1, [0, 0, 0x80])].concat())], Ended(Code::QpackDecompressionFailed)),
        ("9220 3 extended CONNECT",      vec![Last(0, headers(&[whole("CONNECT", "/"), vec![(":protocol", "websocket")]].concat()))], Reset(Code::Message)),
    ];
    for (name, steps, expected) in cases {
        assert_eq!(fate(&steps), expected, "{name}");
    }
}

#[test]
fn the_control_stream_is_checked_as_its_frames_say() {
    let then = |frames: Vec<u8>| fate(&[Part(CONTROL, frames), Last(0, get("/"))]);
    let first = |frames: Vec<u8>| fate_of_first(&[Part(CONTROL, control(&frames)), Last(0, get("/"))]);
    let (unexpected, id) = (Ended(Code::FrameUnexpected), Ended(Code::Id));
    // §6.2.1, §7.2.4.
    assert_eq!(first(settings(&[(6, 100), (0x21, 1)])), Answered);
    for frames in [data("x"), frame_of(7, [0]), frame_of(0x21, []), frame_of(13, [0]), headers(&[])] {
        assert_eq!(first(frames), Ended(Code::MissingSettings));
    }
    assert_eq!(then(settings(&[])), unexpected);
    assert_eq!(first([settings(&[]), settings(&[])].concat()), unexpected);
    // §7.2.4.1.
    assert_eq!(first(settings(&[(2, 0)])), Ended(Code::Settings));
    assert_eq!(first(settings(&[(6, 1), (6, 1)])), Ended(Code::Settings));
    // §7.1.
    assert_eq!(first(frame_of(kind::SETTINGS, [6])), Ended(Code::Frame));
    assert_eq!(first(frame_of(kind::SETTINGS, vec![0; 5_000])), Ended(Code::ExcessiveLoad));
    // §7.2: frames of requests, and frames of HTTP/2.
    for frames in
        [data(""), headers(&[]), frame_of(5, [0]), frame_of(2, []), frame_of(6, []), frame_of(8, []), frame_of(9, [])]
    {
        assert_eq!(then(frames), unexpected);
    }
    // §9.
    assert_eq!(then([frame_of(0x21, [0; 500]), frame_of(0xf_0700, [0; 9])].concat()), Answered);
    // §7.2.3.
    assert_eq!(then(frame_of(3, [0])), id);
    // §7.2.7.
    let push_ids = |ids: &[u64]| then(ids.iter().flat_map(|id| frame_of(13, numbers(&[*id]))).collect());
    assert_eq!((push_ids(&[0, 7, 7, 1 << 40]), push_ids(&[7, 6])), (Answered, id));
    for payload in [&[][..], &[0x40], &[1, 1], &[0; 9]] {
        for kind in [kind::GOAWAY, kind::MAX_PUSH_ID, kind::CANCEL_PUSH] {
            assert_eq!(then(frame_of(kind, payload)), Ended(Code::Frame), "{kind} {payload:x?}");
        }
    }
    // §5.2.
    let last = |ids: &[u64]| {
        let frames: Vec<u8> = ids.iter().flat_map(|id| frame_of(7, numbers(&[*id]))).collect();
        let mut rig = Rig::new();
        rig.ask(0, get("/wait"));
        rig.send(CONTROL, frames);
        rig.error()
    };
    assert_eq!((last(&[9, 9, 2]), last(&[2, 9])), (None, Some(Code::Id)));
    // For any split.
    let all = control(&[settings(&[(6, 100), (1, 0)]), frame_of(0x21, [7; 3]), frame_of(13, [9])].concat());
    for cut in 0..all.len() {
        let steps = [Part(CONTROL, all[..cut].to_vec()), Part(CONTROL, all[cut..].to_vec()), Last(0, get("/"))];
        assert_eq!(fate_of_first(&steps), Answered);
    }
}

#[test]
fn there_is_one_stream_of_each_kind_and_it_lasts() {
    let (twice, closed) = (Ended(Code::StreamCreation), Ended(Code::ClosedCriticalStream));
    // §6.2.1, RFC 9204 §4.2.
    assert_eq!(fate(&[Part(6, control(&settings(&[])))]), twice);
    for kind in [2, 3] {
        assert_eq!(fate(&[Part(6, vec![kind]), Part(10, vec![kind])]), twice);
        assert_eq!(fate(&[Last(6, vec![kind])]), closed);
        assert_eq!(fate(&[Part(6, vec![kind]), Abandoned(6)]), closed);
        assert_eq!(fate(&[Part(6, vec![kind]), Last(0, get("/"))]), Answered);
    }
    assert_eq!(fate(&[Last(CONTROL, vec![])]), closed);
    assert_eq!(fate(&[Abandoned(CONTROL)]), closed);
    assert_eq!(fate(&[Stopped(CONTROL_STREAM)]), closed);
    // §6.2.2.
    assert_eq!(fate(&[Part(6, vec![1, 0])]), twice);
    // §6.2: a stream without a complete type, and a stream of unknown type.
    assert_eq!(fate(&[Last(6, vec![]), Last(10, vec![0x40]), Part(14, vec![0x40]), Abandoned(14)]), Nothing);
    assert_eq!(fate(&[Part(6, vec![0x21, 1, 2]), Part(6, vec![3]), Last(6, vec![4]), Last(0, get("/"))]), Answered);
    assert_eq!(fate(&[Part(6, vec![0x40]), Part(6, vec![0x02, 0x20]), Part(10, vec![2])]), twice);
    // RFC 9204 §4.3, §4.4.
    assert_eq!(fate(&[Part(6, vec![2, 0x20]), Part(10, vec![3, 0x44, 0x7f, 0x01])]), Nothing);
    assert_eq!(fate(&[Part(6, vec![2, 0x21])]), Ended(Code::QpackEncoderStream));
    assert_eq!(fate(&[Part(6, vec![3]), Part(6, vec![0x80])]), Ended(Code::QpackDecoderStream));
}

#[test]
fn what_comes_on_an_unknown_stream_is_discarded_within_a_bound() {
    let mut rig = Rig::new();
    rig.send(6, [&[0x21][..], &[7; 16_383]].concat());
    assert_eq!(rig.sent(6).stopped, None);
    let held = rig.conn.held_bytes();
    rig.send(6, [7]);
    assert_eq!(rig.sent(6).stopped, Some(0x103));
    assert!(held < 4_096, "{held}");
    rig.ask(0, get("/"));
    assert_eq!(rig.came(0).status, Some(200));
    // Too many concurrent streams.
    let mut rig = Rig::new();
    for number in 1..33 {
        rig.send(CONTROL + 4 * number, [0x21]);
    }
    assert_eq!(rig.error(), Some(Code::ExcessiveLoad));
}

#[test]
fn this_end_says_its_settings_before_anything_came() {
    let mut rig = Rig::bare(&limits());
    rig.settle();
    assert_eq!(rig.sent(CONTROL_STREAM).bytes[0], 0);
    let [(kind::SETTINGS, payload)] = &rig.frames(CONTROL_STREAM)[..] else { panic!("SETTINGS") };
    assert_eq!(*payload, numbers(&[1, 0, 6, 16_384, 7, 0]));
    assert_eq!(rig.bin.streams.len(), 1);
    // As far as the client takes bytes.
    let mut rig = Rig::bare(&limits());
    rig.bin.windows.insert(CONTROL_STREAM, 3);
    rig.settle();
    assert_eq!(rig.sent(CONTROL_STREAM).bytes.len(), 3);
    rig.open(CONTROL_STREAM, 100);
    rig.settle();
    assert_eq!(rig.frames(CONTROL_STREAM).len(), 1);
}

#[test]
fn a_connection_that_ended_says_why_and_nothing_more() {
    let mut rig = Rig::new();
    rig.ask(0, get("/"));
    rig.receive(4, &get("/big"), true);
    rig.receive(8, &data("x"), false);
    rig.receive(12, &get("/"), true);
    rig.settle();
    assert_eq!(rig.error(), Some(Code::FrameUnexpected));
    assert_eq!((rig.came(4).status, rig.came(12).status), (None, None));
    assert_eq!((rig.log.ended.get(), rig.log.complete.get(), rig.conn.in_flight()), (2, 1, 0));
    rig.peer_reset(4);
    rig.peer_stop(0);
    assert_eq!(rig.error(), Some(Code::FrameUnexpected));
}

#[test]
fn streams_beyond_the_limit_are_refused_until_one_ends() {
    let mut rig = Rig::new();
    for number in 0..129 {
        rig.ask(number * 4, get("/wait"));
    }
    assert_eq!((rig.came(512).reset, rig.came(512).stopped, rig.came(508).reset), (Some(0x10b), Some(0x10b), None));
    rig.peer_stop(0);
    rig.ask(516, get("/bytes/0"));
    assert_eq!((rig.came(516).status, rig.conn.in_flight()), (Some(200), 127));
}

#[test]
fn an_idle_connection_holds_next_to_nothing() {
    let mut rig = Rig::new();
    let idle = rig.conn.held_bytes();
    for number in 0..100 {
        rig.ask(number * 4, get("/bytes/1000"));
    }
    rig.ask(404, get("/big"));
    rig.ask(408, [post("/echo", &[]), data([7; 10_000])].concat());
    assert_eq!((rig.came(404).body.len(), rig.came(408).body.len()), (BIG_BYTES, 10_000));
    assert_eq!((rig.conn.in_flight(), rig.conn.deadline()), (0, None));
    assert_eq!(rig.conn.held_bytes(), idle);
    assert!(idle < 1_024, "{idle}");
    assert!(size_of::<Connection<Site>>() < 512, "{}", size_of::<Connection<Site>>());
}
