//! Awaited responses, clocks of both directions, and the end of a connection.

use super::*;
use crate::inbound::Broken;
use crate::under_way::{Kinds, UnderWay};

#[test]
fn a_body_is_sent_back_while_it_still_comes() {
    let mut rig = Rig::new();
    rig.send(0, [post("/back", &[("content-length", "6")]), data("abc")].concat());
    assert_eq!((rig.came(0).body, rig.came(0).ends), (b"abc".to_vec(), 0));
    assert_eq!(rig.came(0).field("content-length"), Some("6"));
    rig.ask(0, data("def"));
    assert_eq!((rig.came(0).body, rig.came(0).ends, rig.came(0).stopped), (b"abcdef".to_vec(), 1, None));
}

#[test]
fn the_connection_is_woken_by_what_it_awaits_and_polls_that_alone() {
    let mut rig = Rig::new();
    rig.ask(0, get("/wait"));
    rig.ask(4, get("/wait"));
    assert_eq!((rig.conn.in_flight(), rig.log.wakers.borrow().len()), (2, 2));
    rig.ask(8, get("/"));
    assert_eq!((rig.came(8).status, rig.log.wakers.borrow().len()), (Some(200), 2));
    rig.log.gate.set(true);
    rig.log.wakers.borrow_mut().remove(0).wake();
    assert_eq!(rig.task.0.load(Ordering::Relaxed), 1);
    rig.settle();
    assert_eq!((rig.came(0).body, rig.came(4).status), (b"waited".to_vec(), None));
    rig.log.wakers.borrow_mut().remove(0).wake();
    rig.settle();
    assert_eq!((rig.came(4).status, rig.conn.in_flight()), (Some(200), 0));
}

#[test]
fn requests_are_answered_and_clocks_go_on_while_nothing_can_be_written() {
    let mut rig = Rig::new();
    rig.receive(0, &get("/wait"), true);
    rig.receive(4, &get("/piece"), true);
    rig.receive(8, &get("/status/101"), true);
    rig.receive(12, &post("/echo", &[]), false);
    rig.tend();
    assert_eq!((rig.log.wakers.borrow().len(), rig.log.polled.get()), (1, 0));
    assert_eq!(rig.conn.deadline(), Some(rig.now + Duration::from_secs(20)));
    rig.tend();
    assert_eq!(rig.log.wakers.borrow().len(), 1, "what waits is not polled for nothing");
    rig.log.gate.set(true);
    rig.log.wakers.borrow_mut().remove(0).wake();
    assert!(rig.task.0.load(Ordering::Relaxed) > 0);
    rig.now += Duration::from_secs(20);
    rig.tend();
    assert_eq!(rig.log.waiting.get(), 0);
    assert!([0, 4, 8, 12].iter().all(|stream| rig.sent(*stream) == Sent::default()));
    rig.settle();
    assert_eq!((rig.came(0).body, rig.came(4).body), (b"waited".to_vec(), pattern(50_000).to_vec()));
    assert_eq!((rig.came(8).reset, rig.came(12).status), (Some(0x102), Some(408)));
}

#[test]
fn a_body_that_breaks_off_resets_its_stream() {
    let mut rig = Rig::new();
    rig.ask(0, get("/broken"));
    let came = rig.came(0);
    assert_eq!((came.status, came.body.len(), came.reset, came.stopped), (Some(200), 10, Some(0x102), None));
    rig.ask(4, get("/stream"));
    assert_eq!((rig.came(4).body.len(), rig.came(4).ends), (20_003, 1));
    assert_eq!((rig.log.sent.get(), rig.log.complete.get(), rig.log.ended.get()), (20_003, 1, 1));
}

#[test]
fn a_request_that_is_taken_back_is_dropped_where_it_is_answered() {
    for stops in [true, false] {
        let mut rig = Rig::new();
        rig.ask(0, get("/wait"));
        rig.send(4, post("/echo", &[]));
        assert_eq!(rig.log.waiting.get(), 2);
        for stream in [0, 4] {
            if stops {
                rig.peer_stop(stream);
            } else {
                rig.peer_reset(stream);
            }
            let came = rig.came(stream);
            assert_eq!((came.reset, came.stopped), (Some(0x10c), stops.then_some(0x10c)), "{stream}");
        }
        assert_eq!((rig.log.waiting.get(), rig.conn.in_flight(), rig.state), (0, 0, State::Open));
    }
    // While the answer is sent.
    let mut rig = Rig::new();
    rig.bin.windows.insert(0, 1_000);
    rig.ask(0, get("/big"));
    assert_eq!((rig.conn.in_flight(), rig.log.ended.get()), (1, 0));
    rig.peer_stop(0);
    assert_eq!((rig.conn.in_flight(), rig.log.ended.get(), rig.log.complete.get()), (0, 1, 0));
    rig.open(0, 1_000);
    rig.settle();
    assert_eq!((rig.sent(0).bytes.len(), rig.came(0).reset), (1_000, Some(0x10c)));
    let mut rig = Rig::new();
    rig.ask(0, get("/wait"));
    let log = Rc::clone(&rig.log);
    drop(rig);
    assert_eq!(log.waiting.get(), 0);
}

#[test]
fn an_answer_before_the_end_of_its_request_stands_and_asks_for_no_more_in_the_end() {
    let refused = || {
        let mut rig = Rig::new();
        rig.send(0, post("/refuse", &[]));
        let came = rig.came(0);
        assert_eq!((came.status, came.ends, came.reset, came.stopped), (Some(405), 1, None, None));
        rig
    };
    // Time limit.
    let mut rig = refused();
    assert_eq!(rig.conn.deadline(), Some(rig.now + Duration::from_secs(2)));
    rig.pass(Duration::from_millis(1_999));
    rig.send(0, data("late"));
    assert_eq!((rig.came(0).stopped, rig.conn.in_flight()), (None, 1));
    rig.pass(Duration::from_millis(1));
    assert_eq!((rig.came(0).stopped, rig.came(0).reset, rig.conn.in_flight()), (Some(0x100), None, 0));
    // Byte limit.
    let mut rig = refused();
    rig.send(0, vec![0; 299_999]);
    assert_eq!(rig.came(0).stopped, None);
    rig.send(0, [0]);
    assert_eq!(rig.came(0).stopped, Some(0x100));
    // A client that completes or cancels the request needs no further action.
    let mut rig = refused();
    rig.ask(0, data("end"));
    assert_eq!((rig.came(0).stopped, rig.conn.in_flight(), rig.conn.deadline()), (None, 0, None));
    let mut rig = refused();
    rig.peer_reset(0);
    assert_eq!((rig.came(0).stopped, rig.came(0).reset, rig.conn.in_flight()), (None, None, 0));
    let mut rig = refused();
    rig.peer_stop(0);
    assert_eq!((rig.came(0).stopped, rig.came(0).reset, rig.conn.in_flight()), (Some(0x100), None, 0));
    // Without a time limit the client is asked at once.
    let mut rig = Rig::with(&Limits { linger: Duration::ZERO, ..limits() });
    rig.send(0, post("/refuse", &[]));
    assert_eq!((rig.came(0).ends, rig.came(0).stopped), (1, Some(0x100)));
}

#[test]
fn a_body_that_brings_nothing_for_too_long_is_answered_408() {
    let mut rig = Rig::new();
    rig.send(0, [post("/echo", &[]), data("begun")].concat());
    assert_eq!(rig.conn.deadline(), Some(rig.now + Duration::from_secs(20)));
    rig.pass(Duration::from_secs(19));
    rig.send(0, data("more"));
    rig.pass(Duration::from_secs(19));
    assert_eq!(rig.came(0).status, None);
    rig.pass(Duration::from_secs(1));
    assert_eq!((rig.came(0).status, rig.came(0).ends, rig.came(0).stopped), (Some(408), 1, None));
    rig.pass(Duration::from_secs(2));
    assert_eq!((rig.came(0).stopped, rig.conn.deadline()), (Some(0x100), None));
    assert_eq!(*rig.log.broken.borrow(), [Broken::Slow]);
    // A begun answer cannot change its status.
    rig.send(4, [post("/back", &[]), data("begun")].concat());
    rig.pass(Duration::from_secs(20));
    assert_eq!((rig.came(4).status, rig.came(4).reset, rig.came(4).stopped), (Some(200), Some(0x10c), Some(0x10c)));
    // A body without a waiting reader has time.
    rig.send(8, [post("/deaf", &[]), data("begun")].concat());
    rig.pass(Duration::from_secs(100));
    assert_eq!((rig.came(8).status, rig.came(8).reset), (None, None));
}

#[test]
fn a_head_or_a_frame_that_has_begun_is_whole_in_time() {
    let trailers = [post("/deaf", &[]), data("x"), headers(&[("x", "y")])].concat();
    let unknown = [post("/deaf", &[]), frame_of(0x21, [0; 9])].concat();
    for (begun, goes_on) in [(&get("/")[..5], &get("/")[5..20]), (&[][..], &[1][..])] {
        let mut rig = Rig::new();
        rig.ask(4, get("/wait"));
        rig.send(0, begun);
        assert_eq!(rig.conn.deadline(), Some(rig.now + Duration::from_secs(15)));
        rig.pass(Duration::from_secs(14));
        rig.send(0, goes_on);
        assert_eq!(rig.came(0).reset, None);
        rig.pass(Duration::from_secs(1));
        assert_eq!((rig.came(0).reset, rig.came(0).stopped), (Some(0x10d), Some(0x10d)));
        assert_eq!((rig.state, rig.conn.in_flight()), (State::Open, 1));
    }
    for frames in [trailers, unknown] {
        let mut rig = Rig::new();
        rig.send(0, &frames[..frames.len() - 2]);
        rig.pass(Duration::from_secs(14));
        rig.send(0, &frames[frames.len() - 2..frames.len() - 1]);
        assert_eq!(rig.came(0).reset, None);
        rig.pass(Duration::from_secs(1));
        assert_eq!(rig.came(0).reset, Some(0x10d));
    }
    // A completed head leaves no clock, and bodies have separate clocks.
    let mut rig = Rig::new();
    rig.send(0, &get("/")[..5]);
    rig.ask(0, &get("/")[5..]);
    assert_eq!((rig.came(0).status, rig.conn.deadline()), (Some(200), None));
    rig.send(4, [post("/deaf", &[]), data(vec![0; 10_000])[..5_000].to_vec()].concat());
    rig.pass(Duration::from_secs(100));
    assert_eq!((rig.state, rig.came(4).reset, rig.conn.deadline()), (State::Open, None, None));
}

#[test]
fn a_stream_whose_first_byte_does_not_come_ends_its_connection_in_the_time_of_a_head() {
    let mut rig = Rig::new();
    rig.ask(4, get("/wait"));
    rig.await_first_byte(0);
    assert_eq!(rig.conn.deadline(), Some(rig.now + Duration::from_secs(15)));
    rig.pass(Duration::from_secs(14));
    // The same for further bytes without the first byte.
    rig.await_first_byte(0);
    assert_eq!((rig.state, rig.conn.in_flight()), (State::Open, 1));
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.error(), Some(Code::ExcessiveLoad));
}

#[test]
fn a_head_has_its_time_from_the_opening_of_its_stream() {
    let mut rig = Rig::new();
    rig.await_first_byte(0);
    rig.pass(Duration::from_secs(14));
    rig.ask(0, get("/"));
    assert_eq!((rig.came(0).status, rig.conn.deadline()), (Some(200), None));
    rig.await_first_byte(4);
    rig.pass(Duration::from_secs(14));
    rig.send(4, &get("/")[..5]);
    assert_eq!(rig.came(4).reset, None);
    rig.pass(Duration::from_secs(1));
    assert_eq!((rig.came(4).reset, rig.state), (Some(0x10d), State::Open));
    // A cancelled stream is no longer awaited.
    for stops in [true, false] {
        let mut rig = Rig::new();
        rig.await_first_byte(0);
        if stops {
            rig.peer_stop(0);
        } else {
            rig.peer_reset(0);
        }
        rig.pass(Duration::from_secs(100));
        assert_eq!((rig.state, rig.conn.deadline()), (State::Open, None));
    }
}

#[test]
fn a_client_that_has_no_window_for_a_head_loses_that_stream_alone() {
    let mut rig = Rig::new();
    for stream in [0, 4] {
        rig.send(stream, [post("/deaf", &[]), data(vec![0; 100_000])].concat());
    }
    rig.await_first_byte(8);
    rig.pass(Duration::from_secs(15));
    assert_eq!((rig.came(8).reset, rig.came(8).stopped), (Some(0x10d), Some(0x10d)));
    assert_eq!((rig.state, rig.conn.in_flight()), (State::Open, 2));
}

#[test]
fn a_client_that_takes_nothing_is_not_waited_for() {
    for path in ["/big", "/file", "/"] {
        let mut rig = Rig::new();
        rig.bin.windows.insert(0, 20);
        rig.ask(0, get(path));
        assert_eq!((rig.sent(0).bytes.len(), rig.conn.deadline()), (20, Some(rig.now + Duration::from_secs(10))));
        rig.pass(Duration::from_secs(9));
        rig.open(0, 200);
        rig.settle();
        if path != "/" {
            rig.pass(Duration::from_secs(9));
            assert_eq!(rig.came(0).reset, None);
            rig.pass(Duration::from_secs(1));
            assert_eq!((rig.came(0).reset, rig.conn.in_flight()), (Some(0x10c), 0));
        } else {
            assert_eq!((rig.came(0).ends, rig.came(0).reset), (1, None));
        }
    }
}

#[test]
fn a_client_that_takes_a_head_in_parts_is_not_too_slow() {
    let mut rig = Rig::new();
    rig.bin.windows.insert(0, 20);
    rig.ask(0, get("/file"));
    for _ in 0..3 {
        rig.pass(Duration::from_secs(9));
        rig.open(0, 10);
        rig.settle();
    }
    assert_eq!((rig.sent(0).bytes.len(), rig.came(0).reset, rig.log.read.get()), (50, None, 0));
    rig.pass(Duration::from_secs(10));
    assert_eq!(rig.came(0).reset, Some(0x10c));
}

#[test]
fn a_drain_takes_what_is_under_way_and_nothing_after_its_last_word() {
    let mut rig = Rig::new();
    rig.ask(0, get("/wait"));
    rig.conn.drain();
    rig.conn.drain();
    rig.settle();
    // §5.2: first the greatest number.
    assert_eq!(rig.goaways(), [(1 << 62) - 4]);
    assert_eq!(rig.conn.deadline(), Some(rig.now + Duration::from_secs(1)));
    rig.ask(12, get("/"));
    rig.ask(4, get("/wait"));
    assert_eq!(rig.came(12).status, Some(200));
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.goaways(), [(1 << 62) - 4, 16]);
    // Earlier streams may still come; later streams belong to another connection.
    rig.ask(8, get("/"));
    rig.ask(16, get("/"));
    rig.send(20, post("/echo", &[]));
    assert_eq!((rig.came(8).status, rig.came(16).status), (Some(200), None));
    assert_eq!((rig.came(16).reset, rig.came(20).reset), (Some(0x10b), Some(0x10b)));
    assert_eq!((rig.state, rig.conn.in_flight(), rig.conn.requests()), (State::Open, 2, 4));
    rig.open_gate();
    assert_eq!((rig.came(0).status, rig.came(4).status, rig.state), (Some(200), Some(200), State::Over(Code::None)));
}

#[test]
fn a_connection_without_requests_is_drained_within_a_second() {
    let mut rig = Rig::new();
    rig.conn.drain();
    rig.settle();
    rig.pass(Duration::from_millis(999));
    assert_eq!(rig.state, State::Open);
    rig.pass(Duration::from_millis(1));
    assert_eq!((rig.goaways().last(), rig.state), (Some(&0), State::Over(Code::None)));
    // Not before the client takes the final GOAWAY.
    let mut rig = Rig::new();
    rig.bin.windows.insert(CONTROL_STREAM, 4);
    rig.conn.drain();
    rig.settle();
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.state, State::Open);
    rig.open(CONTROL_STREAM, 100);
    rig.settle();
    assert_eq!(rig.state, State::Over(Code::None));
}

#[test]
fn a_connection_of_many_requests_is_drained() {
    let mut rig = Rig::with(&Limits { requests: 3, ..limits() });
    rig.ask(0, get("/"));
    rig.ask(4, get("/"));
    assert!(rig.goaways().is_empty());
    rig.ask(8, get("/"));
    rig.ask(12, get("/"));
    assert_eq!(rig.goaways(), [(1 << 62) - 4]);
    assert!([0, 4, 8, 12].iter().all(|stream| rig.came(*stream).status == Some(200)));
}

#[test]
fn a_client_that_goes_may_end_what_it_has_begun_and_begins_nothing_more() {
    let mut rig = Rig::new();
    rig.send(0, [post("/echo", &[]), data("a")].concat());
    rig.send(CONTROL, frame_of(7, [0]));
    rig.send(0, data("b"));
    rig.ask(4, get("/wait"));
    assert_eq!((rig.goaways(), rig.came(4).reset, rig.state), (vec![4], Some(0x10b), State::Open));
    rig.ask(0, data("c"));
    assert_eq!((rig.came(0).body, rig.state), (b"abc".to_vec(), State::Over(Code::None)));
}

#[test]
fn what_is_under_way_is_told_apart_and_cut() {
    let mut rig = Rig::new();
    assert_eq!(rig.conn.under_way(), Kinds::NONE);
    rig.ask(0, get("/wait"));
    rig.send(4, post("/echo", &[]));
    rig.bin.windows.insert(8, 100);
    rig.ask(8, get("/big"));
    let all = [UnderWay::Request, UnderWay::Upload, UnderWay::Download];
    assert_eq!(rig.conn.under_way(), all.into_iter().collect());
    for (kind, stream, stopped) in
        [(UnderWay::Request, 0, None), (UnderWay::Upload, 4, Some(0x10c)), (UnderWay::Download, 8, None)]
    {
        rig.conn.cut(kind.into());
        rig.settle();
        assert_eq!((rig.came(stream).reset, rig.came(stream).stopped), (Some(0x10c), stopped), "{kind:?}");
    }
    assert_eq!((rig.conn.under_way(), rig.state), (Kinds::NONE, State::Open));
}
