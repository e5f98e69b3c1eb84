//! Output of instances: the last lines of each environment in memory, all lines in rotated files, and live readers.
//! Everything is bounded, and no slow reader or disk stops an instance.

mod files;
mod line;
mod splitter;

pub use line::{Line, LineId, LineStream, PlacedLine};
pub use splitter::Splitter;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use devanture_config::limits::Limits;
use devanture_config::text::counted;
use devanture_config::{AppName, PlaceName};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::files::{Files, Tail};
use devanture_base::fair::may_take_another;
use devanture_base::telemetry::LinesBefore;

/// Bytes of remembered lines per environment; the files hold more.
const KEPT_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a line besides the text.
const LINE_BYTES: usize = 96;
/// Maximum lines waiting for the disk.
const WRITING_LINES_MAX: usize = 1_024;
/// Lines written at once.
const BATCH_LINES_MAX: usize = 512;
/// Longest wait of an instance for the disk before the line is dropped.
const DISK_WAIT_MAX: Duration = Duration::from_secs(1);
/// Longest wait of the shutdown for the lines of all environments to be written.
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(5);

/// The maximum number of readers is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooManyReaders {
    /// The edge is about to end.
    Ending,
    /// Maximum for the app.
    OfApp(usize),
    /// Readers of this environment; the app's remaining places are for other environments.
    OfEnvironment(usize),
}

/// Logs of all environments. Cheap to clone.
#[derive(Clone)]
pub struct Logs(Arc<All>);

struct All {
    folder: PathBuf,
    bytes_max: u64,
    files_max: u64,
    line_bytes_max: usize,
    readers_max: usize,
    reader_lines_max: usize,
    /// Cancels all readers.
    readers_ended: CancellationToken,
    runtime: Handle,
    places: tokio::sync::Mutex<HashMap<(AppName, String), Arc<PlaceLog>>>,
}

impl Logs {
    /// Creates logs in files below `folder`, written on the current runtime.
    pub fn new(folder: PathBuf, limits: &Limits) -> Self {
        Self(Arc::new(All {
            folder,
            bytes_max: limits.instance_log_bytes_max,
            files_max: limits.instance_log_files_max,
            line_bytes_max: usize::try_from(limits.instance_log_line_bytes_max).unwrap_or(usize::MAX),
            readers_max: usize::try_from(limits.log_readers_per_app_max).unwrap_or(usize::MAX),
            reader_lines_max: usize::try_from(limits.log_reader_lines_max).unwrap_or(usize::MAX),
            readers_ended: CancellationToken::new(),
            runtime: Handle::current(),
            places: tokio::sync::Mutex::default(),
        }))
    }

    /// Returns at most the `last` lines of an environment, oldest first, limited to `instance` or to all instances of a
    /// process, if given. A look-up stores no state for unknown names.
    pub async fn last(&self, app: &AppName, place: &str, instance: Option<&str>, last: usize) -> LastLines {
        let known = self.0.places.lock().await.get(&(app.clone(), place.to_owned())).map(Arc::clone);
        match known {
            Some(log) => log.last(instance, last),
            None => {
                let mut kept = SupervisedSpawner::default();
                kept.begin(self.left(app, place).await);
                kept.last(instance, last)
            }
        }
    }

    /// Returns the last lines, followed by live lines.
    ///
    /// # Errors
    /// [`TooManyReaders`] when the edge ends, beyond `log_readers_per_app_max` for the app, or beyond the environment's
    /// share of the maximum.
    pub async fn follow(
        &self,
        app: &AppName,
        place: &str,
        instance: Option<&str>,
        before: LinesBefore<LineId>,
    ) -> Result<(LastLines, LogReader), TooManyReaders> {
        if self.0.readers_ended.is_cancelled() {
            return Err(TooManyReaders::Ending);
        }
        let log = self.of(app, place).await;
        let places = self.0.places.lock().await;
        let of_app = places.iter().filter(|((other, _), _)| other == app);
        let readers: usize = of_app.map(|(_, log)| log.live.receiver_count()).sum();
        let (own, free) = (log.live.receiver_count(), self.0.readers_max.saturating_sub(readers));
        if free == 0 {
            return Err(TooManyReaders::OfApp(self.0.readers_max));
        }
        if !may_take_another(own, free) {
            return Err(TooManyReaders::OfEnvironment(own));
        }
        let kept = log.kept.lock();
        let reader = LogReader {
            lines: log.live.subscribe(),
            instance: instance.map(str::to_owned),
            ended: self.0.readers_ended.clone(),
        };
        let lines = match before {
            LinesBefore::Last(last) => kept.last(instance, last),
            LinesBefore::After(id) => kept.after(instance, id),
        };
        Ok((lines, reader))
    }

    /// Returns the log of an environment, including the lines of an earlier run. The log is kept while in use by a
    /// writer or reader; unused logs are dropped on the way.
    pub async fn of(&self, app: &AppName, place: &str) -> Arc<PlaceLog> {
        let key = (app.clone(), place.to_owned());
        if let Some(log) = self.0.places.lock().await.get(&key) {
            return Arc::clone(log);
        }
        // Outside of the lock: a slow disk delays only this environment.
        let left = self.left(app, place).await;
        let mut places = self.0.places.lock().await;
        places.retain(|_, log| log.is_needed());
        if let Some(log) = places.get(&key) {
            return Arc::clone(log);
        }
        let (to_file, lines) = mpsc::channel(WRITING_LINES_MAX);
        let log = Arc::new(PlaceLog::new(to_file, self.0.line_bytes_max, self.0.reader_lines_max));
        log.kept.lock().begin(left);
        let files = Files::new(self.folder(app, place), self.0.bytes_max, self.0.files_max);
        self.0.runtime.spawn(write_on(lines, files, Arc::clone(&log.writing)));
        places.insert(key, Arc::clone(&log));
        log
    }

    fn folder(&self, app: &AppName, place: &str) -> PathBuf {
        self.0.folder.join(app.as_str()).join(place)
    }

    /// Returns the last lines of an environment in files.
    async fn left(&self, app: &AppName, place: &str) -> Tail {
        let from = self.folder(app, place);
        tokio::task::spawn_blocking(move || files::tail(&from, KEPT_BYTES_MAX)).await.unwrap_or_default()
    }

    /// Forgets the output and the files of an app, and ends live readers.
    pub async fn forget(&self, app: &AppName, environment: Option<&PlaceName>) {
        let mut places = self.0.places.lock().await;
        places.retain(|(other, place), _| {
            other != app || environment.is_some_and(|environment| place.as_str() != environment.as_str())
        });
        let folder = self.0.folder.join(app.as_str());
        let folder = environment.map_or_else(|| folder.clone(), |environment| folder.join(environment.as_str()));
        tokio::task::spawn_blocking(move || files::remove(&folder)).await.ok();
    }

    /// Ends live readers after they received all pending lines.
    pub fn end_readers(&self) {
        self.0.readers_ended.cancel();
    }

    /// Waits until pending lines are written.
    pub async fn flush(&self) {
        let places = self.0.places.lock().await.values().cloned().collect();
        flush(places).await;
    }

    /// Ends all readers, and waits until pending lines are written.
    pub async fn end(&self) {
        let places = self.0.places.lock().await.drain().map(|(_, log)| log).collect();
        flush(places).await;
    }
}

async fn flush(places: Vec<Arc<PlaceLog>>) {
    let all = async {
        for log in places {
            log.flush().await;
        }
    };
    // A stuck disk delays the end only once for all logs.
    tokio::time::timeout(FLUSH_WAIT_MAX, all).await.ok();
}

async fn write_on(mut lines: mpsc::Receiver<Job>, mut files: Files, writing: Arc<AtomicUsize>) {
    let mut batch = Vec::new();
    while lines.recv_many(&mut batch, BATCH_LINES_MAX).await > 0 {
        let mut done = Vec::new();
        let mut bytes = Vec::new();
        for job in batch.drain(..) {
            match job {
                Job::Line(line) => bytes.push(line),
                Job::Flush(flushed) => done.push(flushed),
            }
        }
        let count = bytes.len();
        let written = tokio::task::spawn_blocking(move || {
            files.write(&bytes);
            files
        });
        let Ok(back) = written.await else { return };
        files = back;
        writing.fetch_sub(count, Ordering::Relaxed);
        for flushed in done {
            flushed.send(()).ok();
        }
    }
}

enum Job {
    Line(Arc<Line>),
    Flush(tokio::sync::oneshot::Sender<()>),
}

/// Log of one environment.
pub struct PlaceLog {
    kept: Mutex<SupervisedSpawner>,
    live: broadcast::Sender<PlacedLine>,
    to_file: mpsc::Sender<Job>,
    /// Lost lines, for which the disk was too slow, not yet reported.
    lost: AtomicU64,
    /// Lines on the way to the disk.
    writing: Arc<AtomicUsize>,
    /// Maximum bytes of a line; the rest of a longer line becomes the next line.
    pub line_bytes_max: usize,
}

/// Last lines of an environment, and missing requested lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastLines {
    /// Lines, oldest first.
    pub lines: Vec<PlacedLine>,
    /// Position of the last line before live lines, of any instance.
    pub last_id: Option<LineId>,
    /// Dropped lines, if fewer lines are held than requested.
    pub gone: Option<Gone>,
}

/// Older lines that were dropped for newer lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone {
    /// Number of requested lines dropped since the edge started or opened the log.
    pub lines: u64,
    /// Time of the oldest held line in milliseconds since 1970 UTC.
    pub since_ms: u64,
}

#[derive(Default)]
struct SupervisedSpawner {
    lines: VecDeque<PlacedLine>,
    bytes: usize,
    /// Number of dropped lines by instance: bounded, since an environment has a bounded number of names.
    dropped: BTreeMap<String, u64>,
    /// True if the files contain lines before the lines read.
    is_cut: bool,
}

impl PlaceLog {
    fn new(to_file: mpsc::Sender<Job>, line_bytes_max: usize, reader_lines_max: usize) -> Self {
        let live = broadcast::Sender::new(reader_lines_max.max(1));
        let writing = Arc::default();
        Self { kept: Mutex::default(), live, to_file, lost: AtomicU64::new(0), writing, line_bytes_max }
    }

    /// Returns true while a writer or reader uses the log, or lines are unwritten: two writers of the same files would
    /// disturb each other. Called under the lock of all environments.
    fn is_needed(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1 || self.live.receiver_count() > 0 || self.writing.load(Ordering::Relaxed) > 0
    }

    fn keep(&self, line: Arc<Line>) {
        let mut kept = self.kept.lock();
        let line = kept.push(line);
        // Under the lock: a new reader receives each line once.
        self.live.send(line).ok();
    }

    /// Adds a line. Waits shortly for the disk, so that a fast writer is slowed down; afterwards the line is omitted
    /// from the file.
    pub async fn add(&self, line: Line) {
        self.add_until(line, Instant::now() + DISK_WAIT_MAX).await;
    }

    /// Adds a line and waits for the disk until `until`; no wait if `until` is past.
    pub async fn add_until(&self, line: Line, until: Instant) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let (lines, were) = (counted(lost, "line"), if lost == 1 { "was" } else { "were" });
            let text = format!("{lines} {were} left out of the files: faster than the disk took them");
            let notice = Arc::new(Line { stream: LineStream::Edge, text, ..line.clone() });
            match self.write(Arc::clone(&notice), until).await {
                true => self.keep(notice),
                false => drop(self.lost.fetch_add(lost, Ordering::Relaxed)),
            }
        }
        let line = Arc::new(line);
        self.keep(Arc::clone(&line));
        if !self.write(line, until).await {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Passes a line to the file writer; returns true if there was room in time.
    async fn write(&self, line: Arc<Line>, until: Instant) -> bool {
        let Ok(Ok(room)) = tokio::time::timeout_at(until, self.to_file.reserve()).await else { return false };
        self.writing.fetch_add(1, Ordering::Relaxed);
        room.send(Job::Line(line));
        true
    }

    fn last(&self, instance: Option<&str>, last: usize) -> LastLines {
        self.kept.lock().last(instance, last)
    }

    async fn flush(&self) {
        let (flushed, done) = tokio::sync::oneshot::channel();
        if tokio::time::timeout(DISK_WAIT_MAX, self.to_file.send(Job::Flush(flushed))).await.is_ok() {
            tokio::time::timeout(DISK_WAIT_MAX, done).await.ok();
        }
    }
}

impl SupervisedSpawner {
    fn push(&mut self, line: Arc<Line>) -> PlacedLine {
        self.bytes += line.text.len() + LINE_BYTES;
        let follows = self.lines.back().filter(|before| before.id.at_ms == line.at_ms);
        let ordinal = follows.map_or(0, |before| before.id.ordinal.saturating_add(1));
        let placed = PlacedLine { id: LineId { at_ms: line.at_ms, ordinal }, line };
        self.lines.push_back(placed.clone());
        while self.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.text.len() + LINE_BYTES);
            match self.dropped.get_mut(&oldest.instance) {
                Some(dropped) => *dropped += 1,
                None => drop(self.dropped.insert(oldest.instance.clone(), 1)),
            }
        }
        placed
    }

    /// Begins with the lines of an earlier run in files.
    fn begin(&mut self, left: Tail) {
        self.is_cut = left.is_cut;
        left.lines.into_iter().for_each(|line| drop(self.push(Arc::new(line))));
    }

    fn last(&self, instance: Option<&str>, last: usize) -> LastLines {
        let wanted = self.lines.iter().rev().filter(|line| is_of(line, instance));
        let mut found: Vec<_> = wanted.take(last).cloned().collect();
        found.reverse();
        let gone = if found.len() < last { self.gone(instance) } else { None };
        LastLines { lines: found, last_id: self.last_id(), gone }
    }

    fn last_id(&self) -> Option<LineId> {
        self.lines.back().map(|line| line.id)
    }

    /// Returns the lines after a position; if the position is gone, the later lines.
    fn after(&self, instance: Option<&str>, id: LineId) -> LastLines {
        let found = self.lines.iter().rposition(|line| line.id == id);
        let first = found.map_or_else(|| self.lines.iter().position(|line| line.id > id), |at| Some(at + 1));
        let lines = self.lines.iter().skip(first.unwrap_or(self.lines.len()));
        let lines = lines.filter(|line| is_of(line, instance)).cloned().collect();
        let gone = if found.is_none() && first == Some(0) { self.gone(instance) } else { None };
        LastLines { lines, last_id: self.last_id(), gone }
    }

    fn gone(&self, instance: Option<&str>) -> Option<Gone> {
        let dropped = self.dropped.iter().filter(|(name, _)| is_name_of(name, instance));
        let lines = dropped.fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        let since_ms = self.lines.front().map(|line| line.at_ms)?;
        (lines > 0 || self.is_cut).then_some(Gone { lines, since_ms })
    }
}

/// Returns true if a line belongs to `instance`, such as `web.2`, or to the process `web`.
fn is_of(line: &Line, instance: Option<&str>) -> bool {
    is_name_of(&line.instance, instance)
}

fn is_name_of(name: &str, instance: Option<&str>) -> bool {
    instance.is_none_or(|wanted| {
        let rest = name.strip_prefix(wanted);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// Item received by a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputEvent {
    /// Log line.
    Line(PlacedLine),
    /// Number of lines lost because the reader was too slow.
    Lost(u64),
}

/// Live lines. Dropping the value removes the reader.
pub struct LogReader {
    lines: broadcast::Receiver<PlacedLine>,
    instance: Option<String>,
    ended: CancellationToken,
}

impl LogReader {
    /// Returns the next item; `None` after the end of the log.
    pub async fn next(&mut self) -> Option<OutputEvent> {
        loop {
            let received = tokio::select! {
                biased;
                received = self.lines.recv() => received,
                () = self.ended.cancelled() => return None,
            };
            return match received {
                Ok(line) if !is_of(&line, self.instance.as_deref()) => continue,
                Ok(line) => Some(OutputEvent::Line(line)),
                Err(RecvError::Lagged(lost)) => Some(OutputEvent::Lost(lost)),
                Err(RecvError::Closed) => None,
            };
        }
    }
}

#[cfg(test)]
mod tests;
