//! Test clock for edges in separate processes.

#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::Setup;

const DAY_S: u64 = 86_400;

/// Library that overrides the clock of a program; fails if the library is missing but required.
pub(crate) fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let found = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| matches!(value.as_str(), "1" | "true"));
    assert!(found.is_some() || !is_set("CI") && !is_set("DEVANTURE_REQUIRE"), "libfaketime is not installed");
    found
}

/// Overrides the edge's clock with the library, except for the monotonic clock.
pub(crate) fn preloaded(setup: Setup, library: &Path) -> Setup {
    setup.with_variable("LD_PRELOAD", library.to_str().unwrap()).with_variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

/// Clock that keeps running from the time set. Timeouts follow the clock of the machine.
pub(crate) struct Clock {
    library: PathBuf,
    folder: TempDir,
}

impl Clock {
    /// Clock set to the current time; `None` if the library is missing and optional.
    pub(crate) fn new() -> Option<Self> {
        let clock = Self { library: library()?, folder: tempfile::tempdir().unwrap() };
        clock.set(0);
        Some(clock)
    }

    /// Applies the clock to an edge.
    pub(crate) fn on(&self, setup: Setup) -> Setup {
        preloaded(setup, &self.library)
            .with_variable("FAKETIME_TIMESTAMP_FILE", self.file().to_str().unwrap())
            .with_variable("FAKETIME_NO_CACHE", "1")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    /// Sets the clock to `ahead_s` seconds ahead of the current time.
    pub(crate) fn set(&self, ahead_s: u64) {
        // Replaced atomically: an edge that reads a half-written file would have a wrong time.
        let new = self.folder.path().join("new");
        std::fs::write(&new, format!("+{ahead_s}\n")).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }

    /// Hour of the day (UTC) that does not begin soon. Never the first hour, so that part of the day lies before.
    pub(crate) fn hour_far_from_now() -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        ((now / 3_600 + 12) % 24).max(1)
    }

    /// Sets the clock to `second` seconds after midnight UTC, `day` days from today. Returns the midnight in
    /// milliseconds since 1970.
    pub(crate) fn set_to(&self, day: u64, second: u64) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let midnight = now / DAY_S * DAY_S + day * DAY_S;
        self.set(midnight + second - now);
        midnight * 1_000
    }
}
