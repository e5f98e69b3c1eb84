//! A disk that is soon full.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "what a test writes is not durable, and a test that cannot go on should stop"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// What fills it.
const FILE: &str = "large";

/// A disk of 64 MiB, of which a sixteenth stays free.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    #[allow(clippy::print_stderr, reason = "a person who runs the tests has to see what was left out")]
    pub(crate) fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(folder.path()).stderr(Stdio::null());
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Self(folder));
        }
        eprintln!("left out: only root may mount a small file system");
        None
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file until no more than `bytes` are free.
    pub(crate) fn fill(&self, bytes: u64) {
        let found = rustix::fs::statvfs(self.path()).unwrap();
        let length = found.f_bavail * found.f_frsize - bytes;
        fs::write(self.path().join(FILE), vec![1; usize::try_from(length).unwrap()]).unwrap();
    }

    /// Removes that file.
    pub(crate) fn empty(&self) {
        fs::remove_file(self.path().join(FILE)).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(self.0.path()).status().ok();
    }
}
