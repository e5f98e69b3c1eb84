//! Windows in both directions (RFC 9113 §6.9), and turns.

use super::*;

fn got(rig: &Rig, stream: u32) -> usize {
    rig.came(stream).body.len()
}

#[test]
fn no_more_comes_than_the_window_of_the_stream() {
    let mut rig = Rig::new();
    rig.send([settings(&[(4, 10)]), get(1, "/big")].concat());
    assert_eq!(got(&rig, 1), 10);
    rig.send(window(1, 5));
    assert_eq!(got(&rig, 1), 15);
    rig.send([window(1, 1), window(1, 1)].concat());
    assert_eq!(got(&rig, 1), 17);
}

#[test]
fn no_more_comes_than_the_window_of_the_connection() {
    let mut rig = Rig::new();
    rig.send([settings(&[(4, 1 << 20)]), get(1, "/big"), get(3, "/big"), get(5, "/bytes/9")].concat());
    assert_eq!(got(&rig, 1) + got(&rig, 3) + got(&rig, 5), 65_535);
    assert!(rig.conn.only_awaits_peer());
    rig.send(window(0, 100));
    assert_eq!(got(&rig, 1) + got(&rig, 3) + got(&rig, 5), 65_635);
    rig.send(window(0, 1 << 20));
    assert!([1, 3].iter().all(|stream| rig.came(*stream).body == pattern(BIG_BYTES)));
    assert_eq!((rig.conn.in_flight(), rig.conn.only_awaits_peer()), (0, false));
}

#[test]
fn heads_and_ends_need_no_window() {
    let mut rig = Rig::new();
    rig.send([settings(&[(4, 1 << 20)]), get(1, "/big"), get(3, "/bytes/0"), get(5, "/bytes/1")].concat());
    assert_eq!(got(&rig, 1) + got(&rig, 5), 65_535);
    rig.send(get(7, "/bytes/1"));
    rig.send(get(9, "/bytes/0"));
    rig.send(get(11, "/stream"));
    assert_eq!((rig.came(7).status, rig.came(7).ends, rig.came(9).ends), (Some(200), 0, 1));
    assert_eq!((rig.came(11).status, rig.came(11).ends), (Some(200), 0));
}

#[test]
fn a_stream_without_a_window_holds_up_no_other() {
    let mut rig = Rig::new();
    rig.send([settings(&[(4, 0)]), get(1, "/big"), get(3, "/"), window(3, 5)].concat());
    assert_eq!((got(&rig, 1), got(&rig, 3), rig.came(3).ends), (0, 5, 1));
    assert!(rig.conn.only_awaits_peer());
}

#[test]
fn a_change_of_the_initial_window_moves_streams_that_have_begun() {
    let mut rig = Rig::new();
    rig.send([settings(&[(4, 1_000)]), get(1, "/big")].concat());
    assert_eq!(got(&rig, 1), 1_000);
    // The window is -1,000, then 0, then 1.
    rig.send([settings(&[(4, 0)]), window(1, 1_000)].concat());
    assert_eq!(got(&rig, 1), 1_000);
    rig.send(window(1, 1));
    assert_eq!(got(&rig, 1), 1_001);
    rig.send(settings(&[(4, 99)]));
    assert_eq!(got(&rig, 1), 1_100);
    rig.send(settings(&[(4, 0x7fff_ffff)]));
    assert_eq!(got(&rig, 1), 65_535);
}

#[test]
fn answers_that_wait_follow_a_window_that_shrinks_before_they_are_put() {
    let mut rig = Rig::new();
    rig.receive(&[get(1, "/bytes/100"), get(3, "/bytes/0"), settings(&[(4, 10)])].concat());
    rig.settle();
    assert_eq!((got(&rig, 1), rig.came(3).ends), (10, 1));
    rig.send(window(1, 90));
    assert_eq!((rig.came(1).body, rig.came(1).ends), (pattern(100).to_vec(), 1));
}

#[test]
fn the_window_of_answers_that_are_taken_back_is_there_for_others() {
    let mut rig = Rig::new();
    let taken_back = (0..10).flat_map(|n| [get(n * 2 + 1, "/bytes/10000"), reset(n * 2 + 1)].concat());
    rig.receive(&taken_back.collect::<Vec<u8>>());
    rig.receive(&get(101, "/bytes/16375"));
    rig.settle();
    assert_eq!((rig.came(101).ends, rig.came(1).status), (1, None));
    rig.send([settings(&[(4, 1 << 20)]), get(103, "/big")].concat());
    assert_eq!(got(&rig, 103), 65_535 - 16_375);
}

#[test]
fn streams_take_turns_frame_by_frame() {
    let mut rig = Rig::new();
    rig.send([settings(&[(4, 1 << 20)]), window(0, 1 << 24)].concat());
    rig.receive(&[1, 3, 5].map(|stream| get(stream, "/big")).concat());
    let mut most_apart = 0;
    while rig.conn.in_flight() > 0 {
        rig.produce(1);
        let sizes = [1, 3, 5].map(|stream| got(&rig, stream));
        let ended = [1, 3, 5].iter().any(|stream| rig.came(*stream).ends > 0);
        if !ended {
            most_apart = most_apart.max(sizes.iter().max().unwrap() - sizes.iter().min().unwrap());
        }
    }
    assert_eq!(most_apart, 16_375);
    assert!([1, 3, 5].iter().all(|stream| rig.came(*stream).body == pattern(BIG_BYTES)));
}

#[test]
fn a_stream_that_gets_no_window_is_reset_in_time() {
    let mut rig = Rig::new();
    rig.send([settings(&[(4, 10)]), get(1, "/big")].concat());
    assert_eq!(rig.conn.deadline(), Some(rig.now + Duration::from_secs(10)));
    rig.pass(Duration::from_secs(9));
    rig.send(window(1, 1));
    rig.pass(Duration::from_secs(9));
    assert_eq!(rig.came(1).reset, None);
    assert_eq!(rig.conn.deadline(), Some(rig.now + Duration::from_secs(1)));
    rig.pass(Duration::from_secs(1));
    assert_eq!((rig.came(1).reset, rig.conn.deadline()), (Some(8), None));
    assert_eq!((rig.log.ended.get(), rig.log.complete.get()), (1, 0));
    rig.send([window(1, 1_000), get(3, "/")].concat());
    assert_eq!((got(&rig, 1), rig.came(3).status), (11, Some(200)));
}

#[test]
fn a_stream_that_waits_for_its_share_of_the_window_has_time_while_that_opens() {
    let mut rig = Rig::new();
    rig.send([settings(&[(4, 1 << 20)]), get(1, "/big"), get(3, "/big")].concat());
    for _ in 0..5 {
        rig.pass(Duration::from_secs(9));
        rig.send(window(0, 1));
    }
    assert_eq!((rig.came(1).reset, rig.came(3).reset), (None, None));
    assert_eq!(got(&rig, 1) + got(&rig, 3), 65_540);
    rig.pass(Duration::from_secs(10));
    assert_eq!((rig.came(1).reset, rig.came(3).reset), (Some(8), Some(8)));
}

#[test]
fn a_window_for_uploads_may_be_small() {
    let mut rig = Rig::with(&Limits { stream_window: 1_000, connection_window: 1_000, ..limits() });
    rig.send([post(1, "/count", &[]), data(1, false, vec![0; 500])].concat());
    assert_eq!((rig.increments(1), rig.increments(0)), (500, 0));
    rig.send(data(1, false, vec![0; 16_000]).repeat(2));
    assert_eq!((rig.increments(1), rig.increments(0)), (32_500, 0));
    rig.send([data(1, false, vec![0; 500]), data(1, true, "")].concat());
    assert_eq!((rig.increments(0), rig.came(1).body), (33_000, b"33000".to_vec()));
}

#[test]
fn an_upload_is_let_in_as_it_is_read() {
    let mut rig = Rig::new();
    rig.send(post(1, "/count", &[]));
    // Windows of 100,000 and 200,000; both are returned after half was read.
    for _ in 0..3 {
        rig.send(data(1, false, vec![0; 16_000]));
    }
    assert_eq!((rig.increments(1), rig.increments(0)), (0, 0));
    rig.send(data(1, false, vec![0; 2_000]));
    assert_eq!((rig.increments(1), rig.increments(0)), (50_000, 0));
    for _ in 0..4 {
        rig.send(data(1, false, vec![0; 12_500]));
    }
    assert_eq!((rig.increments(1), rig.increments(0)), (100_000, 100_000));
    rig.send(data(1, true, ""));
    assert_eq!(rig.came(1).body, b"100000");
}

#[test]
fn padding_counts_and_is_given_back() {
    let mut rig = Rig::new();
    rig.send(post(1, "/deaf", &[]));
    let padded = frame_of(kind::DATA, flag::PADDED, 1, [vec![255], vec![0; 255]].concat());
    rig.send(padded.repeat(196));
    assert_eq!(rig.increments(1), 50_176);
}

#[test]
fn an_upload_that_nobody_reads_is_bounded_and_beyond_its_window_an_error() {
    let mut rig = Rig::new();
    rig.send(post(1, "/deaf", &[]));
    rig.send(data(1, false, vec![0; 10_000]).repeat(10));
    assert_eq!((rig.increments(1), rig.came(1).reset), (0, None));
    assert!(rig.conn.held_bytes() < 120_000, "{}", rig.conn.held_bytes());
    rig.send(data(1, false, "x"));
    assert_eq!(rig.came(1).reset, Some(3));
    // The window of the connection is returned.
    assert_eq!(rig.increments(0), 100_001);
    rig.send([post(3, "/deaf", &[]), post(5, "/deaf", &[]), post(7, "/deaf", &[])].concat());
    let beyond: Vec<u8> =
        [3, 5, 7].iter().flat_map(|stream| data(*stream, false, vec![0; 10_000]).repeat(10)).collect();
    rig.send(beyond);
    assert_eq!(rig.error(), Some(3));
}

#[test]
fn bodies_of_refused_and_answered_requests_cost_no_window_for_ever() {
    let mut rig = Rig::new();
    for number in 0..100 {
        let stream = number * 2 + 1;
        rig.send(post(stream, "/refuse", &[]));
        assert_eq!((rig.came(stream).status, rig.came(stream).reset), (Some(405), None));
        rig.send([data(stream, false, vec![0; 16_384]), data(stream, true, vec![0; 16_384])].concat());
    }
    rig.send([post(201, "/count", &[]), data(201, true, vec![0; 10_000])].concat());
    assert_eq!(rig.came(201).body, b"10000");
    assert_eq!(rig.error(), None);
}

#[test]
fn an_upload_that_is_taken_back_ends_its_reader_and_gives_its_window_back() {
    let mut rig = Rig::new();
    rig.send([post(1, "/deaf", &[]), data(1, false, vec![0; 15_000]).repeat(6)].concat());
    assert_eq!(rig.log.waiting.get(), 1);
    rig.send(reset(1));
    assert_eq!((rig.log.waiting.get(), rig.conn.in_flight()), (0, 0));
    rig.send([post(3, "/count", &[]), data(3, true, vec![0; 10_000])].concat());
    assert_eq!(rig.increments(0), 100_000);
}
