//! Progress on stderr while a command works: bars on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::report::byte_text;
use super::terminal;

/// Interval of plain lines about the progress of an upload.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
/// Interval at which a bar moves by itself, to show that the command is alive.
const TICK: Duration = Duration::from_millis(100);

/// The style of text on a terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    has_colours: bool,
}

impl Style {
    /// Decides by `NO_COLOR` (no-color.org) and `CLICOLOR_FORCE` (bixense.com/clicolors), then by the kind of the
    /// stream.
    pub(crate) fn of(environment: &std::collections::BTreeMap<String, String>, is_terminal: bool) -> Self {
        let is_set = |name: &str| environment.get(name).is_some_and(|value| !value.is_empty());
        let is_forced = is_set("CLICOLOR_FORCE") && environment.get("CLICOLOR_FORCE").is_some_and(|value| value != "0");
        let is_dumb = environment.get("TERM").is_some_and(|value| value == "dumb");
        Self { has_colours: !is_set("NO_COLOR") && (is_forced || (is_terminal && !is_dumb)) }
    }

    fn marked(self, code: &str, text: &str) -> String {
        if self.has_colours {
            format!("{}{text}{}", terminal::mark(code), terminal::mark("0"))
        } else {
            text.to_owned()
        }
    }

    /// Success.
    pub(crate) fn good(self, text: &str) -> String {
        self.marked("1;32", text)
    }

    /// Failure.
    pub(crate) fn bad(self, text: &str) -> String {
        self.marked("1;31", text)
    }

    /// Less important text.
    pub(crate) fn dim(self, text: &str) -> String {
        self.marked("2", text)
    }

    /// Returns a line with a name and a text.
    pub(crate) fn line(self, name: &str, text: &str) -> String {
        format!("  {}  {text}", self.dim(&format!("{name:<8}")))
    }
}

/// The volume of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Volume {
    /// Mistakes and warnings.
    Quiet,
    /// Steps, notes and progress too.
    Usual,
    /// Each file and each request too.
    Verbose,
}

/// Reports the progress of a command; a clone reports to the same place.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    /// The style of text on stderr.
    pub(crate) style: Style,
    volume: Volume,
    has_bars: bool,
    running: Arc<Mutex<Option<ProgressBar>>>,
}

impl Progress {
    /// Detects the kind of stderr.
    pub(crate) fn new(environment: &std::collections::BTreeMap<String, String>, volume: Volume) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let style = Style::of(environment, is_terminal);
        // A terminal without cursor movement gets lines.
        let is_dumb = environment.get("TERM").is_some_and(|value| value == "dumb");
        let has_bars = is_terminal && !is_dumb && volume > Volume::Quiet;
        Self { style, volume, has_bars, running: Arc::default() }
    }

    /// Returns true if current steps are shown by moving bars.
    pub(crate) fn has_bars(&self) -> bool {
        self.has_bars
    }

    /// Reports the end of a step.
    pub(crate) fn step(&self, name: &str, detail: &str) {
        if self.volume > Volume::Quiet {
            self.line(&self.style.line(name, detail));
        }
    }

    /// Returns true for the verbose volume.
    pub(crate) fn is_verbose(&self) -> bool {
        self.volume == Volume::Verbose
    }

    /// Prints a detail, if details are wanted.
    pub(crate) fn detail(&self, name: &str, text: &str) {
        if self.is_verbose() {
            self.step(name, text);
        }
    }

    /// Prints a note for the user.
    pub(crate) fn note(&self, text: &str) {
        self.step("note", text);
    }

    /// Prints a warning, also in quiet mode.
    pub(crate) fn warning(&self, text: &str) {
        self.line(&format!("  {}  {text}", self.style.bad(&format!("{:<8}", "warning"))));
    }

    /// Writes a line, quiet or not.
    pub(crate) fn line(&self, text: &str) {
        // A closed output is ignored.
        let text = terminal::line(text);
        let write = || writeln!(io::stderr().lock(), "{text}").ok();
        match self.running.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(bar) => bar.suspend(write),
            None => write(),
        };
    }

    /// Shows that the step `name` is running, with `text`, until the next step begins or the return value is dropped.
    pub(crate) fn working(&self, name: &str, text: &str) -> Working<'_> {
        let bar = ProgressBar::with_draw_target(None, self.draw_target());
        bar.set_style(styled("  {prefix:<8}  {spinner} {msg}"));
        bar.set_message(terminal::line(text));
        self.show(name, bar);
        Working { progress: self }
    }

    /// Shows how far the sending of `files` with `bytes` is, until the answer is dropped.
    pub(crate) fn sending(&self, name: &'static str, files: u64, bytes: u64) -> Sending<'_> {
        let bar = ProgressBar::with_draw_target(Some(bytes), self.draw_target());
        bar.set_style(styled("  {prefix:<8}  {bar:20} {msg}  {decimal_bytes_per_sec}  {eta} left"));
        self.show(name, bar.clone());
        let plain = (!self.has_bars && self.volume > Volume::Quiet).then(|| Mutex::new(Instant::now()));
        let sent = Sent {
            bar,
            plain,
            begun: Instant::now(),
            name,
            files_total: files,
            bytes_total: bytes,
            files_done: AtomicU64::new(0),
            bytes_done: AtomicI64::new(0),
        };
        sent.update();
        Sending { progress: self, sent: Arc::new(sent) }
    }

    /// Returns the target of a bar. The target has to be set when the bar is made: a frame drawn to an earlier target
    /// is never cleared.
    fn draw_target(&self) -> ProgressDrawTarget {
        if self.has_bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
    }

    fn show(&self, name: &str, bar: ProgressBar) {
        bar.set_prefix(terminal::line(name));
        if self.has_bars {
            bar.enable_steady_tick(TICK);
        }
        let before = self.running.lock().unwrap_or_else(PoisonError::into_inner).replace(bar);
        if let Some(before) = before {
            before.finish_and_clear();
        }
    }

    fn clear(&self) {
        let bar = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }
}

fn styled(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("━━ ")
}

/// A running step.
#[derive(Debug)]
pub(crate) struct Working<'p> {
    progress: &'p Progress,
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.progress.clear();
    }
}

/// A running upload.
#[derive(Debug)]
pub(crate) struct Sending<'p> {
    progress: &'p Progress,
    /// The progress of the upload.
    pub(crate) sent: Arc<Sent>,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.progress.clear();
    }
}

/// The progress of an upload.
#[derive(Debug)]
pub(crate) struct Sent {
    bar: ProgressBar,
    /// Without a bar: the time of the last written line.
    plain: Option<Mutex<Instant>>,
    begun: Instant,
    name: &'static str,
    files_total: u64,
    bytes_total: u64,
    files_done: AtomicU64,
    bytes_done: AtomicI64,
}

impl Sent {
    /// So many files have arrived.
    pub(crate) fn add_files(&self, files: u64) {
        self.files_done.fetch_add(files, Ordering::Relaxed);
        self.update();
    }

    /// Adds sent bytes; negative if an attempt failed and the bytes will be sent again.
    pub(crate) fn add_bytes(&self, bytes: i64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        self.update();
    }

    fn update(&self) {
        let files = self.files_done.load(Ordering::Relaxed);
        let bytes = u64::try_from(self.bytes_done.load(Ordering::Relaxed)).unwrap_or(0);
        let text = format!("{files}/{}  {} of {}", self.files_total, byte_text(bytes), byte_text(self.bytes_total));
        self.bar.set_position(bytes);
        if let Some(last_line) = &self.plain {
            let mut last_line = last_line.lock().unwrap_or_else(PoisonError::into_inner);
            if last_line.elapsed() >= PLAIN_EVERY {
                *last_line = Instant::now();
                // A closed output is ignored.
                let rate = rate_text(bytes, self.begun.elapsed());
                writeln!(io::stderr().lock(), "  {:<8}  {text}  {rate}", self.name).ok();
            }
        }
        self.bar.set_message(text);
    }
}

/// The rate in bytes a second.
pub(crate) fn rate_text(bytes: u64, time: Duration) -> String {
    let milliseconds = time.as_millis().max(1);
    let rate = u128::from(bytes) * 1_000 / milliseconds;
    format!("{}/s", byte_text(u64::try_from(rate).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_environment_and_then_the_terminal() {
        let has_colours = |pairs: &[(&str, &str)], is_terminal| {
            let environment = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            Style::of(&environment, is_terminal).has_colours
        };
        assert!(has_colours(&[], true));
        assert!(!has_colours(&[], false));
        assert!(!has_colours(&[("NO_COLOR", "1")], true));
        assert!(has_colours(&[("NO_COLOR", "")], true));
        assert!(has_colours(&[("CLICOLOR_FORCE", "1")], false));
        assert!(!has_colours(&[("CLICOLOR_FORCE", "0")], false));
        assert!(!has_colours(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], true));
        assert!(!has_colours(&[("TERM", "dumb")], true));
    }
}
