//! Known attacks that cost the server more than the peer (RFC 9113 §10.5). The connection holds little memory in each.

use super::*;

const CALM: Option<u32> = Some(11);

/// Upper bound of the memory for frames that cost a peer nothing.
const HELD_BYTES_MAX: usize = 128 * 1024;

/// Sends frames, and returns the error code at the end of the connection.
fn after(frames: impl Iterator<Item = Vec<u8>>) -> (Option<u32>, usize) {
    let mut rig = Rig::new();
    let mut held = 0;
    for frame in frames {
        rig.receive(&frame);
        held = held.max(rig.conn.held_bytes());
        rig.produce(usize::MAX);
        if rig.state == State::Over {
            break;
        }
    }
    rig.settle();
    (rig.error(), held)
}

fn odd(number: u32) -> u32 {
    number * 2 + 1
}

#[test]
fn every_flood_ends_the_connection_and_is_held_in_little_memory() {
    let get_or = |first: Vec<u8>, more: Vec<u8>| std::iter::once(first).chain(std::iter::repeat_n(more, 50_000));
    let nothing = Vec::new;
    let most = 0x7fff_ffff;
    type Flood<'f> = Box<dyn Iterator<Item = Vec<u8>> + 'f>;
    #[rustfmt::skip]
    let floods: Vec<(&str, Flood<'_>)> = vec![
        ("rapid reset (CVE-2023-44487)", Box::new((0..5_000).map(|n| [get(odd(n), "/big"), reset(odd(n))].concat()))),
        ("rapid reset, awaited",         Box::new((0..5_000).map(|n| [get(odd(n), "/wait"), reset(odd(n))].concat()))),
        ("rapid reset, small",           Box::new((0..5_000).map(|n| [get(odd(n), "/"), reset(odd(n))].concat()))),
        ("MadeYouReset (CVE-2025-8671)", Box::new((0..5_000).map(|n| [get(odd(n), "/wait"), window(odd(n), most), window(odd(n), 1)].concat()))),
        ("MadeYouReset, increment of 0", Box::new((0..5_000).map(|n| [get(odd(n), "/wait"), window(odd(n), 0)].concat()))),
        ("MadeYouReset, late DATA",      Box::new((0..5_000).map(|n| [get(odd(n), "/wait"), data(odd(n), false, "")].concat()))),
        ("malformed requests",           Box::new((0..5_000).map(|n| headers(odd(n), true, &[("a", "b")])))),
        ("SETTINGS (CVE-2019-9515)",     Box::new(get_or(nothing(), settings(&[(2, 0)])))),
        ("PING (CVE-2019-9512)",         Box::new(get_or(nothing(), frame_of(kind::PING, 0, 0, [7; 8])))),
        ("rapid reset, paid by others",  Box::new((0..2_000).map(|n| [get(odd(n * 2), "/bytes/0"), get(odd(n * 2 + 1), "/wait"), reset(odd(n * 2 + 1))].concat()))),
        ("rapid reset, paid by a byte",  Box::new(std::iter::once(settings(&[(4, 0)])).chain((0..2_000).map(|n| {
            let (taken, back) = (odd(n * 2), odd(n * 2 + 1));
            [get(taken, "/bytes/1"), window(taken, 1), get(back, "/wait"), reset(back)].concat()
        })))),
        ("PRIORITY (CVE-2019-9513)",     Box::new(get_or(nothing(), frame_of(kind::PRIORITY, 0, 9, [0; 5])))),
        ("WINDOW_UPDATE",                Box::new(get_or(nothing(), window(0, 1)))),
        ("WINDOW_UPDATE, one byte each", Box::new(get_or([settings(&[(4, 0)]), get(1, "/big")].concat(), window(1, 1)))),
        ("empty DATA (CVE-2019-9518)",   Box::new(get_or(post(1, "/deaf", &[]), data(1, false, "")))),
        ("padding alone",                Box::new(get_or(post(1, "/deaf", &[]), frame_of(0, flag::PADDED, 1, [0])))),
        ("empty frames that end",        Box::new(get_or(post(1, "/refuse", &[]), data(1, true, "")))),
        ("DATA after the answer",        Box::new(get_or(post(1, "/refuse", &[]), data(1, false, "x")))),
        ("trailers after the answer",    Box::new(get_or(post(1, "/refuse", &[]), headers(1, false, &[("x", "y")])))),
        ("RST_STREAM of what ended",     Box::new(get_or(get(1, "/"), reset(1)))),
        ("unknown frames",               Box::new(get_or(nothing(), frame_of(0x42, 0, 0, [])))),
        ("CONTINUATION (CVE-2024-27316)", Box::new(get_or(frame_of(1, 1, 1, block(&fields("GET", "/"))), frame_of(9, 0, 1, block(&[("a", "b")]))))),
        ("empty CONTINUATION",           Box::new(get_or(frame_of(1, 1, 1, []), frame_of(9, 0, 1, [])))),
        ("large CONTINUATION",           Box::new(get_or(frame_of(1, 1, 1, []), frame_of(9, 0, 1, [0; 16_384])))),
        ("requests in CONTINUATION",     Box::new((0..5_000).map(|n| {
            let parts = frame_of(9, 0, odd(n), []).repeat(60);
            [frame_of(1, 1, odd(n), block(&fields("GET", "/bytes/0"))), parts, frame_of(9, 4, odd(n), [])].concat()
        }))),
        ("refused streams",              Box::new((0..9_000).map(|n| get(odd(n), "/wait")))),
    ];
    for (name, flood) in floods {
        let (error, held) = after(flood);
        assert_eq!(error, CALM, "{name}");
        assert!(held < HELD_BYTES_MAX, "{name} is held in {held} bytes");
    }
}

#[test]
fn a_peer_that_reads_nothing_is_not_listened_to_for_long() {
    let mut rig = Rig::with(&Limits { control_frames_per_second: 1_000_000, ..limits() });
    for (number, bytes) in [frame_of(kind::PING, 0, 0, [7; 8]), settings(&[])].into_iter().enumerate() {
        rig.send(get(odd(u32::try_from(number).unwrap()), "/"));
        let mut sent = 0;
        while rig.conn.wants_input() {
            rig.receive(&bytes.repeat(10));
            sent += 10;
        }
        assert!(sent < 5_000, "{sent}");
        assert!(rig.conn.held_bytes() < 64 * 1024);
        rig.settle();
        assert!(rig.conn.wants_input());
    }
}

#[test]
fn tiny_parts_of_an_upload_take_no_more_memory_than_their_bytes() {
    let mut rig = Rig::new();
    rig.send(post(1, "/deaf", &[]));
    for _ in 0..99 {
        rig.receive(&data(1, false, "x").repeat(1_000));
    }
    rig.settle();
    assert_eq!(rig.error(), None);
    assert!(rig.conn.held_bytes() < 150_000, "{}", rig.conn.held_bytes());
}

#[test]
fn clients_in_earnest_are_never_taken_for_a_flood() {
    // Downloads of 90 MB with an update of both windows per 4 KB.
    let mut rig = Rig::new();
    rig.send([settings(&[(4, 1 << 20)]), window(0, 1 << 20)].concat());
    for number in 0..300 {
        rig.receive(&get(odd(number), "/big"));
        rig.settle();
        assert_eq!(rig.came(odd(number)).body.len(), BIG_BYTES);
        rig.streams.clear();
        rig.receive(&[window(odd(number), 4_096), window(0, 4_096)].concat().repeat(BIG_BYTES / 4_096 + 1));
    }
    assert_eq!(rig.state, State::Open);
    // Requests with a window update and a priority each; every tenth request is cancelled.
    for number in 300..4_300 {
        let stream = odd(number);
        let more = [window(stream, 1 << 20), frame_of(0x10, 0, 0, *b"\0\0\0\x01u=1"), frame_of(2, 0, stream, [0; 5])];
        rig.receive(&[get(stream, "/bytes/0"), more.concat()].concat());
        if number % 10 == 0 {
            rig.receive(&reset(stream));
        }
        rig.settle();
        rig.streams.clear();
    }
    assert_eq!((rig.state, rig.others.iter().any(|frame| frame.kind == kind::GOAWAY)), (State::Open, false));
}

#[test]
fn a_client_that_takes_what_is_awaited_may_take_as_much_back() {
    let mut rig = Rig::new();
    for number in 0..1_000 {
        let (taken, back) = (odd(number * 2), odd(number * 2 + 1));
        rig.send([get(taken, "/nowhere"), get(back, "/wait"), reset(back)].concat());
        assert_eq!((rig.came(taken).status, rig.state), (Some(404), State::Open));
    }
    // Answers in memory have the same budget as deferred answers.
    for number in 2_000..3_000 {
        rig.receive(&[get(odd(number * 2), "/bytes/0")].concat());
        rig.settle();
        rig.receive(&[get(odd(number * 2 + 1), "/big"), reset(odd(number * 2 + 1))].concat());
        rig.settle();
        assert_eq!(rig.state, State::Open);
    }
}

#[test]
fn frames_that_make_much_work_cost_more_than_one() {
    // Number of frames within 1,000 per second.
    let cost = |first: Vec<u8>, more: &[Vec<u8>]| {
        let mut rig = Rig::new();
        rig.send(first);
        (0..2_000)
            .take_while(|number| {
                rig.send(&more[number % more.len()]);
                rig.state == State::Open
            })
            .count()
    };
    let many = (0..100).map(|number| get(odd(number), "/big"));
    let many: Vec<u8> = [settings(&[(4, 0)])].into_iter().chain(many).flatten().collect();
    let taken = cost(many, &[settings(&[(4, 1)]), settings(&[(4, 0)])]);
    assert!(taken < 250, "{taken}");
    let taken = cost([settings(&[(4, 0)]), get(1, "/big")].concat(), &[window(1, 1)]);
    assert!(taken < 510, "{taken}");
    let taken = cost([settings(&[(4, 0)]), get(1, "/big")].concat(), &[window(1, 1_024)]);
    assert!(taken > 290, "{taken}");
}
