//! Access log: one line per request, written by a separate thread so that no request waits for a disk, and passed by
//! the thread to live readers.

mod format;
mod readers;
mod recent;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use devanture_config::api::LogLine;
use devanture_config::edge_toml::LogAddresses;
use devanture_config::text::plain_text;
use metrics::counter;
use parking_lot::Mutex;

pub use readers::{LinesBefore, LogEvent, LogReader, LogWanted, NumberedLine, TooManyReaders};
use readers::{Readers, ReadersMax};
use recent::Kept;

/// Lines written at once.
const BATCH_LINES: usize = 512;

/// Format of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineForm {
    /// Combined format of nginx and Apache.
    Combined,
    /// One JSON object per line.
    Json,
}

/// Opens the output of lines; called again after a rotation.
pub type OpenLog = Box<dyn Fn() -> io::Result<Box<dyn Write + Send>> + Send>;

/// Output of lines.
pub struct LogOutput {
    /// Format of a line.
    pub form: LineForm,
    /// Open file.
    pub writer: Box<dyn Write + Send>,
    /// Opens the file again.
    pub open: OpenLog,
}

/// Stored fields of requests, and queue limits.
#[derive(Debug, Clone, Copy)]
pub struct LogSettings {
    /// Stored part of a visitor's address.
    pub addresses: LogAddresses,
    /// True to store queries.
    pub queries: bool,
    /// Maximum lines waiting to be written.
    pub lines_max: usize,
    /// Maximum concurrent readers.
    pub readers_max: usize,
    /// Maximum concurrent readers of one app.
    pub readers_per_app_max: usize,
    /// Maximum lines waiting for one reader.
    pub reader_lines_max: usize,
    /// Maximum bytes of remembered lines per app.
    pub kept_bytes_max: usize,
    /// Maximum apps with remembered lines.
    pub kept_apps_max: usize,
}

/// Access log. Cheap to clone.
#[derive(Clone)]
pub struct AccessLog {
    sender: Option<SyncSender<Message>>,
    shared: Arc<Shared>,
}

enum Message {
    Line(Box<LogLine>),
    /// Line already written by another process.
    Written(Box<LogLine>),
    /// Wakes the writer for work other than lines.
    Look,
    /// Reports that all earlier messages are written.
    Flushed(SyncSender<()>),
}

/// Live reader with the preceding lines.
pub struct BegunReader {
    /// Remembered lines, oldest first.
    pub lines: Vec<NumberedLine>,
    /// Number of the last line before the live lines, of any app.
    pub last_number: u64,
    /// Time since which the lines are complete, if requested lines may be missing.
    pub since_ms: Option<u64>,
    /// Reader of the live lines.
    pub reader: LogReader,
}

struct Shared {
    /// Name of the process for line numbers, which are unique per process.
    run: String,
    /// Process that hands its readers over to this process.
    run_before: OnceLock<String>,
    /// True if lines are written, with or without live readers.
    written: bool,
    settings: LogSettings,
    readers: Readers,
    kept: Mutex<Kept>,
    reopen: AtomicBool,
}

impl AccessLog {
    /// Creates a log without readers and output, for use without visitors.
    #[must_use]
    pub fn unread() -> Self {
        let settings = LogSettings {
            addresses: LogAddresses::None,
            queries: false,
            lines_max: 1,
            readers_max: 0,
            readers_per_app_max: 0,
            reader_lines_max: 1,
            kept_bytes_max: 0,
            kept_apps_max: 0,
        };
        Self::new(settings, None)
    }

    /// Creates a log that writes to `output`, if given. Readers work either way.
    #[must_use]
    pub fn new(settings: LogSettings, output: Option<LogOutput>) -> Self {
        let (sender, receiver) = sync_channel(settings.lines_max);
        let shared = Arc::new(Shared {
            // The standard library seeds hashers at random.
            run: format!("{:x}", RandomState::new().build_hasher().finish()),
            run_before: OnceLock::new(),
            written: output.is_some(),
            settings,
            readers: Readers::new(ReadersMax { all: settings.readers_max, per_app: settings.readers_per_app_max }),
            kept: Mutex::new(Kept::new(settings.kept_bytes_max, settings.kept_apps_max)),
            reopen: AtomicBool::new(false),
        });
        let writer = Writer { shared: Arc::clone(&shared), output: output.map(Output::new) };
        let spawned = thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run(&receiver));
        let sender = match spawned {
            Ok(_detached) => Some(sender),
            Err(error) => {
                tracing::error!(%error, "the access log cannot be written: no thread could be started");
                None
            }
        };
        Self { sender, shared }
    }

    /// Returns true if lines are wanted: otherwise a caller need not build any. Without output the check is one relaxed
    /// load.
    #[must_use]
    #[inline]
    pub fn is_on(&self) -> bool {
        self.shared.written || self.shared.readers.are_there()
    }

    /// Returns the stored part of a client's address.
    #[must_use]
    pub fn address(&self, address: IpAddr) -> Option<IpAddr> {
        shortened(self.shared.settings.addresses, address)
    }

    /// Returns the stored part of a target or a referrer.
    #[must_use]
    pub fn target<'t>(&self, target: &'t str) -> &'t str {
        if self.shared.settings.queries { target } else { target.split(['?', '#']).next().unwrap_or_default() }
    }

    /// Passes a line to the writer without waiting.
    pub fn write(&self, line: Box<LogLine>) {
        let is_lost = self.hand_over(Message::Line(line));
        if is_lost && self.shared.written {
            counter!("devanture_access_log_dropped_total").increment(1);
        }
    }

    /// Passes on a line that the previous edge has written itself: for readers and for the remembered lines. Never
    /// waits.
    pub fn take_written(&self, line: Box<LogLine>) {
        self.hand_over(Message::Written(line));
    }

    /// Returns true if there was no room.
    fn hand_over(&self, message: Message) -> bool {
        let Some(sender) = &self.sender else { return false };
        let (Err(TrySendError::Full(message)) | Err(TrySendError::Disconnected(message))) = sender.try_send(message)
        else {
            return false;
        };
        if let Message::Line(line) | Message::Written(line) = message {
            self.shared.readers.lose(&line);
        }
        true
    }

    /// Reads live lines, after remembered lines.
    ///
    /// # Errors
    /// Fails if the maximum number of readers is reached.
    pub fn read(&self, wanted: LogWanted, before: LinesBefore<u64>) -> Result<BegunReader, TooManyReaders> {
        // Under one lock, so that no line is sent twice or omitted.
        let kept = self.shared.kept.lock();
        let (lines, since_ms) = match before {
            LinesBefore::Last(last) => {
                let lines = kept.last(&wanted, last);
                // Older lines made room, so fewer lines than requested are left.
                let since_ms = if lines.len() < last { kept.held_since(&wanted.app) } else { None };
                (lines, since_ms)
            }
            LinesBefore::After(number) if self.shared.written => {
                (kept.after(&wanted, number), kept.is_cut_after(&wanted.app, number))
            }
            // No lines are remembered.
            LinesBefore::After(_) => (Vec::new(), Some(crate::clock::now_ms())),
        };
        let last_number = kept.last_number();
        let reader = self.shared.readers.add(wanted, self.shared.settings.reader_lines_max, true)?;
        Ok(BegunReader { lines, last_number, since_ms, reader })
    }

    /// Returns the name of the process for line numbers, which are unique per process.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.shared.run
    }

    /// Returns the name of the process that hands its readers over to this process, if any.
    #[must_use]
    pub fn run_before(&self) -> Option<&str> {
        self.shared.run_before.get().map(String::as_str)
    }

    /// Sets the process that hands its readers over to this process, before any reader arrives.
    pub fn follow_run(&self, run: String) {
        self.shared.run_before.set(run).ok();
    }

    /// Reads live lines like [`AccessLog::read`] for the edge itself, outside of the limits.
    ///
    /// # Errors
    /// Fails if the edge is about to end.
    pub fn read_along(&self, wanted: LogWanted) -> Result<LogReader, TooManyReaders> {
        self.shared.readers.add(wanted, self.shared.settings.reader_lines_max, false)
    }

    /// Returns the last remembered lines, at most `last`.
    #[must_use]
    pub fn remembered(&self, wanted: &LogWanted, last: usize) -> Vec<NumberedLine> {
        self.shared.kept.lock().last(wanted, last)
    }

    /// Returns the time of the oldest remembered request of an app, if older lines made room.
    #[must_use]
    pub fn held_since(&self, app: &str) -> Option<u64> {
        self.shared.kept.lock().held_since(app)
    }

    /// Forgets the remembered lines of an app, or of one environment, and ends the live readers: the next app with the
    /// name has a different owner.
    pub fn forget(&self, app: &str, environment: Option<&str>) {
        let mut kept = self.shared.kept.lock();
        kept.forget(app, environment, crate::clock::now_ms());
        self.shared.readers.end_of(app, environment);
    }

    /// Reopens the file after a rotation.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        if let Some(sender) = &self.sender {
            // If the queue is full, lines wait, and processing the next line reopens the file as well.
            sender.try_send(Message::Look).ok();
        }
    }

    /// Ends all readers like [`AccessLog::end_readers`], and returns a reader of all lines from then on until the next
    /// call, without lines already sent to the ended readers.
    #[must_use]
    pub fn end_readers_for_one(&self) -> LogReader {
        // A line goes either to the ended readers or to the new reader.
        let _kept = self.shared.kept.lock();
        self.shared.readers.end_for_one(self.shared.settings.lines_max)
    }

    /// Ends every reader, and rejects new readers.
    pub fn end_readers(&self) {
        self.shared.readers.end();
    }

    /// Waits until all queued lines are written, at most for `time_max`.
    pub fn flush(&self, time_max: Duration) {
        let Some(sender) = &self.sender else { return };
        let (done, is_done) = sync_channel(1);
        if sender.try_send(Message::Flushed(done)).is_ok() {
            is_done.recv_timeout(time_max).ok();
        }
    }
}

/// Writer thread.
struct Writer {
    shared: Arc<Shared>,
    output: Option<Output>,
}

impl Writer {
    /// Ends after the last sender is dropped.
    fn run(mut self, messages: &Receiver<Message>) {
        let mut flushed = Vec::new();
        while let Ok(first) = messages.recv() {
            if self.shared.reopen.swap(false, Ordering::AcqRel)
                && let Some(output) = &mut self.output
            {
                output.reopen();
            }
            // Waiting lines are written together: one system call for a burst.
            for message in std::iter::once(first).chain(messages.try_iter()).take(BATCH_LINES) {
                match message {
                    Message::Line(line) => {
                        let line = Arc::new(*line);
                        if let Some(output) = &mut self.output {
                            output.add(&line);
                        }
                        self.take(line);
                    }
                    Message::Written(line) => self.take(Arc::new(*line)),
                    Message::Look => {}
                    Message::Flushed(done) => flushed.push(done),
                }
            }
            if let Some(output) = &mut self.output {
                output.write();
            }
            for done in flushed.drain(..) {
                done.try_send(()).ok();
            }
        }
    }

    fn take(&self, line: Arc<LogLine>) {
        // Readers are added under the same lock: a line is either remembered for a new reader or sent to the reader.
        let mut kept = self.shared.kept.lock();
        if kept.is_forgotten(&line) {
            return;
        }
        let line = kept.number(line);
        self.shared.readers.send(&line);
        if self.shared.written {
            kept.keep(line);
        }
    }
}

/// Output of lines.
struct Output {
    form: LineForm,
    writer: Box<dyn Write + Send>,
    open: OpenLog,
    lines: Vec<u8>,
    count: u64,
    /// True if the end of the file may be half a line.
    torn: bool,
    /// True if the loss of lines was logged.
    failing: bool,
}

impl Output {
    fn new(output: LogOutput) -> Self {
        let LogOutput { form, writer, open } = output;
        Self { form, writer, open, lines: Vec::with_capacity(64 * 1024), count: 0, torn: false, failing: false }
    }

    fn add(&mut self, line: &LogLine) {
        if self.torn && self.lines.is_empty() {
            self.lines.push(b'\n');
        }
        match self.form {
            LineForm::Combined => self.lines.extend_from_slice(format::combined(line).as_bytes()),
            LineForm::Json => {
                // Logs are also read in terminals, and most of a line was sent by a visitor.
                let json = serde_json::to_string(line).unwrap_or_default();
                self.lines.extend_from_slice(plain_text::json(&json).as_bytes());
            }
        }
        self.lines.push(b'\n');
        self.count += 1;
    }

    fn write(&mut self) {
        if self.count == 0 {
            return;
        }
        let written = self.writer.write_all(&self.lines).and_then(|()| self.writer.flush());
        match written {
            Ok(()) => {
                if self.failing {
                    tracing::info!("lines of the access log are written again");
                }
                (self.torn, self.failing) = (false, false);
            }
            Err(error) => {
                counter!("devanture_access_log_dropped_total").increment(self.count);
                // Logged once: otherwise a full disk would be logged with every request.
                if !self.failing {
                    tracing::error!(%error, "lines of the access log are lost; requests are served all the same");
                }
                (self.torn, self.failing) = (true, true);
            }
        }
        self.lines.clear();
        self.lines.shrink_to(1024 * 1024);
        self.count = 0;
    }

    fn reopen(&mut self) {
        match (self.open)() {
            Ok(writer) => (self.writer, self.torn) = (writer, false),
            Err(error) => {
                tracing::error!(%error, "the access log cannot be reopened; lines still go to the earlier file");
            }
        }
    }
}

/// Returns the network of an address: identifies the region of a visitor, not the person.
fn shortened(addresses: LogAddresses, address: IpAddr) -> Option<IpAddr> {
    match (addresses, address.to_canonical()) {
        (LogAddresses::Full, _) => Some(address),
        (LogAddresses::None, _) => None,
        (LogAddresses::Short, IpAddr::V4(v4)) => Some(Ipv4Addr::from_bits(v4.to_bits() & !u32::from(u8::MAX)).into()),
        (LogAddresses::Short, IpAddr::V6(v6)) => Some(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 80)).into()),
    }
}

#[cfg(test)]
mod tests;
