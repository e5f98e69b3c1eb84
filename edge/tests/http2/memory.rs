//! Memory of an edge during floods: resident memory of a real process, before and at the peak, for every flood known by
//! name. The table tests the end of each flood; the tests here check that floods cost no memory until then.

use crate::http2::fields::{indexed_literal, literal, table_size};
use crate::http2::table::*;
use crate::http2::wire::{Conn, Script, flag, kind, request, setting};
use crate::http2::world::World;
use crate::support::edge;

/// Maximum memory growth in bytes for one flood, over all connections.
const GROWTH_MAX: u64 = 16 * 1024 * 1024;
/// Connections of one flood.
const CONNECTIONS: usize = 8;
/// Concurrently open streams in floods of streams: fewer than the limit.
const HELD: u32 = 100;
const MOST: u32 = (1 << 31) - 1;

/// Repeated act with the number of the repetition.
type Again = fn(Script, u32) -> Script;

/// Act that a client repeats.
struct Flood {
    what: &'static str,
    first: fn(Script) -> Script,
    again: Again,
    times: u32,
}

/// Stream id of a repetition.
fn nth(number: u32) -> u32 {
    number * 2 + 1
}

fn big(s: Script, stream: u32) -> Script {
    s.headers(stream, flag::WHOLE, request("GET", "/big.bin", &[]))
}

/// No connection window for responses, only stream windows.
fn without_windows(s: Script) -> Script {
    s.settings(&[(setting::INITIAL_WINDOW_SIZE, 0)]).window(0, 1 << 30)
}

fn as_it_is(s: Script) -> Script {
    s
}

/// Floods by clients that read the responses.
fn floods() -> Vec<Flood> {
    let flood = |what, first, again, times| Flood { what, first, again, times };
    vec![
        flood("rapid reset of files", without_windows, |s, n| big(s, nth(n)).reset(nth(n), 8), 4_000),
        flood("rapid reset of requests for a backend", as_it_is, |s, n| s.open(nth(n)).reset(nth(n), 8), 2_000),
        flood("MadeYouReset by an increment of 0", without_windows, |s, n| big(s, nth(n)).window(nth(n), 0), 2_000),
        flood(
            "MadeYouReset by a window that overflows",
            without_windows,
            |s, n| big(s, nth(n)).window(nth(n), MOST).window(nth(n), 1),
            2_000,
        ),
        flood("MadeYouReset by DATA after the end", without_windows, |s, n| big(s, nth(n)).data(nth(n), 0, "x"), 2_000),
        flood("malformed heads", as_it_is, |s, n| s.get_with(nth(n), &[("connection", "close")]), 2_000),
        flood("streams beyond the limit", without_windows, |s, n| big(s, nth(n)), 4_000),
        flood(
            "streams that are never answered to",
            without_windows,
            |s, n| {
                if n < HELD { big(s, nth(n)) } else { s.ping(*b"waiting!") }
            },
            2_000,
        ),
        flood(
            "CONTINUATION of fields",
            |s| s.headers(1, flag::END_STREAM, request("GET", "/", &[])),
            |s, _| s.continuation(1, 0, literal("x", "y")),
            10_000,
        ),
        flood(
            "CONTINUATION of nothing",
            |s| s.headers(1, flag::END_STREAM, request("GET", "/", &[])),
            |s, _| s.continuation(1, 0, []),
            20_000,
        ),
        flood(
            "CONTINUATION of one long value",
            |s| {
                let begun = [&[0, 1, b'x', 0x7f, 0x80, 0x80, 0x80, 0x08][..], &[b'x'; 100]].concat();
                s.headers(1, flag::END_STREAM, begun)
            },
            |s, _| s.continuation(1, 0, [b'x'; 10_000]),
            200,
        ),
        flood("SETTINGS", as_it_is, |s, n| s.settings(&[(setting::INITIAL_WINDOW_SIZE, n)]), 20_000),
        flood(
            "SETTINGS with streams whose windows change",
            |s| (0..HELD).fold(without_windows(s), |s, n| big(s, nth(n))),
            |s, n| s.settings(&[(setting::INITIAL_WINDOW_SIZE, n % 2)]),
            2_000,
        ),
        flood("PING", as_it_is, |s, n| s.ping(u64::from(n).to_be_bytes()), 20_000),
        flood("PRIORITY", as_it_is, |s, n| s.frame(kind::PRIORITY, 0, nth(n), [0, 0, 0, 0, 1]), 20_000),
        flood("WINDOW_UPDATE of the connection", as_it_is, |s, _| s.window(0, 1), 20_000),
        flood("empty DATA", |s| s.open(1), |s, _| s.data(1, 0, []), 20_000),
        flood("DATA of padding alone", |s| s.open(1), |s, _| s.data(1, flag::PADDED, [255; 256]), 200),
        flood("frames of no known type", as_it_is, |s, n| s.frame(0xbe, 0xff, n, [7; 30]), 20_000),
        flood(
            "windows of one byte",
            |s| (0..HELD).fold(without_windows(s), |s, n| big(s, nth(n))),
            |s, n| s.window(nth(n % HELD), 1),
            9_000,
        ),
        flood(
            "a table whose every entry is put out by the next",
            as_it_is,
            |s, n| {
                let entry = indexed_literal("x", &format!("{n:05}").repeat(780));
                s.headers(nth(n), flag::WHOLE, [request("GET", "/", &[]), entry].concat())
            },
            400,
        ),
        flood(
            "a table whose size goes up and down",
            as_it_is,
            |s, n| {
                let entries = (0..40).flat_map(|entry| indexed_literal("x", &entry.to_string()));
                let block = [table_size(0), table_size(4_096), request("GET", "/", &[]), entries.collect()].concat();
                s.headers(nth(n), flag::WHOLE, block)
            },
            1_000,
        ),
        flood("heads near the limit", as_it_is, |s, n| s.get_with(nth(n), &[("x", &"x".repeat(14_000))]), 200),
    ]
}

impl Flood {
    /// Bytes of one connection; fewer repetitions for the warm-up of the process.
    fn bytes(&self, times: u32) -> Vec<u8> {
        let first = (self.first)(Script::preface());
        (0..times.max(1)).fold(first, |s, number| (self.again)(s, number)).bytes
    }

    /// Runs the flood on several connections. Returns the open connections, and the outcome of each.
    async fn on(&self, world: &World, connections: usize, times: u32) -> (Vec<Conn>, Vec<Outcome>) {
        let bytes = self.bytes(times);
        let pour = || async {
            let mut c = world.connect().await;
            c.pour(&bytes).await;
            let outcome = c.verdict(0, true).await;
            (c, outcome)
        };
        futures_util::future::join_all((0..connections).map(|_| pour())).await.into_iter().unzip()
    }
}

/// Edge in a separate process with a short write timeout.
async fn world() -> std::sync::Arc<World> {
    World::with(edge().in_a_process().with_limit("write_ms_max", 300)).await
}

async fn serves(world: &World) {
    let mut c = world.connect().await;
    c.send(&Script::preface()).await;
    c.still_serves(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_cost_no_memory() {
    let world = world().await;
    let floods = floods();
    // One-time memory of every request, such as code and buffer pools, is no growth.
    for flood in &floods {
        flood.on(&world, CONNECTIONS, flood.times / 100).await;
    }
    let begun = world.edge.process().resident_bytes();
    for flood in &floods {
        let mark = world.edge.process().mark();
        let (connections, outcomes) = flood.on(&world, CONNECTIONS, flood.times).await;
        let grown = world.edge.process().grown_since(mark);
        eprintln!("{}: {} KiB, {:?}", flood.what, grown / 1_024, outcomes[0]);
        assert!(grown < GROWTH_MAX, "{}: {grown} bytes, {outcomes:?}", flood.what);
        serves(&world).await;
        drop(connections);
    }
    // The growth does not accumulate.
    let grown = world.edge.process().resident_bytes().saturating_sub(begun);
    assert!(grown < GROWTH_MAX, "all together: {grown} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_by_clients_that_read_nothing_cost_no_memory() {
    let world = world().await;
    let floods: [(&str, Again); 6] = [
        ("PING", |s, _| s.ping([5; 8])),
        ("SETTINGS", |s, _| s.settings(&[])),
        ("files", |s, n| s.get(nth(n))),
        ("heads alone", |s, n| s.headers(nth(n), flag::WHOLE, request("HEAD", "/big.bin", &[]))),
        ("redirects", |s, n| s.headers(nth(n), flag::WHOLE, request("GET", "//index", &[]))),
        ("answers of a backend", |s, n| s.headers(nth(n), flag::WHOLE, request("GET", "/api/fields", &[]))),
    ];
    serves(&world).await;
    for (what, again) in floods {
        let mark = world.edge.process().mark();
        let flood = || async {
            let mut c = world.connect().await;
            let windows = [(setting::INITIAL_WINDOW_SIZE, MOST)];
            c.send(&Script::preface().settings(&windows).window(0, 1 << 30)).await;
            // The system buffers some megabytes for both ends; beyond that, the edge must stop reading or buffer.
            let mut number = 0;
            while number < 30_000 {
                let some = (number..number + 500).fold(Script::default(), again);
                number += 500;
                let sent = tokio::time::timeout(crate::http2::wire::PATIENCE, c.try_send(&some)).await;
                if sent.expect("the edge closes what takes no answers").is_err() {
                    break;
                }
            }
            c
        };
        let connections = futures_util::future::join_all((0..CONNECTIONS).map(|_| flood())).await;
        world.edge.process().rests().await;
        let grown = world.edge.process().grown_since(mark);
        eprintln!("{what}: {} KiB", grown / 1_024);
        assert!(grown < GROWTH_MAX, "{what}: {grown} bytes");
        serves(&world).await;
        drop(connections);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_never_end_cost_no_memory() {
    const HANDSHAKES: usize = 300;
    let world = world().await;
    serves(&world).await;
    let mark = world.edge.process().mark();
    let mut open = Vec::new();
    for number in 0..HANDSHAKES {
        let mut stream = tokio::net::TcpStream::connect(world.edge.https()).await.unwrap();
        // TLS record that announces 16 KiB and brings half of the bytes, or none.
        let record = [&[0x16, 3, 1, 0x40, 0][..], &[1, 0, 0x3f, 0xfc], &vec![3; 8_000]].concat();
        let sent = if number % 2 == 0 { &record[..] } else { &record[..5] };
        tokio::io::AsyncWriteExt::write_all(&mut stream, sent).await.unwrap();
        open.push(stream);
    }
    world.edge.process().rests().await;
    let grown = world.edge.process().grown_since(mark);
    eprintln!("{HANDSHAKES} handshakes: {} KiB", grown / 1_024);
    assert!(grown < GROWTH_MAX, "{grown} bytes");
    serves(&world).await;
}
