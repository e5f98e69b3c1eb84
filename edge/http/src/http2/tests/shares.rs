//! Read-ahead of bodies beyond the peer's windows.

use super::*;

const ENHANCE_YOUR_CALM: u32 = 11;
const INITIAL_WINDOW_SIZE: u16 = 4;
/// Streams that request a file at once.
const STREAMS: u32 = 40;
/// Bytes read per stream while stalled streams fill the share.
const STEP_BYTES: usize = 2_048;

fn ids() -> impl Iterator<Item = u32> {
    (0..STREAMS).map(|number| 2 * number + 1)
}

/// Returns a connection with stream windows of the given size and a request for `path` on each stream.
fn requested(path: &str, window_of_streams: u32) -> Rig {
    let mut rig = Rig::with(&Limits { control_frames_per_second: 1_000_000, ..limits() });
    rig.send([settings(&[(INITIAL_WINDOW_SIZE, window_of_streams)]), window(0, 1 << 30)].concat());
    for id in ids() {
        rig.send(get(id, path));
    }
    rig
}

fn sent(rig: &Rig) -> usize {
    ids().filter_map(|id| Some(rig.streams.get(&id)?.body.len())).sum()
}

/// Bytes read and not sent.
fn ahead(rig: &Rig) -> usize {
    rig.log.read.get() - sent(rig)
}

#[test]
fn streams_that_are_given_little_window_hold_the_share_of_their_connection_at_most() {
    let (held_max, file) = (limits().response_bytes + STEP_BYTES * STREAMS as usize, pattern(BIG_BYTES));
    for path in ["/file", "/pipe"] {
        for size in [0, 1, 16_000] {
            let mut rig = requested(path, size);
            assert!(ahead(&rig) <= held_max, "{path} {size}: {} bytes are held", ahead(&rig));
            assert_eq!(rig.conn.held_for_peer(), ahead(&rig));
            // The rest is read once the windows open.
            for id in ids() {
                rig.send(window(id, 1 << 20));
            }
            assert!(ids().all(|id| rig.streams[&id].body == file && rig.streams[&id].ends == 1), "{path} {size}");
            assert_eq!((ahead(&rig), rig.conn.held_for_peer()), (0, 0));
        }
    }
}

#[test]
fn reads_that_take_time_are_bounded_like_bytes() {
    let mut rig = requested("/slow-file", 1 << 20);
    assert!(rig.log.read.get() > 0 && rig.log.read.get() <= limits().response_bytes, "{}", rig.log.read.get());
    assert_eq!(rig.conn.held_for_peer(), rig.log.read.get());
    while sent(&rig) < BIG_BYTES * STREAMS as usize {
        let wakers = std::mem::take(&mut *rig.log.wakers.borrow_mut());
        assert!(!wakers.is_empty(), "something is awaited until all is sent: {}", sent(&rig));
        wakers.into_iter().for_each(Waker::wake);
        rig.settle();
        assert!(rig.conn.held_for_peer() <= limits().response_bytes);
    }
}

#[test]
fn one_stream_is_read_in_whole_pieces_whatever_its_window() {
    let mut rig = Rig::with(&limits());
    rig.send([window(0, 1 << 30), settings(&[(INITIAL_WINDOW_SIZE, 20_000)]), get(1, "/file")].concat());
    assert_eq!((rig.log.read.get(), rig.came(1).body.len()), (65_500, 20_000));
}

#[test]
fn what_is_left_of_a_window_that_closed_is_held_and_goes_on() {
    // The windows close again after the pieces were read (RFC 9113 section 6.9.2).
    let mut rig = requested("/slow-file", 1 << 20);
    rig.send(settings(&[(INITIAL_WINDOW_SIZE, 0)]));
    let wakers = std::mem::take(&mut *rig.log.wakers.borrow_mut());
    wakers.into_iter().for_each(Waker::wake);
    rig.settle();
    assert_eq!(sent(&rig), 0);
    assert!(rig.conn.held_for_peer() <= limits().response_bytes);
    let since = rig.conn.holds_since();
    assert_eq!(since, Some(rig.now));
}

#[test]
fn when_memory_is_scarce_those_that_stall_are_reset_and_others_go_on() {
    let mut rig = requested("/file", 1);
    let second = Duration::from_secs(1);
    let holding = rig.conn.held_for_peer();
    assert!(holding > 0);
    assert_eq!(rig.conn.shed(second, rig.now), 0, "none has stalled for long");
    rig.now += second;
    // The bytes of one stream are read, so the stream holds no stalled bytes.
    rig.send(window(1, 1 << 20));
    let reset = rig.conn.shed(second, rig.now);
    rig.settle();
    assert!(reset > 0 && rig.conn.held_for_peer() == 0);
    let codes: Vec<u32> = ids().filter_map(|id| rig.came(id).reset).collect();
    assert_eq!(codes, vec![ENHANCE_YOUR_CALM; reset]);
    assert_eq!((rig.came(1).body.len(), rig.came(1).ends, rig.state), (BIG_BYTES, 1, State::Open));
}

#[test]
fn when_memory_is_scarce_a_connection_reads_a_frame_at_a_time() {
    let mut rig = Rig::with(&limits());
    rig.conn.tighten(true);
    rig.send([window(0, 1 << 30), settings(&[(INITIAL_WINDOW_SIZE, 1)])].concat());
    for id in ids() {
        rig.send(get(id, "/file"));
    }
    assert!(ahead(&rig) <= crate::FRAME_BYTES, "{}", ahead(&rig));
    for id in ids() {
        rig.send(window(id, 1 << 20));
    }
    let file = pattern(BIG_BYTES);
    assert!(ids().all(|id| rig.streams[&id].body == file));
}

#[test]
fn a_body_at_hand_counts_once_nothing_else_needs_it() {
    let mut rig = Rig::with(&limits());
    rig.send([settings(&[(INITIAL_WINDOW_SIZE, 100)]), get(1, "/big"), get(3, "/big")].concat());
    assert_eq!((rig.conn.held_for_peer(), rig.conn.holds_since()), (0, None));
    rig.log.is_replaced.set(true);
    assert_eq!((rig.conn.held_for_peer(), rig.conn.holds_since()), (2 * (BIG_BYTES - 100), Some(rig.now)));
    rig.now += Duration::from_secs(1);
    rig.send(window(3, 1 << 20));
    assert_eq!(rig.conn.shed(Duration::from_secs(1), rig.now), 1, "who takes bytes loses nothing");
    rig.settle();
    assert_eq!((rig.came(1).reset, rig.conn.held_for_peer()), (Some(ENHANCE_YOUR_CALM), BIG_BYTES - 65_435));
}
