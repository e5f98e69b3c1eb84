//! What the end-to-end tests share: sites that nobody here made, and a real browser to look at them with.
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

/// Says why a part of the tests is left out, and returns so that the test can end.
///
/// Where nothing may be missing (`CI=true`, or `DEVANTURE_REQUIRE=1`) it fails the test.
#[track_caller]
pub(crate) fn leave_out(what_is_missing: &str) {
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| matches!(value.as_str(), "1" | "true"));
    assert!(!is_set("CI") && !is_set("DEVANTURE_REQUIRE"), "{what_is_missing}");
    eprintln!("left out: {what_is_missing}");
}

/// Whether this is a run of `./test`, which leaves what takes long to `./test full`.
fn is_quick() -> bool {
    std::env::var("QUICK").is_ok_and(|quick| quick == "1")
}

/// Whether the test ends at once, having said so, because only `./test full` runs it.
pub(crate) fn is_for_full_runs() -> bool {
    if is_quick() {
        eprintln!("left out: ./test full runs it");
    }
    is_quick()
}

/// The pause of a visitor between two page loads, or of a client after some requests, while versions are switched.
/// Without it they take both processors, each switch waits for them, and the test takes longer without meeting more
/// switches.
pub(crate) const VISITOR_PAUSE: Duration = Duration::from_millis(100);

/// How often a test repeats what `FULL=1 ./test full` repeats `full` times: a tenth of that in other runs.
pub(crate) fn rounds(full: usize) -> usize {
    if std::env::var("FULL").is_ok_and(|value| value == "1") { full } else { full / 10 }
}
