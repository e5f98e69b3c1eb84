//! Awaited responses, polled bodies, and the clocks of both directions.

use super::*;
use crate::inbound::Broken;

#[test]
fn a_body_comes_back_with_its_length_and_its_trailers() {
    let mut rig = Rig::new();
    rig.send([post(1, "/echo", &[]), data(1, false, "one "), data(1, true, "two")].concat());
    let came = rig.came(1);
    assert_eq!((came.status, came.body, came.ends), (Some(200), b"one two".to_vec(), 1));
    assert_eq!(rig.came(1).field("date"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
    rig.send(get(3, "/nowhere"));
    let came = rig.came(3);
    assert_eq!((came.status, came.field("content-length"), &came.body[..]), (Some(404), Some("7"), &b"missing"[..]));
}

#[test]
fn a_body_is_sent_back_while_it_still_comes() {
    let mut rig = Rig::new();
    rig.send([post(1, "/back", &[("content-length", "6")]), data(1, false, "abc")].concat());
    assert_eq!((rig.came(1).body, rig.came(1).ends), (b"abc".to_vec(), 0));
    assert_eq!(rig.came(1).field("content-length"), Some("6"));
    rig.send(data(1, true, "def"));
    assert_eq!((rig.came(1).body, rig.came(1).ends, rig.came(1).reset), (b"abcdef".to_vec(), 1, None));
}

#[test]
fn the_connection_is_woken_by_what_it_awaits_and_polls_that_alone() {
    let mut rig = Rig::new();
    rig.send([get(1, "/wait"), get(3, "/wait")].concat());
    assert_eq!((rig.conn.in_flight(), rig.conn.only_awaits_peer(), rig.log.wakers.borrow().len()), (2, false, 2));
    rig.send(get(5, "/"));
    assert_eq!((rig.came(5).status, rig.log.wakers.borrow().len()), (Some(200), 2));
    rig.log.gate.set(true);
    rig.log.wakers.borrow_mut().remove(0).wake();
    assert_eq!(rig.task.0.load(Ordering::Relaxed), 1);
    rig.settle();
    assert_eq!((rig.came(1).body, rig.came(3).status), (b"waited".to_vec(), None));
    rig.log.wakers.borrow_mut().remove(0).wake();
    rig.settle();
    assert_eq!((rig.came(3).status, rig.conn.in_flight()), (Some(200), 0));
}

#[test]
fn a_response_has_no_fields_of_a_connection() {
    let mut rig = Rig::new();
    rig.send(get(1, "/fields"));
    let names: Vec<String> = rig.came(1).fields.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["x-own", "content-length", "date"]);
}

#[test]
fn a_body_that_breaks_off_resets_its_stream() {
    let mut rig = Rig::new();
    rig.send(get(1, "/broken"));
    let came = rig.came(1);
    assert_eq!((came.status, came.body.len(), came.reset), (Some(200), 10, Some(2)));
    rig.send(get(3, "/"));
    assert_eq!(rig.came(3).status, Some(200));
}

#[test]
fn an_answer_at_hand_may_have_a_body_that_is_polled() {
    let mut rig = Rig::new();
    rig.send(get(1, "/stream"));
    assert_eq!((rig.came(1).body.len(), rig.came(1).ends), (20_003, 1));
    assert_eq!((rig.log.sent.get(), rig.log.complete.get(), rig.log.ended.get()), (20_003, 1, 1));
}

#[test]
fn an_answer_before_the_end_of_its_request_stands_and_asks_for_no_more_in_the_end() {
    let mut rig = Rig::new();
    rig.send(post(1, "/refuse", &[]));
    assert_eq!((rig.came(1).status, rig.came(1).ends, rig.came(1).reset), (Some(405), 1, None));
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.came(1).reset, Some(0));
    rig.send([data(1, false, "late"), headers(1, true, &[("x", "y")]), window(1, 1), reset(1)].concat());
    rig.send(get(3, "/"));
    assert_eq!(rig.came(3).status, Some(200));
    // A request completed before the answer gets no reset.
    rig.send([post(5, "/refuse", &[]), data(5, true, "all")].concat());
    assert_eq!((rig.came(5).status, rig.came(5).reset), (Some(405), None));
}

#[test]
fn a_request_that_is_taken_back_is_dropped_where_it_is_answered() {
    let mut rig = Rig::new();
    rig.send([get(1, "/wait"), post(3, "/echo", &[])].concat());
    assert_eq!(rig.log.waiting.get(), 2);
    rig.send([reset(1), reset(3)].concat());
    assert_eq!((rig.log.waiting.get(), rig.conn.in_flight()), (0, 0));
    assert!(!rig.streams.contains_key(&1));
    let mut rig = Rig::new();
    rig.send(get(1, "/wait"));
    let log = Rc::clone(&rig.log);
    drop(rig);
    assert_eq!(log.waiting.get(), 0);
}

#[test]
fn a_body_that_brings_nothing_for_too_long_is_answered_408() {
    let mut rig = Rig::new();
    rig.send([post(1, "/echo", &[]), data(1, false, "begun")].concat());
    assert_eq!(rig.conn.deadline(), Some(rig.now + Duration::from_secs(20)));
    rig.pass(Duration::from_secs(19));
    rig.send(data(1, false, "more"));
    rig.pass(Duration::from_secs(19));
    assert_eq!(rig.came(1).status, None);
    rig.pass(Duration::from_secs(1));
    assert_eq!((rig.came(1).status, rig.came(1).reset), (Some(408), None));
    rig.pass(Duration::from_secs(2));
    assert_eq!((rig.came(1).reset, rig.conn.deadline()), (Some(0), None));
    assert_eq!(*rig.log.broken.borrow(), [Broken::Slow]);
    assert_eq!(rig.log.waiting.get(), 0);
    // A begun answer cannot change its status.
    rig.send([post(3, "/back", &[]), data(3, false, "begun")].concat());
    rig.pass(Duration::from_secs(20));
    assert_eq!((rig.came(3).status, rig.came(3).reset), (Some(200), Some(8)));
    // A body without a waiting reader has time.
    rig.send([post(5, "/deaf", &[]), data(5, false, "begun")].concat());
    rig.pass(Duration::from_secs(100));
    assert_eq!((rig.came(5).status, rig.came(5).reset), (None, None));
}

#[test]
fn a_drain_takes_what_is_under_way_and_nothing_after_its_last_word() {
    let mut rig = Rig::new();
    rig.send(get(1, "/wait"));
    rig.conn.drain();
    rig.conn.drain();
    rig.settle();
    let [goaway, ping] = &rig.others[..] else { panic!("{:?}", rig.others) };
    assert_eq!((goaway.kind, goaway.number(0), goaway.number(4)), (kind::GOAWAY, 0x7fff_ffff, 0));
    assert_eq!((ping.kind, ping.flags), (kind::PING, 0));
    assert_eq!(rig.conn.deadline(), Some(rig.now + Duration::from_secs(1)));
    let pong = frame_of(kind::PING, flag::ACK, 0, &ping.payload);
    rig.send([get(3, "/"), get(5, "/wait"), pong.clone(), get(7, "/"), get(9, "/wait"), pong].concat());
    assert_eq!((rig.came(3).status, rig.came(7).status), (Some(200), None));
    let goaway = rig.others.last().unwrap();
    assert_eq!((rig.others.len(), goaway.number(0), goaway.number(4)), (3, 5, 0));
    // Frames for refused streams are no error, and the table stays in step.
    rig.send([window(7, 1), reset(9), frame_of(kind::PING, 0, 0, [0; 8])].concat());
    assert_eq!((rig.state, rig.conn.in_flight(), rig.conn.requests()), (State::Open, 2, 3));
    rig.log.gate.set(true);
    rig.log.wakers.take().into_iter().for_each(Waker::wake);
    rig.settle();
    assert_eq!((rig.came(1).status, rig.came(5).status, rig.state), (Some(200), Some(200), State::Over));
}

#[test]
fn a_peer_that_does_not_answer_is_drained_all_the_same() {
    let mut rig = Rig::new();
    rig.conn.drain();
    rig.settle();
    assert_eq!(rig.state, State::Open);
    rig.pass(Duration::from_millis(999));
    assert_eq!(rig.state, State::Open);
    rig.pass(Duration::from_millis(1));
    assert_eq!((rig.error(), rig.others.last().unwrap().number(0)), (Some(0), 0));
}

#[test]
fn a_connection_of_many_requests_is_drained() {
    let mut rig = Rig::with(&Limits { requests: 3, ..limits() });
    rig.send([get(1, "/"), get(3, "/")].concat());
    assert_eq!(rig.others, []);
    rig.send([get(5, "/"), get(7, "/")].concat());
    assert_eq!(rig.others[0].number(0), 0x7fff_ffff);
    assert!([1, 3, 5, 7].iter().all(|stream| rig.came(*stream).status == Some(200)));
}

#[test]
fn a_head_or_a_frame_that_has_begun_is_whole_in_time() {
    let begun = frame_of(kind::HEADERS, 1, 3, block(&fields("GET", "/")));
    let goes_on = frame_of(kind::CONTINUATION, 0, 3, block(&[("a", "b")]));
    for (begun, goes_on) in [(begun, goes_on), (get(3, "/")[..5].to_vec(), get(3, "/")[5..20].to_vec())] {
        for path in ["/wait", "/bytes/0"] {
            let mut rig = Rig::new();
            rig.send(get(1, path));
            rig.send(&begun);
            assert_eq!(rig.conn.deadline(), Some(rig.now + Duration::from_secs(15)));
            rig.pass(Duration::from_secs(14));
            rig.send(&goes_on);
            assert_eq!(rig.state, State::Open);
            rig.pass(Duration::from_secs(1));
            assert_eq!(rig.error(), Some(11));
        }
    }
    // A completed frame leaves no clock.
    let mut rig = Rig::new();
    rig.send(&get(1, "/")[..5]);
    rig.send(&get(1, "/")[5..]);
    assert_eq!((rig.came(1).status, rig.conn.deadline()), (Some(200), None));
    // Bodies have separate clocks.
    rig.send([post(3, "/deaf", &[]), data(3, false, vec![0; 10_000])[..5_000].to_vec()].concat());
    rig.pass(Duration::from_secs(100));
    assert_eq!((rig.state, rig.conn.deadline()), (State::Open, None));
}

#[test]
fn a_client_that_goes_may_end_what_it_has_begun_and_begins_nothing_more() {
    let mut rig = Rig::new();
    let goaway = frame_of(kind::GOAWAY, 0, 0, [0; 8]);
    rig.send([post(1, "/echo", &[]), data(1, false, "a"), goaway].concat());
    rig.send([data(1, false, "b"), get(3, "/wait"), post(5, "/echo", &[]), data(5, true, "late"), reset(3)].concat());
    assert_eq!((rig.state, rig.conn.in_flight(), rig.log.waiting.get()), (State::Open, 1, 1));
    let goaway = rig.others.iter().find(|frame| frame.kind == kind::GOAWAY).unwrap();
    assert_eq!((goaway.number(0), goaway.number(4)), (1, 0));
    rig.send(data(1, true, "c"));
    assert_eq!((rig.came(1).body, rig.came(3).status, rig.state), (b"abc".to_vec(), None, State::Over));
}
