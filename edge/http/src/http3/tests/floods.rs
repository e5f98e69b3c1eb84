//! Attacks that cost the server more than the peer (RFC 9114 §10.5). The connection holds little memory in each.

use super::*;

/// Upper bound of the memory for frames that cost a peer nothing.
const HELD_BYTES_MAX: usize = 128 * 1024;

/// Acts `rounds` times, and returns the error code and the held memory at the end of the connection.
fn after(rounds: u64, mut act: impl FnMut(&mut Rig, u64)) -> (Option<Code>, usize) {
    let mut rig = Rig::new();
    let mut held = 0;
    for round in 0..rounds {
        act(&mut rig, round);
        held = held.max(rig.conn.held_bytes());
        rig.produce(usize::MAX);
        // The output is not needed and would grow.
        rig.bin.streams.clear();
        if rig.state != State::Open {
            break;
        }
    }
    (rig.error(), held)
}

type Act = Box<dyn FnMut(&mut Rig, u64)>;

#[test]
fn every_flood_ends_the_connection_and_is_held_in_little_memory() {
    let many = |stream: u64, first: Vec<u8>, more: Vec<u8>| -> Act {
        Box::new(move |rig, round| rig.receive(stream, if round == 0 { &first } else { &more }, false))
    };
    let control = |more: Vec<u8>| many(CONTROL, more.clone(), more);
    #[rustfmt::skip]
    let floods: Vec<(&str, Act)> = vec![
        ("rapid reset, awaited",     Box::new(|rig, n| { rig.receive(n * 4, &get("/wait"), true); rig.turn(|conn, turn| conn.peer_stop(n * 4, turn)); })),
        ("rapid reset, small",       Box::new(|rig, n| { rig.receive(n * 4, &get("/"), true); rig.turn(|conn, turn| conn.peer_stop(n * 4, turn)); })),
        ("rapid reset, upload",      Box::new(|rig, n| { rig.receive(n * 4, &post("/echo", &[]), false); rig.turn(|conn, turn| conn.peer_reset(n * 4, turn)); })),
        ("rapid reset of no head",   Box::new(|rig, n| { rig.receive(n * 4, &[1], false); rig.turn(|conn, turn| conn.peer_reset(n * 4, turn)); })),
        ("rapid reset, paid by others", Box::new(|rig, n| {
            rig.receive(n * 8, &get("/bytes/0"), true);
            rig.receive(n * 8 + 4, &get("/wait"), true);
            rig.turn(|conn, turn| conn.peer_stop(n * 8 + 4, turn));
        })),
        ("resets of nothing",        Box::new(|rig, n| rig.turn(|conn, turn| conn.peer_reset(n * 4, turn)))),
        ("malformed requests",       Box::new(|rig, n| rig.receive(n * 4, &headers(&[("a", "b")]), true))),
        ("requests of nothing",      Box::new(|rig, n| rig.receive(n * 4, &[], true))),
        ("malformed bodies",         Box::new(|rig, n| rig.receive(n * 4, &[post("/wait", &[("content-length", "1")]), data("xy")].concat(), true))),
        ("refused streams",          Box::new(|rig, n| rig.receive(n * 4, &get("/wait"), true))),
        ("empty DATA",               many(0, post("/deaf", &[]), data(""))),
        ("unknown frames",           many(0, post("/deaf", &[]), frame_of(0x21, []))),
        ("unknown frames alone",     many(0, frame_of(0x21, []), frame_of(0x21, []))),
        ("unknown frames after it",  many(0, [post("/deaf", &[]), headers(&[("x", "y")])].concat(), frame_of(0x21, [0; 5]))),
        ("control: unknown frames",  control(frame_of(0x21, []))),
        ("control: MAX_PUSH_ID",     control(frame_of(13, [1]))),
        ("control: PRIORITY_UPDATE", control(frame_of(0xf_0700, [0, b'u']))),
        ("QPACK: no table",          many(6, vec![2], vec![0x20])),
        ("QPACK: cancellations",     many(6, vec![3], vec![0x44])),
        ("unknown streams",          Box::new(|rig, n| rig.receive(6 + n * 4, &[0x21], true))),
        ("streams without a type",   Box::new(|rig, n| rig.receive(6 + n * 4, &[0x40], true))),
    ];
    for (name, flood) in floods {
        let (error, held) = after(20_000, flood);
        assert_eq!(error, Some(Code::ExcessiveLoad), "{name}");
        assert!(held < HELD_BYTES_MAX, "{name} is held in {held} bytes");
    }
}

#[test]
fn no_more_is_taken_while_what_is_due_for_it_waits() {
    let mut rig = Rig::with(&Limits { resets_per_second: 100_000, control_frames_per_second: 100_000, ..limits() });
    let mut number = 0;
    while rig.conn.wants_input() {
        rig.receive(number * 4, &headers(&[("a", "b")]), true);
        rig.tend();
        number += 1;
        assert!(number < 2_000);
    }
    assert!(number > 500, "{number}");
    rig.settle();
    assert!(rig.conn.wants_input());
}

#[test]
fn heads_that_never_end_are_ended_in_time_and_held_within_a_limit() {
    let mut rig = Rig::new();
    let large = headers(&[whole("GET", "/"), vec![("x", &"&".repeat(15_000)[..])]].concat());
    for number in 0..200 {
        if rig.conn.room(number * 4) > 0 {
            rig.receive(number * 4, &large[..large.len() - 1], false);
        }
        rig.produce(usize::MAX);
    }
    assert!(rig.conn.held_bytes() < 2 * 200_000 + 64 * 1024, "{}", rig.conn.held_bytes());
    rig.pass(Duration::from_secs(15));
    assert_eq!((rig.conn.in_flight(), rig.conn.deadline()), (0, None));
}

#[test]
fn tiny_windows_cost_what_a_frame_of_control_costs() {
    let cost = |bytes: usize| {
        let mut rig = Rig::new();
        rig.bin.windows.insert(0, 100);
        rig.ask(0, get("/big"));
        (0..2_000)
            .take_while(|_| {
                rig.open(0, bytes);
                rig.settle();
                rig.state == State::Open && rig.conn.in_flight() > 0
            })
            .count()
    };
    let (one, thousand) = (cost(1), cost(1_024));
    assert!((900..1_010).contains(&one), "{one}");
    assert_eq!(thousand, BIG_BYTES.div_ceil(1_024) - 1);
}

#[test]
fn clients_in_earnest_are_never_taken_for_a_flood() {
    let mut rig = Rig::new();
    for number in 0..4_000 {
        let stream = number * 4;
        rig.receive(stream, &get("/bytes/0"), true);
        rig.receive(CONTROL, &frame_of(0xf_0700, [0, b'u', b'=', b'1']), false);
        rig.settle();
        if number % 10 == 0 {
            rig.receive(stream + 40_000, &get("/big"), true);
            rig.turn(|conn, turn| conn.peer_stop(stream + 40_000, turn));
            rig.settle();
        }
        rig.bin.streams.clear();
        assert_eq!(rig.state, State::Open, "{number}");
    }
}
