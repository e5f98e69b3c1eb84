//! Room for uploads, and read-ahead of bodies beyond the client's windows.

use super::*;

#[test]
fn a_body_is_written_as_far_as_the_client_takes_it_and_by_reference() {
    let mut rig = Rig::new();
    rig.bin.windows.insert(0, 100);
    rig.ask(0, get("/big"));
    assert_eq!((rig.sent(0).bytes.len(), rig.conn.in_flight()), (100, 1));
    let mut opened = 100;
    while rig.conn.in_flight() > 0 {
        rig.open(0, 7_919);
        opened += 7_919;
        rig.settle();
        assert_eq!(rig.sent(0).bytes.len() == opened, rig.conn.in_flight() > 0, "{opened}");
    }
    let came = rig.came(0);
    // The whole body is in one frame.
    assert_eq!((came.body == pattern(BIG_BYTES), came.data_frames, came.ends), (true, 1, 1));
    assert_eq!((rig.log.sent.get(), rig.log.complete.get(), rig.log.ended.get()), (BIG_BYTES, 1, 1));
}

#[test]
fn streams_take_turns() {
    let mut rig = Rig::new();
    for stream in [0, 4, 8] {
        rig.receive(stream, &get("/big"), true);
    }
    rig.receive(12, &get("/"), true);
    rig.produce(190_000);
    let sent = [0, 4, 8].map(|stream| rig.came(stream).body.len());
    assert_eq!(sent, [65_500; 3]);
    assert_eq!(rig.came(12).ends, 0);
    rig.produce(100);
    assert_eq!(rig.came(12).ends, 1, "it was before the second turn of the others");
    rig.settle();
    assert!([0, 4, 8].iter().all(|stream| rig.came(*stream).body == pattern(BIG_BYTES)));
}

#[test]
fn a_body_is_read_as_it_is_taken() {
    for path in ["/file", "/pipe"] {
        let mut rig = Rig::new();
        rig.bin.windows.insert(0, 0);
        rig.ask(0, get(path));
        assert_eq!((rig.log.read.get(), rig.log.polled.get()), (0, 0), "the head comes first");
        rig.open(0, 1_000);
        rig.settle();
        let read = rig.log.read.get();
        assert_eq!((read, rig.conn.held_for_peer()), (65_500, 65_500 - rig.came(0).body.len()));
        assert!(rig.conn.holds_since().is_some());
        rig.settle();
        assert_eq!(rig.log.read.get(), read);
        rig.open(0, 1 << 20);
        rig.settle();
        assert_eq!((rig.came(0).body == pattern(BIG_BYTES), rig.came(0).ends), (true, 1));
        assert_eq!((rig.conn.held_for_peer(), rig.conn.holds_since()), (0, None));
    }
}

#[test]
fn what_is_read_ahead_of_all_streams_is_bounded_and_no_stream_is_forgotten() {
    let mut rig = Rig::new();
    for number in 0..40 {
        rig.bin.windows.insert(number * 4, 200);
        rig.ask(number * 4, get("/file"));
    }
    let held = rig.conn.held_for_peer();
    assert!((200_000..=262_144 + 40 * 2_048).contains(&held), "{held}");
    // A stream with a window proceeds, and all streams proceed in the end.
    rig.open(39 * 4, 1 << 20);
    rig.settle();
    assert_eq!(rig.came(39 * 4).ends, 1);
    for number in 0..39 {
        rig.open(number * 4, 1 << 20);
    }
    rig.settle();
    assert!((0..40).all(|number| rig.came(number * 4).body == pattern(BIG_BYTES)));
    assert_eq!((rig.conn.in_flight(), rig.conn.held_for_peer()), (0, 0));
}

#[test]
fn while_memory_is_scarce_little_is_read_and_the_slowest_lose() {
    let mut rig = Rig::new();
    rig.conn.tighten(true);
    for stream in [0, 4] {
        rig.bin.windows.insert(stream, 200);
        rig.ask(stream, get("/file"));
        rig.now += Duration::from_secs(1);
    }
    assert!(rig.conn.held_for_peer() <= 16_375 + 2_048, "{}", rig.conn.held_for_peer());
    rig.log.is_replaced.set(true);
    rig.bin.windows.insert(8, 200);
    rig.ask(8, get("/big"));
    assert!(rig.conn.held_for_peer() > BIG_BYTES - 200);
    let now = rig.now;
    assert_eq!(rig.conn.shed(Duration::from_secs(2), now), 1);
    rig.settle();
    assert_eq!((rig.came(0).reset, rig.came(4).reset, rig.came(8).reset), (Some(0x107), None, None));
    rig.conn.tighten(false);
    for stream in [4, 8] {
        rig.open(stream, 1 << 20);
    }
    rig.settle();
    assert_eq!((rig.came(4).ends, rig.came(8).ends, rig.conn.held_for_peer()), (1, 1, 0));
}

#[test]
fn no_more_is_taken_of_an_upload_than_its_reader_reads() {
    let mut rig = Rig::new();
    rig.send(0, post("/deaf", &[]));
    assert_eq!(rig.conn.room(0), 100_000);
    rig.send(0, data(vec![1; 60_000]));
    assert_eq!(rig.conn.room(0), 40_000);
    rig.send(0, data(vec![2; 40_000]));
    assert_eq!((rig.conn.room(0), rig.sent(0).resumed), (0, 0));
    // All uploads together are limited as well.
    rig.send(4, post("/deaf", &[]));
    rig.send(4, data(vec![3; 70_000]));
    assert_eq!(rig.conn.room(4), 30_000);
    rig.send(8, post("/deaf", &[]));
    rig.send(8, data(vec![3; 30_000]));
    assert_eq!((rig.conn.room(8), rig.conn.room(4), rig.conn.room(12)), (0, 0, usize::MAX));
}

#[test]
fn streams_go_on_as_their_uploads_are_read() {
    let mut rig = Rig::new();
    rig.bin.windows.insert(0, 0);
    rig.send(0, post("/back", &[]));
    rig.bin.windows.insert(0, 1_000);
    let (mut sent, mut rounds) = (0, 0);
    while sent < 1_000_000 {
        let room = rig.conn.room(0);
        if room == 0 {
            let resumed = rig.sent(0).resumed;
            while rig.sent(0).resumed == resumed {
                rig.bin.blocked.insert(0);
                rig.open(0, 50_000);
                rig.settle();
            }
            rounds += 1;
            continue;
        }
        let part = room.min(30_000);
        rig.send(0, data(vec![7; part]));
        sent += part;
        assert!(rig.conn.held_bytes() < 250_000, "{}", rig.conn.held_bytes());
    }
    assert!(rounds > 5, "{rounds}");
    rig.bin.windows.remove(&0);
    rig.conn.writable(0);
    rig.ask(0, []);
    assert_eq!((rig.came(0).ends, rig.conn.in_flight()), (1, 0));
}

#[test]
fn what_nobody_will_read_is_not_asked_for_again_until_the_answer_is_there() {
    let mut rig = Rig::new();
    rig.bin.windows.insert(0, 0);
    rig.send(0, post("/refuse", &[]));
    rig.send(0, data(vec![0; 99_990]));
    rig.send(0, data(vec![0; 10]));
    assert_eq!((rig.conn.room(0), rig.sent(0).resumed), (0, 0));
    // The body takes no room of other bodies.
    rig.send(4, post("/deaf", &[]));
    assert_eq!(rig.conn.room(4), 100_000);
    rig.open(0, 1_000);
    rig.settle();
    assert_eq!((rig.came(0).status, rig.sent(0).resumed, rig.conn.room(0)), (Some(405), 1, usize::MAX));
}

#[test]
fn heads_that_have_begun_are_bounded_together_and_come_to_their_ends() {
    let mut rig = Rig::with(&Limits { connection_window: 65_535, ..limits() });
    let large = headers(&[whole("GET", "/bytes/0"), vec![("x", &"&".repeat(15_000)[..])]].concat());
    let mut begun = 0;
    for number in 0..20 {
        let room = rig.conn.room(number * 4);
        if room > 0 {
            rig.send(number * 4, &large[..14_000]);
            begun += 1;
        }
    }
    assert!((4..8).contains(&begun), "{begun}");
    assert!(rig.conn.held_bytes() < 200_000, "{}", rig.conn.held_bytes());
    assert_eq!((rig.conn.room(0), rig.conn.room(4)), (usize::MAX, 0));
    rig.ask(0, &large[14_000..]);
    assert_eq!((rig.came(0).status, rig.sent(4).resumed), (Some(200), 1));
    for number in 1..begun {
        assert_eq!(rig.conn.room(number * 4), usize::MAX);
        rig.ask(number * 4, &large[14_000..]);
        assert_eq!(rig.came(number * 4).status, Some(200));
    }
}

#[test]
fn what_is_cancelled_before_it_was_seen_is_ended_on_both_sides_and_never_begun() {
    let mut rig = Rig::new();
    rig.peer_reset(0);
    assert_eq!((rig.came(0).reset, rig.came(0).stopped), (Some(Code::RequestCancelled as u64), None));
    rig.peer_stop(4);
    let code = Some(Code::RequestCancelled as u64);
    assert_eq!((rig.came(4).reset, rig.came(4).stopped), (code, code));
    // Together with the request, in either order.
    rig.turn(|conn, turn| conn.peer_stop(8, turn));
    rig.ask(8, get("/wait"));
    assert_eq!((rig.came(8).reset, rig.conn.requests(), rig.conn.in_flight()), (code, 0, 0));
    rig.ask(12, get("/"));
    assert_eq!(rig.came(12).status, Some(200));
}
