//! Live readers of the access log, each with a queue and the number of lines lost by slow reading.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::fair::may_take_another;
use arc_swap::ArcSwap;
use devanture_config::api::{LogFilter, LogLine};
use tokio::sync::mpsc::{self, Receiver, Sender};

/// Filter of a reader: app, environment and lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogWanted {
    /// App name.
    pub app: String,
    /// Environment or alias.
    pub environment: String,
    /// Filter of lines.
    pub filter: LogFilter,
}

impl LogWanted {
    pub(super) fn takes(&self, line: &LogLine) -> bool {
        line.app.as_deref() == Some(self.app.as_str())
            && line.environment.as_deref() == Some(self.environment.as_str())
            && self.filter.takes(line)
    }
}

/// Line with a number unique in the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedLine {
    /// Number, starting from 1.
    pub number: u64,
    /// Log line.
    pub line: Arc<LogLine>,
}

impl std::ops::Deref for NumberedLine {
    type Target = LogLine;

    fn deref(&self) -> &LogLine {
        &self.line
    }
}

/// Remembered lines sent before live lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinesBefore<P> {
    /// Last lines, at most this number.
    Last(usize),
    /// All remembered lines after this line.
    After(P),
}

/// The maximum number of readers is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooManyReaders {
    /// The edge is about to end.
    Ending,
    /// Maximum for all apps.
    InAll(usize),
    /// Maximum for the app.
    OfApp(usize),
    /// Readers of this environment; the app's remaining places are for other environments.
    OfEnvironment(usize),
}

/// Maximum concurrent readers.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadersMax {
    pub(super) all: usize,
    pub(super) per_app: usize,
}

struct Known {
    /// Filter; `None` for all lines.
    wanted: Option<LogWanted>,
    /// True if the reader counts for the limits.
    counted: bool,
    /// Number of lost lines not yet reported.
    lost: AtomicU64,
}

impl Known {
    fn takes(&self, line: &LogLine) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted.takes(line))
    }

    /// Returns true for a reader of the app, or of the environment if given.
    fn is_of(&self, app: &str, environment: Option<&str>) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| {
            wanted.app == app && environment.is_none_or(|environment| wanted.environment == environment)
        })
    }
}

#[derive(Clone)]
struct Entry {
    known: Arc<Known>,
    sender: Sender<NumberedLine>,
}

struct List {
    entries: ArcSwap<Vec<Entry>>,
    /// Number of readers, read by serving threads.
    count: AtomicUsize,
    ended: AtomicBool,
    /// True if another process sends the lines after the end.
    handed_over: AtomicBool,
}

/// All readers.
pub(super) struct Readers {
    list: Arc<List>,
    max: ReadersMax,
    /// Held while a reader is added: the limits are checked and applied in one step.
    adding: parking_lot::Mutex<()>,
}

impl Readers {
    pub(super) fn new(max: ReadersMax) -> Self {
        let list = List {
            entries: ArcSwap::default(),
            count: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            handed_over: AtomicBool::new(false),
        };
        Self { list: Arc::new(list), max, adding: parking_lot::Mutex::default() }
    }

    pub(super) fn are_there(&self) -> bool {
        self.list.count.load(Ordering::Relaxed) > 0
    }

    pub(super) fn add(&self, wanted: LogWanted, lines_max: usize, counted: bool) -> Result<LogReader, TooManyReaders> {
        let _one_at_a_time = self.adding.lock();
        if self.list.ended.load(Ordering::Acquire) {
            return Err(TooManyReaders::Ending);
        }
        if counted {
            let entries = self.list.entries.load();
            let others = entries.iter().filter(|entry| entry.known.counted);
            if others.clone().count() >= self.max.all {
                return Err(TooManyReaders::InAll(self.max.all));
            }
            let of_app = others.filter(|entry| entry.known.is_of(&wanted.app, None));
            let free = self.max.per_app.saturating_sub(of_app.clone().count());
            if free == 0 {
                return Err(TooManyReaders::OfApp(self.max.per_app));
            }
            let own = of_app.filter(|entry| entry.known.is_of(&wanted.app, Some(&wanted.environment))).count();
            if !may_take_another(own, free) {
                return Err(TooManyReaders::OfEnvironment(own));
            }
        }
        let (entry, reader) = self.reader(Some(wanted), lines_max, counted);
        self.list.change(|entries| entries.push(entry.clone()));
        Ok(reader)
    }

    /// Creates a reader outside of the list.
    fn reader(&self, wanted: Option<LogWanted>, lines_max: usize, counted: bool) -> (Entry, LogReader) {
        let known = Arc::new(Known { wanted, counted, lost: AtomicU64::new(0) });
        let (sender, receiver) = mpsc::channel(lines_max.max(1));
        let entry = Entry { known: Arc::clone(&known), sender };
        self.list.count.fetch_add(1, Ordering::Relaxed);
        (entry, LogReader { receiver, known, list: Arc::clone(&self.list) })
    }

    /// Replaces all readers by one reader of all lines; see [`Readers::end`].
    pub(super) fn end_for_one(&self, lines_max: usize) -> LogReader {
        let _one_at_a_time = self.adding.lock();
        self.list.ended.store(true, Ordering::Release);
        self.list.handed_over.store(true, Ordering::Release);
        let (entry, reader) = self.reader(None, lines_max, false);
        self.list.change(|entries| *entries = vec![entry.clone()]);
        reader
    }

    /// Sends a line to the matching readers; never waits.
    pub(super) fn send(&self, line: &NumberedLine) {
        for entry in self.list.entries.load().iter().filter(|entry| entry.known.takes(line)) {
            if entry.sender.try_send(line.clone()).is_err() {
                entry.known.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Counts a lost line for the matching readers.
    pub(super) fn lose(&self, line: &LogLine) {
        for entry in self.list.entries.load().iter().filter(|entry| entry.known.takes(line)) {
            entry.known.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends the readers of an app, or of one environment.
    pub(super) fn end_of(&self, app: &str, environment: Option<&str>) {
        self.list.change(|entries| entries.retain(|entry| !entry.known.is_of(app, environment)));
    }

    pub(super) fn end(&self) {
        let _one_at_a_time = self.adding.lock();
        self.list.ended.store(true, Ordering::Release);
        self.list.change(Vec::clear);
    }
}

impl List {
    fn change(&self, change: impl Fn(&mut Vec<Entry>)) {
        self.entries.rcu(|entries| {
            let mut entries = Vec::clone(entries);
            change(&mut entries);
            entries
        });
    }
}

/// Item received by a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent {
    /// Log line.
    Line(NumberedLine),
    /// Number of lines lost because the reader was too slow.
    Lost(u64),
}

/// Live lines. Dropping the value removes the reader.
pub struct LogReader {
    receiver: Receiver<NumberedLine>,
    known: Arc<Known>,
    list: Arc<List>,
}

impl LogReader {
    /// Returns the next item; `None` when the edge ends.
    pub async fn next(&mut self) -> Option<LogEvent> {
        if let Some(lost) = self.lost() {
            return Some(lost);
        }
        match self.receiver.recv().await {
            Some(line) => Some(LogEvent::Line(line)),
            // The last lines may have been lost while waiting.
            None => self.lost(),
        }
    }

    fn lost(&self) -> Option<LogEvent> {
        Some(self.known.lost.swap(0, Ordering::Relaxed)).filter(|lost| *lost > 0).map(LogEvent::Lost)
    }

    /// Returns true for an ended reader that received every line up to the handover to another process.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.list.handed_over.load(Ordering::Acquire)
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.list.change(|entries| entries.retain(|entry| !Arc::ptr_eq(&entry.known, &self.known)));
        self.list.count.fetch_sub(1, Ordering::Relaxed);
    }
}
