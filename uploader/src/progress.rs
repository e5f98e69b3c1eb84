//! What a person sees on stderr while a command works: bars on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::report::byte_text;

/// How often a plain line tells how far an upload is.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
/// How often a bar moves by itself, to show that the command is alive.
const TICK: Duration = Duration::from_millis(100);

/// How text is marked on a terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    has_colours: bool,
}

impl Style {
    /// Decides by `NO_COLOR` (no-color.org) and `CLICOLOR_FORCE` (bixense.com/clicolors), then by what the stream is.
    pub(crate) fn of(environment: &std::collections::BTreeMap<String, String>, is_terminal: bool) -> Self {
        let is_set = |name: &str| environment.get(name).is_some_and(|value| !value.is_empty());
        let is_forced = is_set("CLICOLOR_FORCE") && environment.get("CLICOLOR_FORCE").is_some_and(|value| value != "0");
        let is_dumb = environment.get("TERM").is_some_and(|value| value == "dumb");
        Self { has_colours: !is_set("NO_COLOR") && (is_forced || (is_terminal && !is_dumb)) }
    }

    fn marked(self, code: &str, text: &str) -> String {
        if self.has_colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// What went well.
    pub(crate) fn good(self, text: &str) -> String {
        self.marked("1;32", text)
    }

    /// What went wrong.
    pub(crate) fn bad(self, text: &str) -> String {
        self.marked("1;31", text)
    }

    /// What matters less.
    pub(crate) fn dim(self, text: &str) -> String {
        self.marked("2", text)
    }
}

/// Tells what a command does.
#[derive(Debug)]
pub(crate) struct Progress {
    /// How text is marked on stderr.
    pub(crate) style: Style,
    is_quiet: bool,
    has_bars: bool,
    running: Mutex<Option<ProgressBar>>,
}

impl Progress {
    /// Looks at what stderr is.
    pub(crate) fn new(environment: &std::collections::BTreeMap<String, String>, is_quiet: bool) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let style = Style::of(environment, is_terminal);
        Self { style, is_quiet, has_bars: is_terminal && !is_quiet, running: Mutex::new(None) }
    }

    /// Says that a step is done.
    pub(crate) fn step(&self, name: &str, detail: &str) {
        if !self.is_quiet {
            self.line(&format!("  {}  {detail}", self.style.dim(&format!("{name:<8}"))));
        }
    }

    /// Says something that the person should know.
    pub(crate) fn note(&self, text: &str) {
        self.step("note", text);
    }

    /// Writes a line, quiet or not.
    pub(crate) fn line(&self, text: &str) {
        // Nobody is told where nobody listens.
        let write = || writeln!(io::stderr().lock(), "{text}").ok();
        match self.running.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(bar) => bar.suspend(write),
            None => write(),
        };
    }

    /// Shows that the step `name` is under way, with `text`, until the next one begins or the answer is dropped.
    pub(crate) fn working(&self, name: &str, text: &str) -> Working<'_> {
        let bar = ProgressBar::new_spinner();
        bar.set_style(styled("  {prefix:<8}  {spinner} {msg}"));
        bar.set_message(text.to_owned());
        self.show(name, bar);
        Working { progress: self }
    }

    /// Shows how far the sending of `files` with `bytes` is, until the answer is dropped.
    pub(crate) fn sending(&self, name: &'static str, files: u64, bytes: u64) -> Sending<'_> {
        let bar = ProgressBar::new(bytes);
        bar.set_style(styled("  {prefix:<8}  {bar:30} {msg}  {binary_bytes_per_sec}  {eta}"));
        self.show(name, bar.clone());
        let sending = Sending {
            progress: self,
            name,
            bar,
            files_total: files,
            files_done: AtomicU64::new(0),
            bytes_done: AtomicU64::new(0),
            told: Mutex::new(Instant::now()),
        };
        sending.tell();
        sending
    }

    fn show(&self, name: &str, bar: ProgressBar) {
        let target = if self.has_bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        bar.set_draw_target(target);
        bar.set_prefix(name.to_owned());
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

/// A step that is under way.
#[derive(Debug)]
pub(crate) struct Working<'p> {
    progress: &'p Progress,
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.progress.clear();
    }
}

/// An upload that is under way.
#[derive(Debug)]
pub(crate) struct Sending<'p> {
    progress: &'p Progress,
    name: &'static str,
    bar: ProgressBar,
    files_total: u64,
    files_done: AtomicU64,
    bytes_done: AtomicU64,
    told: Mutex<Instant>,
}

impl Sending<'_> {
    /// A file has arrived.
    pub(crate) fn add_file(&self) {
        self.files_done.fetch_add(1, Ordering::Relaxed);
        self.tell();
    }

    /// So many bytes are out by now.
    pub(crate) fn set_bytes(&self, bytes: u64) {
        self.bytes_done.store(bytes, Ordering::Relaxed);
        self.tell();
    }

    fn text(&self) -> String {
        let (files, bytes) = (self.files_done.load(Ordering::Relaxed), self.bytes_done.load(Ordering::Relaxed));
        format!("{files}/{}  {}", self.files_total, byte_text(bytes))
    }

    fn tell(&self) {
        self.bar.set_position(self.bytes_done.load(Ordering::Relaxed));
        self.bar.set_message(self.text());
        if self.progress.has_bars {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() >= PLAIN_EVERY {
            *told = Instant::now();
            self.progress.step(self.name, &self.text());
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.progress.clear();
    }
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
