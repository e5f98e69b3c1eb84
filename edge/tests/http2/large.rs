//! Large files: whole, in ranges, and for stalled clients; from the disk and from memory, over both protocols.

use std::sync::Arc;

use crate::http2::wire::{Conn, Script, flag, kind, setting};
use crate::http2::world::World;
use crate::support::edge;

const APP: &str = "files";
const HOST: &str = "files.localhost";
/// Above `memory_file_bytes_max`: streamed from the disk.
const HUGE_BYTES: usize = 100_000_000;
/// Below `memory_file_bytes_max`: cached in memory.
const LARGE_BYTES: usize = 1_000_000;
/// Connections of stalled clients.
const CONNECTIONS: usize = 32;
/// Maximum memory in bytes per stalled connection: a private write buffer, TLS records and the session.
const CONNECTION_BYTES_MAX: u64 = 256 * 1024;
/// Maximum memory in bytes per stalled stream: one piece of the file.
const PIECE_BYTES: u64 = 64 * 1024;
/// Maximum memory growth in bytes while a file is sent to a reading client.
const GROWTH_MAX: u64 = 16 * 1024 * 1024;
const MOST: u32 = (1 << 31) - 1;

/// Incompressible bytes.
fn noise(length: usize) -> Vec<u8> {
    let next =
        |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    let words = std::iter::successors(Some(7_u64), next).map(|state| (state >> 32) as u32);
    let mut bytes: Vec<u8> = words.take(length.div_ceil(4)).flat_map(u32::to_le_bytes).collect();
    bytes.truncate(length);
    bytes
}

async fn world() -> (Arc<World>, Vec<u8>) {
    let world = World::with(edge().in_a_process()).await;
    let huge = noise(HUGE_BYTES);
    // Videos are not compressed, since compression would disturb the measured memory.
    world.edge.push(APP, &[("huge.mp4", &huge), ("large.mp4", &huge[..LARGE_BYTES])]).await;
    // Buffer pools are allocated from here on.
    for path in ["/huge.mp4", "/large.mp4"] {
        over_http1(&world, path, Some("bytes=0-400000")).await;
        over_http2(&world, path, Some("bytes=0-400000")).await;
    }
    (world, huge)
}

fn asking(stream: u32, path: &str, range: Option<&str>) -> Script {
    let mut fields = vec![(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", path)];
    fields.extend(range.map(|range| ("range", range)));
    Script::default().exactly(stream, &fields)
}

fn asking_http1(path: &str, range: Option<&str>) -> Script {
    let range = range.map_or_else(String::new, |range| format!("range: {range}\r\n"));
    Script::default().raw(format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\n{range}connection: close\r\n\r\n"))
}

/// Windows of the maximum size.
fn windows() -> Script {
    Script::preface().settings(&[(setting::INITIAL_WINDOW_SIZE, MOST)]).window(0, MOST - 65_535)
}

async fn over_http2(world: &World, path: &str, range: Option<&str>) -> (u16, Vec<u8>) {
    let mut c = world.connect_as(HOST, &[b"h2"], rustls::DEFAULT_VERSIONS).await.unwrap();
    c.send(&windows()).await;
    c.send(&asking(1, path, range)).await;
    let answer = c.answer(1).await;
    (answer.status, answer.body)
}

async fn over_http1(world: &World, path: &str, range: Option<&str>) -> (u16, Vec<u8>) {
    let mut c = world.connect_as(HOST, &[b"http/1.1"], rustls::DEFAULT_VERSIONS).await.unwrap();
    c.send(&asking_http1(path, range)).await;
    let all = c.rest().await;
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    (std::str::from_utf8(&all[9..12]).unwrap().parse().unwrap(), all[end + 4..].to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_arrives_whole_and_in_ranges_and_costs_no_memory() {
    let (world, huge) = world().await;
    let (middle, end) = (50_000_000, HUGE_BYTES - 1);
    let wanted = [
        (None, 0..=end),
        (Some("bytes=99999990-".to_owned()), end - 9..=end),
        (Some("bytes=-1".to_owned()), end..=end),
        (Some(format!("bytes={middle}-{}", middle + 999_999)), middle..=middle + 999_999),
        (Some(format!("bytes=1-{end}")), 1..=end),
    ];
    for (range, part) in wanted {
        let mark = world.edge.process().mark();
        let over_http2 = over_http2(&world, "/huge.mp4", range.as_deref()).await;
        let over_http1 = over_http1(&world, "/huge.mp4", range.as_deref()).await;
        let grown = world.edge.process().grown_since(mark);
        eprintln!("{range:?}: {} KiB", grown / 1_024);
        for (status, body) in [over_http2, over_http1] {
            assert_eq!(status, if range.is_some() { 206 } else { 200 }, "{range:?}");
            assert!(body == huge[part.clone()], "{range:?}: {} bytes", body.len());
        }
        assert!(grown < GROWTH_MAX, "{range:?}: {grown} bytes");
    }
    for over in [over_http2(&world, "/large.mp4", None).await, over_http1(&world, "/large.mp4", None).await] {
        assert!(over == (200, huge[..LARGE_BYTES].to_vec()), "{}: {} bytes", over.0, over.1.len());
    }
    let beyond = Some("bytes=100000000-");
    assert_eq!(over_http2(&world, "/huge.mp4", beyond).await.0, 416);
    assert_eq!(over_http1(&world, "/huge.mp4", beyond).await.0, 416);
}

/// Connection that reads the response heads and then stalls.
async fn stuck_http2(world: &World, path: &str, streams: u32) -> Conn {
    let mut c = world.connect_slowly(HOST, b"h2").await;
    c.send(&windows()).await;
    let script = (0..streams).fold(Script::default(), |s, number| s.raw(asking(number * 2 + 1, path, None).bytes));
    c.send(&script).await;
    loop {
        let frame = c.next().await.expect("a head");
        if frame.kind == kind::HEADERS && frame.flags & flag::END_STREAM == 0 {
            assert_eq!(frame.status(), 200);
            return c;
        }
    }
}

async fn stuck_http1(world: &World, path: &str) -> Conn {
    let mut c = world.connect_slowly(HOST, b"http/1.1").await;
    c.send(&asking_http1(path, None)).await;
    assert!(c.head_of_text().await.starts_with("HTTP/1.1 200 "));
    c
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_read_nothing_of_a_large_file_cost_no_memory() {
    let (world, _) = world().await;
    for path in ["/huge.mp4", "/large.mp4"] {
        for (what, streams) in [("HTTP/2", 1), ("HTTP/2, 16 streams", 16), ("HTTP/1.1", 0)] {
            let mark = world.edge.process().mark();
            let mut connections = Vec::new();
            for _ in 0..CONNECTIONS {
                connections.push(match streams {
                    0 => stuck_http1(&world, path).await,
                    streams => stuck_http2(&world, path, streams).await,
                });
            }
            world.edge.process().rests().await;
            let grown = world.edge.process().grown_since(mark) / CONNECTIONS as u64;
            eprintln!("{path} over {what}: {} KiB for each connection", grown / 1_024);
            let most = CONNECTION_BYTES_MAX + PIECE_BYTES * u64::from(streams);
            assert!(grown < most, "{path} over {what}: {grown} bytes for each connection");
            // Other clients are served meanwhile.
            assert_eq!(over_http2(&world, "/large.mp4", Some("bytes=0-9")).await.0, 206);
            drop(connections);
        }
    }
}
