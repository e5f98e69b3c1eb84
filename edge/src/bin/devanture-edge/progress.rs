//! Progress of a long command: a rewritten line on a terminal, and periodic lines otherwise.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use devanture_config::text::counted;
use devanture_control::safekeeping::FileProgress;

use crate::terminal::say;

/// Milliseconds between updates on a terminal.
const TERMINAL_EVERY_MS: u64 = 200;
/// Milliseconds between lines without a terminal.
const PLAIN_EVERY_MS: u64 = 5_000;

/// Output of progress to stderr, or to nowhere.
pub(crate) struct ProgressLine {
    is_terminal: bool,
    is_quiet: bool,
    began: Instant,
    next_ms: AtomicU64,
}

impl ProgressLine {
    /// Creates the output, quiet if the command prints JSON.
    pub(crate) fn new(is_json: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let next_ms = AtomicU64::new(if is_terminal { 0 } else { PLAIN_EVERY_MS });
        Self { is_terminal, is_quiet: is_json, began: Instant::now(), next_ms }
    }

    /// Returns true if the line is rewritten during the command.
    pub(crate) const fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Shows a step immediately, only on a terminal.
    pub(crate) fn step(&self, text: &str) {
        if self.is_terminal && !self.is_quiet {
            let mut stderr = std::io::stderr().lock();
            write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush()).ok();
        }
    }

    /// Shows the progress of a step, unless an update was shown just before.
    pub(crate) fn show(&self, text: impl FnOnce() -> String) {
        if self.is_quiet {
            return;
        }
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now_ms < self.next_ms.load(Ordering::Relaxed) {
            return;
        }
        let every_ms = if self.is_terminal { TERMINAL_EVERY_MS } else { PLAIN_EVERY_MS };
        self.next_ms.store(now_ms.saturating_add(every_ms), Ordering::Relaxed);
        match self.is_terminal {
            true => self.step(&text()),
            false => say(&text()),
        }
    }

    /// Shows the progress of files as [`ProgressLine::show`] does; `doing` names the action.
    pub(crate) fn files(&self, doing: &str, progress: FileProgress) {
        let FileProgress { files, bytes, files_all, bytes_all } = progress;
        self.show(|| {
            let all = counted(files_all, "file");
            format!("{doing}: {files} of {all} ({} of {} MB)", bytes / 1_000_000, bytes_all / 1_000_000)
        });
    }

    /// Clears the line.
    pub(crate) fn end(&self) {
        if self.is_terminal && !self.is_quiet {
            write!(std::io::stderr(), "\r\x1b[K").ok();
        }
    }
}
