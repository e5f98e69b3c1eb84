//! Requests that continue after their responses (RFC 9113 §8.1): received for a while before a reset.

use super::*;

const NO_ERROR: Option<u32> = Some(0);

/// Returns a connection that refused an upload, with the client still sending.
fn refused() -> Rig {
    let mut rig = Rig::new();
    rig.send(post(1, "/refuse", &[]));
    assert_eq!((rig.came(1).status, rig.came(1).ends, rig.came(1).reset), (Some(405), 1, None));
    rig
}

fn part(stream: u32) -> Vec<u8> {
    data(stream, false, vec![0; 10_000])
}

#[test]
fn a_client_that_goes_on_may_come_to_its_end() {
    for end in [data(1, true, "end"), data(1, true, ""), headers(1, true, &[("x-sum", "1")])] {
        let mut rig = refused();
        rig.send(part(1));
        assert_eq!(rig.conn.in_flight(), 1);
        rig.send(end);
        assert_eq!((rig.conn.in_flight(), rig.came(1).reset), (0, None));
        rig.pass(Duration::from_secs(60));
        assert_eq!((rig.came(1).reset, rig.conn.deadline(), rig.state), (None, None, State::Open));
    }
}

#[test]
fn a_window_that_nobody_read_from_is_open_again_once_the_response_is_complete() {
    let mut rig = Rig::new();
    rig.send([post(1, "/wait", &[]), part(1).repeat(10)].concat());
    assert_eq!(rig.increments(1), 0);
    rig.log.gate.set(true);
    rig.log.wakers.take().into_iter().for_each(Waker::wake);
    rig.settle();
    assert_eq!((rig.came(1).status, rig.increments(1), rig.increments(0)), (Some(200), 100_000, 100_000));
    // The window is still returned and enforced.
    rig.send(part(1).repeat(10));
    assert_eq!((rig.increments(1), rig.came(1).reset), (200_000, None));
    rig.receive(&part(1).repeat(10));
    rig.send(data(1, false, "x").repeat(400));
    rig.send([get(3, "/"), data(1, true, "end")].concat());
    assert_eq!((rig.came(3).status, rig.came(1).reset, rig.conn.in_flight()), (Some(200), None, 0));
}

#[test]
fn a_small_window_is_given_back_as_its_bytes_are_discarded() {
    let mut rig = Rig::with(&Limits { stream_window: 65_535, linger_bytes: 1 << 30, ..limits() });
    rig.send(post(1, "/refuse", &[]));
    for _ in 0..100 {
        rig.send(part(1));
    }
    assert!((950_000..=1_000_000).contains(&rig.increments(1)), "{}", rig.increments(1));
    assert_eq!((rig.came(1).reset, rig.conn.in_flight()), (None, 1));
}

#[test]
fn a_client_that_does_not_stop_in_time_is_closed() {
    let mut rig = refused();
    assert_eq!(rig.conn.deadline(), Some(rig.now + Duration::from_secs(2)));
    rig.pass(Duration::from_millis(1_999));
    rig.send(part(1));
    assert_eq!((rig.came(1).reset, rig.conn.in_flight()), (None, 1));
    rig.pass(Duration::from_millis(1));
    assert_eq!((rig.came(1).reset, rig.conn.in_flight(), rig.conn.deadline()), (NO_ERROR, 0, None));
    // Late frames are no error.
    rig.send([part(1), headers(1, true, &[("x", "y")]), window(1, 1), reset(1), get(3, "/")].concat());
    assert_eq!((rig.came(3).status, rig.state), (Some(200), State::Open));
}

#[test]
fn a_client_that_sends_too_much_is_reset() {
    let mut rig = refused();
    for _ in 0..29 {
        rig.send(part(1));
    }
    assert_eq!(rig.came(1).reset, None);
    rig.send(part(1));
    assert_eq!((rig.came(1).reset, rig.conn.in_flight()), (NO_ERROR, 0));
    // The open window may be under way, and no more.
    rig.send(part(1).repeat(5));
    assert_eq!(rig.error_if_over(), None);
    rig.send(part(1).repeat(6));
    assert_eq!(rig.error_if_over(), Some(3));
}

#[test]
fn requests_of_one_connection_share_what_is_discarded_at_once() {
    let mut rig = refused();
    rig.send([post(3, "/refuse", &[]), post(5, "/refuse", &[])].concat());
    for _ in 0..20 {
        rig.send(part(1));
    }
    rig.send(data(1, true, ""));
    // The bytes of the first stream no longer count.
    for _ in 0..15 {
        rig.send([part(3), part(5)].concat());
    }
    assert_eq!((rig.came(3).reset, rig.came(5).reset), (None, NO_ERROR));
    rig.send([data(3, true, ""), post(7, "/refuse", &[]), part(7)].concat());
    assert_eq!((rig.came(3).reset, rig.came(7).status, rig.came(7).reset), (None, Some(405), None));
}

#[test]
fn they_count_as_streams_and_hold_next_to_nothing() {
    let mut rig = Rig::new();
    let held = rig.conn.held_bytes();
    for number in 0..128 {
        rig.send([post(number * 2 + 1, "/refuse", &[]), data(number * 2 + 1, false, vec![0; 1_000])].concat());
    }
    assert_eq!(rig.conn.in_flight(), 128);
    assert!(rig.conn.held_bytes() < held + 16 * 1024, "{}", rig.conn.held_bytes());
    rig.send(get(257, "/"));
    assert_eq!((rig.came(257).status, rig.came(257).reset), (None, Some(7)));
    rig.send([reset(1), get(259, "/")].concat());
    assert_eq!(rig.came(259).status, Some(200));
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.conn.in_flight(), 0);
    assert!((3..128 * 2).step_by(2).all(|stream| rig.came(stream).reset == NO_ERROR));
}

#[test]
fn a_client_that_takes_back_what_was_refused_is_no_flood() {
    let mut rig = Rig::new();
    for number in 0..1_000 {
        rig.send(post(number * 2 + 1, "/refuse", &[]));
        rig.send([data(number * 2 + 1, false, vec![0; 1_000]), reset(number * 2 + 1)].concat());
    }
    assert_eq!((rig.state, rig.conn.in_flight()), (State::Open, 0));
    // Before the answer the reset counts as a reset.
    for number in 1_000..2_000 {
        rig.receive(&[post(number * 2 + 1, "/refuse", &[]), reset(number * 2 + 1)].concat());
    }
    rig.settle();
    assert_eq!(rig.error(), Some(11));
}

#[test]
fn frames_for_them_are_checked() {
    let after = |frame: Vec<u8>| {
        let mut rig = refused();
        rig.send(frame);
        (rig.came(1).reset, rig.error_if_over())
    };
    assert_eq!(after(window(1, 9)), (None, None));
    assert_eq!(after(window(1, 0)), (Some(1), None));
    assert_eq!(after(headers(1, false, &[("x", "y")])), (Some(1), None));
    assert_eq!(after(frame_of(kind::HEADERS, 5, 1, [0xff])), (None, Some(9)));
    assert_eq!(after([data(1, true, ""), data(1, true, "")].concat()), (Some(5), None));
}

#[test]
fn a_drain_waits_for_them_no_longer_than_they_may_last() {
    for ends in [true, false] {
        let mut rig = refused();
        rig.conn.drain();
        rig.settle();
        let pong = rig.others.iter().find(|frame| frame.kind == kind::PING).unwrap().payload.clone();
        rig.send(frame_of(kind::PING, flag::ACK, 0, pong));
        assert_eq!(rig.state, State::Open);
        if ends {
            rig.send(data(1, true, ""));
        } else {
            rig.pass(Duration::from_secs(2));
        }
        assert_eq!((rig.state, rig.came(1).reset.is_none()), (State::Over, ends));
    }
}

#[test]
fn without_time_or_bytes_for_them_they_are_reset_at_once() {
    for limits in [Limits { linger: Duration::ZERO, ..limits() }, Limits { linger_bytes: 0, ..limits() }] {
        let mut rig = Rig::with(&limits);
        rig.send(post(1, "/refuse", &[]));
        assert_eq!((rig.came(1).status, rig.came(1).ends, rig.came(1).reset), (Some(405), 1, NO_ERROR));
    }
}
