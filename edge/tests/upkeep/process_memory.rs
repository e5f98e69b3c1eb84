//! Memory limit of a process, with a real process.

#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::fs;

use http::{Method, StatusCode};

use crate::support::{RunningEdge, edge, eventually, got};

const APPS: usize = 16;
/// Size in bytes of each app's only file, which is binary and so has one encoding.
const FILE_BYTES: usize = 3 << 20;
/// Maximum growth in bytes after the start: a third of the size of all files.
const MORE_BYTES: u64 = 12 << 20;

/// Incompressible bytes, different for each app.
fn file(app: usize) -> Vec<u8> {
    let mut state = app as u64 + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..FILE_BYTES / 8).flat_map(|_| next()).collect()
}

/// Bytes of cached files.
async fn held_bytes(edge: &RunningEdge) -> u64 {
    let text = got(edge.api(Method::GET, "/metrics")).await.text();
    let line = text.lines().find_map(|line| line.strip_prefix("devanture_memory_bytes{part=\"files\"} "));
    line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

#[tokio::test]
async fn a_process_near_its_limit_of_memory_holds_fewer_files_and_answers_every_request() {
    // The limit of counted memory is raised, to have no effect here.
    let setup = edge().in_a_process().with_limit("loaded_memory_bytes_max", 1 << 30);
    let edge = setup.with_limit("process_memory_bytes_max", 0).start().await;
    for app in 0..APPS {
        edge.push(&format!("app-{app}"), &[("large.png", &file(app))]).await;
    }
    let edge = edge.restart().await;
    edge.process().rests().await;
    let limit = (edge.process().resident_bytes() + MORE_BYTES) / 90 * 100;
    let path = edge.data_dir().parent().unwrap().join("edge.toml");
    let text = fs::read_to_string(&path).unwrap();
    let limited = text.replace("process_memory_bytes_max = 0", &format!("process_memory_bytes_max = {limit}"));
    assert_ne!(text, limited);
    fs::write(&path, limited).unwrap();
    let edge = edge.restart().await;
    for app in (0..APPS).chain(0..APPS) {
        let got = edge.get(&format!("app-{app}.localhost"), "/large.png").await;
        assert_eq!((got.status, got.body.len()), (StatusCode::OK, FILE_BYTES), "app-{app}");
    }
    let all = (APPS * FILE_BYTES) as u64;
    eventually("files are unloaded", async || held_bytes(&edge).await < all - MORE_BYTES).await;
    eventually("the process is within its limit", async || edge.process().resident_bytes() <= limit).await;
    edge.stop().await;
}

#[tokio::test]
async fn the_allocator_gives_back_what_is_free_after_a_tenth_of_a_second_or_as_the_environment_has_it() {
    let delays = |edge: &RunningEdge| {
        let (name, environment) = edge.process().name_and_environment();
        assert_eq!(name, "devanture-edge");
        environment
            .iter()
            .filter_map(|variable| variable.strip_prefix("MIMALLOC_PURGE_DELAY="))
            .map(str::to_owned)
            .collect()
    };
    let edge = edge().in_a_process().start().await;
    let delay: Vec<String> = delays(&edge);
    assert_eq!(delay, ["100"]);
    edge.stop().await;
    let edge = crate::support::edge().in_a_process().with_variable("MIMALLOC_PURGE_DELAY", "1000").start().await;
    assert_eq!(delays(&edge), ["1000"]);
    edge.stop().await;
}
