//! A clock that a test sets, for edges in processes of their own.

#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::Setup;

const DAY_S: u64 = 86_400;

/// The library that gives a program another clock; fails where nothing may be missing.
pub(crate) fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let found = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| matches!(value.as_str(), "1" | "true"));
    assert!(found.is_some() || !is_set("CI") && !is_set("DEVANTURE_REQUIRE"), "libfaketime is not installed");
    found
}

/// Gives the edge the clock of that library, but for what only measures how long something takes.
pub(crate) fn preloaded(setup: Setup, library: &Path) -> Setup {
    setup.with_variable("LD_PRELOAD", library.to_str().unwrap()).with_variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

/// A clock that runs on from what it was set to. Times of waits are those of the machine.
pub(crate) struct Clock {
    library: PathBuf,
    folder: TempDir,
}

impl Clock {
    /// One that is right; `None` where the library is missing and may be.
    pub(crate) fn new() -> Option<Self> {
        let clock = Self { library: library()?, folder: tempfile::tempdir().unwrap() };
        clock.set(0);
        Some(clock)
    }

    /// Gives the edge this clock.
    pub(crate) fn on(&self, setup: Setup) -> Setup {
        preloaded(setup, &self.library)
            .with_variable("FAKETIME_TIMESTAMP_FILE", self.file().to_str().unwrap())
            .with_variable("FAKETIME_NO_CACHE", "1")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    /// Sets it so many seconds ahead of the right one.
    pub(crate) fn set(&self, ahead_s: u64) {
        // Replaced at once: an edge that reads half of it has a clock of its own.
        let new = self.folder.path().join("new");
        std::fs::write(&new, format!("+{ahead_s}\n")).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }

    /// An hour of the day, UTC, that does not begin for a while. Never the first, so that some of the day lies before
    /// it.
    pub(crate) fn hour_far_from_now() -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        ((now / 3_600 + 12) % 24).max(1)
    }

    /// Sets it to a time of a later day, counted from today, in seconds after midnight UTC. Gives milliseconds since
    /// 1970 of that midnight.
    pub(crate) fn set_to(&self, day: u64, second: u64) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let midnight = now / DAY_S * DAY_S + day * DAY_S;
        self.set(midnight + second - now);
        midnight * 1_000
    }
}
