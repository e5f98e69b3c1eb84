//! Shared parts of the end-to-end tests: third-party sites, and a real browser.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "each test binary uses a part of this, and a test that cannot go on should stop where it is"
)]

use std::time::Duration;

pub(crate) mod browser;
mod cdp;
pub(crate) mod crawl;
pub(crate) mod dev;
pub(crate) mod dns;
pub(crate) mod edge;
pub(crate) mod inputs;
pub(crate) mod issuer;
pub(crate) mod jupyter;
pub(crate) mod managed;
pub(crate) mod page;
#[path = "../../../edge/tests/support/podman.rs"]
pub(crate) mod podman;
pub(crate) mod project;
pub(crate) mod story;
pub(crate) mod terminal;
pub(crate) mod websocket;

/// Prints the reason for a skipped test, and returns so that the test can end.
///
/// If all tools are required (`CI=true`, or `DEVANTURE_REQUIRE=1`), fails the test.
#[track_caller]
pub(crate) fn leave_out(what_is_missing: &str) {
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| matches!(value.as_str(), "1" | "true"));
    assert!(!is_set("CI") && !is_set("DEVANTURE_REQUIRE"), "{what_is_missing}");
    eprintln!("left out: {what_is_missing}");
}

/// Returns true in a run of `./test`, which leaves long tests to `./test full`.
fn is_quick() -> bool {
    std::env::var("QUICK").is_ok_and(|quick| quick == "1")
}

/// Returns true if the test must end at once, with a message, because only `./test full` runs the test.
pub(crate) fn is_for_full_runs() -> bool {
    if is_quick() {
        eprintln!("left out: ./test full runs it");
    }
    is_quick()
}

/// The pause of a visitor between two page loads, or of a client after some requests, while versions are switched.
/// Without a pause the visitors take both processors, each switch waits, and the test takes longer without meeting more
/// switches.
pub(crate) const VISITOR_PAUSE: Duration = Duration::from_millis(100);

/// Returns the number of rounds of a test: `full` in `FULL=1 ./test full`, a tenth otherwise.
pub(crate) fn rounds(full: usize) -> usize {
    if std::env::var("FULL").is_ok_and(|value| value == "1") { full } else { full / 10 }
}
