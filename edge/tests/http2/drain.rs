//! Shutdown of an edge: GOAWAY in two steps (RFC 9113 section 6.8), so that no running or just sent request is lost.

use std::sync::Arc;

use crate::http2::table::Code;
use crate::http2::wire::{Conn, Frame, Script, flag, kind, request};
use crate::http2::world::World;

const STREAM_MOST: u32 = (1 << 31) - 1;

fn wait(s: Script, stream: u32) -> Script {
    s.headers(stream, flag::WHOLE, request("GET", "/api/wait", &[]))
}

async fn goaway(c: &mut Conn) -> (u32, Code) {
    loop {
        let frame = c.next().await.expect("GOAWAY");
        if frame.kind == kind::GOAWAY {
            return (frame.number(0), Code(frame.number(4)));
        }
        c.collect(&frame);
    }
}

/// PING by which the edge measures a round trip.
async fn measure(c: &mut Conn) -> Frame {
    loop {
        let frame = c.next().await.expect("PING");
        if frame.kind == kind::PING && frame.flags & flag::ACK == 0 {
            return frame;
        }
        c.collect(&frame);
    }
}

fn pong(ping: &Frame) -> Script {
    Script::default().frame(kind::PING, flag::ACK, 0, &ping.payload)
}

/// Reads until the edge closes; returns the number of `streams` answered with 200.
async fn answered(c: &mut Conn, streams: impl Iterator<Item = u32>) -> usize {
    let mut ended = Vec::new();
    while let Some(frame) = c.next().await {
        assert_ne!(frame.kind, kind::RST_STREAM, "{:?}", c.seen);
        if c.collect(&frame) {
            ended.push(frame.stream);
        }
    }
    streams.filter(|stream| ended.contains(stream) && c.so_far(*stream).status == 200).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_loses_neither_a_request_under_way_nor_one_that_is_sent_as_goaway_comes() {
    const CONNECTIONS: usize = 4;
    let world = World::start().await;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut c = world.connect().await;
        c.send(&(0..10).fold(Script::preface(), |s, number| wait(s, number * 2 + 1))).await;
        connections.push(c);
    }
    world.waiting.acquire_many(40).await.unwrap().forget();
    let (gate, waiting) = (Arc::clone(&world.gate), Arc::clone(&world.waiting));
    let world = Arc::into_inner(world).expect("nobody else has it");
    let stopped = tokio::spawn(world.edge.stop());

    let mut ends = Vec::new();
    for mut c in connections {
        // The first step announces the end, and refuses no request.
        assert_eq!(goaway(&mut c).await, (STREAM_MOST, Code(0)));
        let ping = measure(&mut c).await;
        // Requests sent before the client knew arrive before the answer to the PING.
        c.send(&wait(Script::default(), 21)).await;
        c.send(&pong(&ping)).await;
        assert_eq!(goaway(&mut c).await, (21, Code(0)));
        // The client knows now: this request is refused, and can safely be sent elsewhere.
        c.send(&wait(Script::default(), 23)).await;
        ends.push(c);
    }
    waiting.acquire_many(CONNECTIONS as u32).await.unwrap().forget();
    for c in &mut ends {
        c.fence().await;
    }
    assert_eq!(waiting.available_permits(), 0, "a request after the last GOAWAY was taken");
    gate.add_permits(11 * CONNECTIONS);
    for mut c in ends {
        assert_eq!(answered(&mut c, (0..12).map(|number| number * 2 + 1)).await, 11);
    }
    stopped.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_stop_asking_lose_nothing_in_a_drain() {
    let world = World::start().await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut c = world.connect().await;
        c.send(&Script::preface()).await;
        clients.push(tokio::spawn(async move {
            let (mut sent, mut answered, mut last) = (0_u32, 0_u32, None);
            loop {
                // Sixteen requests are in flight until the first GOAWAY.
                while last.is_none() && sent - answered < 16 {
                    c.send(&Script::default().get(sent * 2 + 1)).await;
                    sent += 1;
                }
                let Some(frame) = c.next().await else { break };
                match frame.kind {
                    kind::GOAWAY => last = Some((frame.number(0), Code(frame.number(4)))),
                    kind::PING => c.send(&pong(&frame)).await,
                    kind::RST_STREAM => panic!("{:?}", c.seen),
                    kind::DATA => c.send(&Script::default().window(0, frame.payload.len().max(1) as u32)).await,
                    _ => {}
                }
                if matches!(frame.kind, kind::DATA | kind::HEADERS) && c.collect(&frame) {
                    assert_eq!(c.so_far(frame.stream).status, 200);
                    answered += 1;
                }
            }
            assert_eq!(last, Some((sent * 2 - 1, Code(0))), "the last GOAWAY names the last request");
            (sent, answered)
        }));
    }
    // The edge ends during the requests, not before.
    let mut probe = world.connect().await;
    probe.send(&Script::preface()).await;
    for number in 0..20 {
        probe.still_serves(number * 2 + 1).await;
    }
    drop(probe);
    let world = Arc::into_inner(world).expect("nobody else has it");
    world.edge.stop().await;
    for client in clients {
        let (sent, answered) = client.await.unwrap();
        assert_eq!(sent, answered);
        assert!(sent > 16, "{sent}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_being_sent_as_the_drain_begins_is_sent_to_its_end_in_both_directions() {
    let world = World::start().await;
    let mut c = world.connect().await;
    c.send(&Script::preface().open(1).data(1, 0, "one ").held(3)).await;
    assert_eq!(c.expect(kind::HEADERS).await.stream, 3);
    let world = Arc::into_inner(world).expect("nobody else has it");
    let stopped = tokio::spawn(world.edge.stop());
    assert_eq!(goaway(&mut c).await, (STREAM_MOST, Code(0)));
    let ping = measure(&mut c).await;
    c.send(&pong(&ping)).await;
    assert_eq!(goaway(&mut c).await, (3, Code(0)));
    c.send(&Script::default().data(1, flag::END_STREAM, "two").window(1, 1_000).window(3, 1 << 20).window(0, 1 << 20))
        .await;
    while let Some(frame) = c.next().await {
        assert_ne!(frame.kind, kind::RST_STREAM, "{:?}", c.seen);
        c.collect(&frame);
    }
    assert_eq!(c.so_far(1).body, b"one two");
    assert_eq!(c.so_far(3).body, crate::http2::world::big());
    stopped.await.unwrap();
}
