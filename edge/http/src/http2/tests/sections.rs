//! Frames and streams by the sections of RFC 9113: the reaction of a connection to invalid frames.

use super::*;

/// Outcome of some frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The connection ended with this code.
    Ended(u32),
    /// Stream 1 was reset with this code, and the connection continues.
    Reset(u32),
    /// Stream 1 was answered 200.
    Answered,
    /// No visible effect.
    Nothing,
}
use Fate::{Answered, Ended, Nothing, Reset};

fn fate(bytes: &[Vec<u8>]) -> Fate {
    let mut rig = Rig::new();
    rig.send(bytes.concat());
    if let Some(code) = rig.error() {
        return Ended(code);
    }
    assert_eq!(rig.state, State::Open);
    rig.send(get(1_001, "/"));
    assert_eq!(rig.came(1_001).status, Some(200), "the connection goes on");
    match rig.came(1) {
        Came { reset: Some(code), .. } => Reset(code),
        Came { status: Some(200), .. } => Answered,
        _ => Nothing,
    }
}

fn held(stream: u32) -> Vec<u8> {
    [settings(&[(4, 0)]), get(stream, "/big")].concat()
}

fn open(stream: u32) -> Vec<u8> {
    post(stream, "/echo", &[])
}

#[test]
fn frames_are_checked_as_their_format_says() {
    let padded = flag::PADDED | flag::END_STREAM | flag::END_HEADERS;
    let whole = flag::END_STREAM | flag::END_HEADERS;
    let block = block(&fields("GET", "/"));
    #[rustfmt::skip]
    let cases: Vec<(&str, Vec<Vec<u8>>, Fate)> = vec![
        ("4.1 unknown types",            vec![frame_of(0x16, 0xff, 7, [7; 9]), get(1, "/")],               Answered),
        ("4.2 too large",                vec![open(1), data(1, true, vec![0; 16_385])],                    Ended(6)),
        ("4.2 too large, before it came", vec![vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]],                  Ended(6)),
        ("4.2 as large as can be",       vec![open(1), data(1, true, vec![0; 16_384])],                    Answered),
        ("4.3 undecodable",              vec![frame_of(kind::HEADERS, whole, 1, [0x40, 0x7f])],            Ended(9)),
        ("4.3 undecodable trailers",     vec![open(1), frame_of(kind::HEADERS, whole, 1, [0x80])],         Ended(9)),
        ("4.3 interrupted by PING",      vec![frame_of(kind::HEADERS, 1, 1, &block), frame_of(6, 0, 0, [0; 8])], Ended(1)),
        ("4.3 interrupted by HEADERS",   vec![frame_of(kind::HEADERS, 1, 1, &block), get(3, "/")],         Ended(1)),
        ("5.5 interrupted by unknown",   vec![frame_of(kind::HEADERS, 1, 1, &block), frame_of(0x16, 0, 1, [])], Ended(1)),
        ("6.1 DATA on 0",                vec![data(0, false, "x")],                                        Ended(1)),
        ("6.1 padding is no content",    vec![open(1), frame_of(0, flag::PADDED | 1, 1, b"\x02ab\0\0")],   Answered),
        ("6.1 padding too long",         vec![open(1), frame_of(0, flag::PADDED, 1, [5, 0, 0, 0, 0])],     Ended(1)),
        ("6.1 padding without length",   vec![open(1), frame_of(0, flag::PADDED, 1, [])],                  Ended(6)),
        ("6.2 HEADERS on 0",             vec![get(0, "/")],                                                Ended(1)),
        ("6.2 padded HEADERS",           vec![frame_of(1, padded, 1, [&[3][..], &block, &[0; 3]].concat())], Answered),
        ("6.2 padding too long",         vec![frame_of(1, padded, 1, [&[255][..], &block].concat())],      Ended(1)),
        ("6.2 cut priority",             vec![frame_of(1, whole | flag::PRIORITY, 1, [0; 3])],             Ended(6)),
        ("6.2 priority upon itself",     vec![frame_of(1, whole | flag::PRIORITY, 1, [&[0, 0, 0, 1, 1][..], &block].concat())], Answered),
        ("6.3 PRIORITY on 0",            vec![frame_of(2, 0, 0, [0; 5])],                                  Ended(1)),
        ("6.3 PRIORITY of 4",            vec![open(1), frame_of(2, 0, 1, [0; 4])],                         Ended(6)),
        ("6.3 PRIORITY anywhere",        vec![frame_of(2, 0, 9, [0; 5]), get(1, "/"), frame_of(2, 0, 1, [0; 5])], Answered),
        ("6.4 RST_STREAM on 0",          vec![reset(0)],                                                   Ended(1)),
        ("6.4 RST_STREAM of 3",          vec![open(1), frame_of(3, 0, 1, [0; 3])],                         Ended(6)),
        ("6.4 RST_STREAM ends it",       vec![held(1), reset(1), settings(&[(4, 9_999)])],                 Nothing),
        ("6.5 SETTINGS on a stream",     vec![frame_of(4, 0, 1, [])],                                      Ended(1)),
        ("6.5 SETTINGS of 5",            vec![frame_of(4, 0, 0, [0; 5])],                                  Ended(6)),
        ("6.5 acknowledgement with 6",   vec![frame_of(4, 1, 0, [0; 6])],                                  Ended(6)),
        ("6.5 acknowledgement",          vec![frame_of(4, 1, 0, []), get(1, "/")],                         Answered),
        ("6.6 PUSH_PROMISE",             vec![open(1), frame_of(5, 4, 1, [0, 0, 0, 2])],                   Ended(1)),
        ("6.7 PING on a stream",         vec![frame_of(6, 0, 1, [0; 8])],                                  Ended(1)),
        ("6.7 PING of 7",                vec![frame_of(6, 0, 0, [0; 7])],                                  Ended(6)),
        ("6.8 GOAWAY on a stream",       vec![frame_of(7, 0, 1, [0; 8])],                                  Ended(1)),
        ("6.8 GOAWAY of 7",              vec![frame_of(7, 0, 0, [0; 7])],                                  Ended(6)),
        ("6.9 WINDOW_UPDATE of 3",       vec![frame_of(8, 0, 0, [0; 3])],                                  Ended(6)),
        ("6.9 increment of 0",           vec![window(0, 0)],                                               Ended(1)),
        ("6.9 increment of 0, stream",   vec![held(1), window(1, 0)],                                      Reset(1)),
        ("6.9.1 beyond",                 vec![window(0, 0x7fff_ffff)],                                     Ended(3)),
        ("6.9.1 beyond, stream",         vec![held(1), window(1, 0x7fff_ffff), window(1, 1)],              Reset(3)),
        ("6.9.2 beyond, by settings",    vec![held(1), window(1, 0x7fff_ffff), settings(&[(4, 1)])],       Ended(3)),
        ("6.10 CONTINUATION alone",      vec![frame_of(9, 4, 1, &block)],                                  Ended(1)),
        ("6.10 CONTINUATION of another", vec![frame_of(1, 1, 1, &block), frame_of(9, 4, 3, [])],           Ended(1)),
        ("6.10 CONTINUATION",            vec![frame_of(1, 1, 1, &block[..9]), frame_of(9, 0, 1, []), frame_of(9, 4, 1, &block[9..])], Answered),
    ];
    for (name, bytes, expected) in cases {
        assert_eq!(fate(&bytes), expected, "{name}");
    }
}

#[test]
fn streams_go_through_their_states() {
    let most = 0x7fff_ffff_u32;
    #[rustfmt::skip]
    let cases: Vec<(&str, Vec<Vec<u8>>, Fate)> = vec![
        ("idle: DATA",                  vec![data(1, false, "x")],                              Ended(1)),
        ("idle: RST_STREAM",            vec![reset(1)],                                         Ended(1)),
        ("idle: WINDOW_UPDATE",         vec![window(1, 9)],                                     Ended(1)),
        ("idle: even",                  vec![get(1, "/"), data(2, false, "x")],                 Ended(1)),
        ("open: all",                   vec![open(1), window(1, 5), data(1, false, "a"), data(1, false, ""), data(1, true, "")], Answered),
        ("open: head without end",      vec![open(1), headers(1, false, &[("x", "y")])],        Reset(1)),
        ("half-closed: DATA",           vec![held(1), data(1, true, "x")],                      Reset(5)),
        ("half-closed: HEADERS",        vec![held(1), headers(1, true, &[("x", "y")])],         Ended(5)),
        ("half-closed: WINDOW_UPDATE",  vec![held(1), window(1, 3)],                            Answered),
        ("waits to be put: HEADERS",    vec![get(1, "/"), get(1, "/")],                         Ended(5)),
        ("waits to be put: DATA",       vec![get(1, "/"), data(1, false, "x")],                 Reset(5)),
        ("closed by RST: DATA",         vec![open(1), reset(1), data(1, false, "x")],           Reset(5)),
        ("closed by RST: HEADERS",      vec![open(1), reset(1), open(1)],                       Ended(1)),
        ("closed by RST: others",       vec![open(1), reset(1), window(1, 1), reset(1), frame_of(2, 0, 1, [0; 5])], Nothing),
        ("left out: HEADERS",           vec![held(5), get(3, "/")],                             Ended(1)),
        ("numbers left out",            vec![get(1, "/"), get(9, "/"), get(999, "/")],          Answered),
        ("even number",                 vec![get(2, "/")],                                      Ended(1)),
    ];
    for (name, bytes, expected) in cases {
        assert_eq!(fate(&bytes), expected, "{name}");
    }
    let mut rig = Rig::new();
    rig.send(get(most, "/"));
    assert_eq!(rig.came(most).status, Some(200));
    rig.send(data(most - 2, false, "x"));
    assert_eq!(rig.came(most - 2).reset, Some(5));
}

#[test]
fn the_preface_comes_first_and_then_settings() {
    let after = |bytes: &[u8]| {
        let mut rig = Rig::bare(&limits());
        rig.send(bytes);
        rig.error()
    };
    assert_eq!(after(b"GET / HTTP/1.1\r\n"), Some(1));
    assert_eq!(after(&settings(&[])), Some(1));
    assert_eq!(after(&[&frame::PREFACE[..23], b"!"].concat()), Some(1));
    assert_eq!(after(&[frame::PREFACE, &get(1, "/")].concat()), Some(1));
    assert_eq!(after(&[frame::PREFACE, &frame_of(kind::SETTINGS, 1, 0, [])].concat()), Some(1));
    assert_eq!(after(&[frame::PREFACE, &settings(&[(2, 7)])].concat()), Some(1));
    assert_eq!(after(&[preface(), get(1, "/")].concat()), None);
    let mut rig = Rig::bare(&limits());
    for byte in [preface(), get(1, "/")].concat() {
        rig.receive(&[byte]);
    }
    rig.settle();
    assert_eq!(rig.came(1).body, pattern(5));
}

#[test]
fn this_end_says_its_settings_before_anything_came() {
    let mut rig = Rig::bare(&limits());
    rig.settle();
    let [settings, update] = &rig.others[..] else { panic!("{:?}", rig.others) };
    assert_eq!((settings.kind, settings.flags, settings.stream), (kind::SETTINGS, 0, 0));
    let pairs: Vec<(u16, u32)> = settings
        .payload
        .chunks(6)
        .map(|pair| (u16::from_be_bytes([pair[0], pair[1]]), u32::from_be_bytes(pair[2..].try_into().unwrap())))
        .collect();
    assert_eq!(pairs, [(3, 128), (4, 100_000), (6, 16_384)]);
    assert_eq!((update.kind, update.stream, update.number(0)), (kind::WINDOW_UPDATE, 0, 200_000 - 65_535));
}

#[test]
fn settings_and_pings_are_acknowledged_once_each() {
    let mut rig = Rig::new();
    rig.send([settings(&[]), settings(&[(2, 0)]), frame_of(kind::PING, 0xfe, 0, b"pingpong")].concat());
    rig.send(frame_of(kind::PING, 1, 0, [1; 8]));
    let kinds: Vec<(u8, u8)> = rig.others.iter().map(|frame| (frame.kind, frame.flags)).collect();
    assert_eq!(kinds, [(kind::SETTINGS, 1), (kind::SETTINGS, 1), (kind::PING, 1)]);
    assert_eq!(rig.others[2].payload, b"pingpong");
}

#[test]
fn goaway_of_an_error_names_the_last_stream_and_nothing_follows() {
    let mut rig = Rig::new();
    rig.send([get(1, "/"), get(7, "/")].concat());
    rig.receive(&[get(9, "/big"), data(11, false, "x"), get(13, "/")].concat());
    rig.settle();
    assert_eq!(rig.error(), Some(1));
    let goaway = rig.others.last().unwrap();
    assert_eq!(goaway.number(0), 9);
    assert_eq!((rig.came(9).status, rig.came(13).status), (None, None));
    assert!(!rig.conn.wants_input());
    assert_eq!((rig.log.ended.get(), rig.log.complete.get()), (3, 2));
}

#[test]
fn a_peer_that_says_goaway_is_answered_to_the_end() {
    let mut rig = Rig::new();
    rig.send([held(1), frame_of(kind::GOAWAY, 0, 0, [0; 12])].concat());
    assert_eq!(rig.state, State::Open);
    rig.send([window(1, 1 << 20), window(0, 1 << 20)].concat());
    assert_eq!((rig.came(1).body.len(), rig.error()), (BIG_BYTES, Some(0)));
}

#[test]
fn streams_beyond_the_limit_are_refused_until_one_ends() {
    let mut rig = Rig::new();
    rig.send((0..129).flat_map(|number| held(number * 2 + 1)).collect::<Vec<u8>>());
    assert_eq!((rig.came(257).reset, rig.came(255).reset), (Some(7), None));
    rig.send([data(257, true, ""), reset(1), get(259, "/bytes/0")].concat());
    assert_eq!((rig.came(259).status, rig.conn.in_flight()), (Some(200), 127));
}

#[test]
fn an_idle_connection_holds_next_to_nothing() {
    let mut rig = Rig::new();
    rig.send((0..100).flat_map(|number| get(number * 2 + 1, "/bytes/1000")).collect::<Vec<u8>>());
    rig.send([get(201, "/big"), window(201, 1 << 20), window(0, 1 << 20)].concat());
    rig.send([post(203, "/echo", &[]), data(203, true, vec![7; 10_000])].concat());
    assert_eq!(rig.came(203).body.len(), 10_000);
    assert_eq!(rig.conn.in_flight(), 0);
    assert_eq!(rig.conn.held_bytes() - rig.conn.decoder.memory(), 0);
    assert!(size_of::<Connection<Site>>() < 1_024, "{}", size_of::<Connection<Site>>());
}
