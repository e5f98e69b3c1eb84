//! Streams waiting for a window: no stream is forgotten or waits forever.

use super::*;

fn got(rig: &Rig, stream: u32) -> usize {
    rig.came(stream).body.len()
}

#[test]
fn a_window_that_opens_while_an_answer_waits_is_not_forgotten() {
    let mut rig = Rig::new();
    rig.receive(&[get(1, "/bytes/100"), window(1, 70), window(1, 20), settings(&[(4, 10)])].concat());
    rig.settle();
    assert_eq!((got(&rig, 1), rig.came(1).ends), (100, 1));
    // §6.9.1, §6.9.2.
    let mut rig = Rig::new();
    rig.receive(&[get(3, "/bytes/100"), window(3, 0x7fff_fff0)].concat());
    rig.settle();
    assert_eq!((rig.came(3).reset, rig.came(3).status), (Some(3), None));
    rig.receive(&[get(5, "/bytes/5"), window(5, 0x7fff_0000), settings(&[(4, 65_536)])].concat());
    rig.settle();
    assert_eq!(rig.error(), Some(3));
}

#[test]
fn a_stream_that_waits_for_the_connection_keeps_its_clock_whatever_becomes_of_its_own_window() {
    let mut rig = Rig::new();
    rig.send([settings(&[(4, 1 << 20)]), get(1, "/big")].concat());
    assert_eq!(got(&rig, 1), 65_535);
    rig.send([settings(&[(4, 0)]), window(1, 1 << 20)].concat());
    rig.pass(Duration::from_secs(10));
    assert_eq!(rig.came(1).reset, Some(8));
}

#[test]
fn a_stream_that_may_send_again_is_not_too_slow() {
    // By SETTINGS, and by a connection window that opened while no output was possible.
    for (first, then, waits) in [(0, settings(&[(4, 1 << 20)]), 0), (1 << 20, window(0, 1 << 20), 11)] {
        let mut rig = Rig::new();
        rig.send([settings(&[(4, first)]), get(1, "/big")].concat());
        rig.now += Duration::from_secs(11);
        rig.receive(&then);
        rig.now += Duration::from_secs(waits);
        rig.settle();
        assert_eq!(rig.came(1).reset, None);
        assert!(got(&rig, 1) >= 65_535);
    }
}

#[test]
fn no_more_of_a_body_is_read_than_there_is_a_window_for() {
    for (initial, spent) in [(0, 0), (1 << 20, 65_535)] {
        let mut rig = Rig::with(&Limits { streams: 200, ..limits() });
        rig.send([settings(&[(4, initial)]), get(1, "/big")].concat());
        assert_eq!(got(&rig, 1), spent);
        let streams: Vec<u32> = (1..=128).map(|number| number * 2 + 1).collect();
        rig.send(streams.iter().flat_map(|stream| get(*stream, "/piece")).collect::<Vec<u8>>());
        assert_eq!((rig.log.polled.get(), rig.conn.in_flight()), (0, 129));
        assert!(streams.iter().all(|stream| rig.came(*stream).status == Some(200)) && rig.conn.only_awaits_peer());
        // Ends need no window.
        rig.send(get(1_001, "/status/204"));
        assert_eq!(rig.came(1_001).ends, 1);
        rig.send([window(0, 1 << 24), settings(&[(4, 1 << 20)])].concat());
        assert!(streams.iter().all(|stream| rig.came(*stream).body == pattern(50_000)));
    }
}

#[test]
fn the_end_of_a_body_is_requested_without_a_window() {
    let mut rig = Rig::new();
    rig.send([settings(&[(4, 20_003)]), get(1, "/stream")].concat());
    assert_eq!((got(&rig, 1), rig.came(1).ends), (20_003, 1));
}

#[test]
fn a_body_that_is_not_as_long_as_its_head_says_breaks_off() {
    #[rustfmt::skip]
    let cases = [
        ("3/3",      Some(3), None),
        ("6/3/3",    Some(6), None),
        ("0",        Some(0), None),
        ("4/3",      Some(3), Some(2)),
        ("4",        None,    Some(2)),
        ("2/3",      None,    Some(2)),
        ("3/3/1",    Some(3), Some(2)),
        ("40000/39999", Some(39_999), Some(2)),
    ];
    for kind in ["in-parts", "awaited"] {
        for (lengths, count, reset) in cases {
            let mut rig = Rig::new();
            rig.send(get(1, &format!("/{kind}/{lengths}")));
            let came = rig.came(1);
            let ends = usize::from(reset.is_none());
            assert_eq!((came.body.len(), came.reset, came.ends), (count.unwrap_or(0), reset, ends), "{kind} {lengths}");
            rig.send(headers(3, true, &fields("HEAD", &format!("/{kind}/{lengths}"))));
            assert_eq!((rig.came(3).reset, rig.came(3).ends), (None, 1));
        }
    }
}
