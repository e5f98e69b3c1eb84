//! The access log: one line a request, written by a thread of its own so that no request waits for a disk, and handed
//! by that thread to live readers.

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

/// Lines that are written at once.
const BATCH_LINES: usize = 512;

/// In which form lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineForm {
    /// The combined format of nginx and Apache.
    Combined,
    /// One JSON object a line.
    Json,
}

/// Opens what lines are written to; called again when a file was rotated.
pub type OpenLog = Box<dyn Fn() -> io::Result<Box<dyn Write + Send>> + Send>;

/// Where lines are written, and how.
pub struct LogOutput {
    /// The form of a line.
    pub form: LineForm,
    /// The open file.
    pub writer: Box<dyn Write + Send>,
    /// Opens it again.
    pub open: OpenLog,
}

/// The stored fields of requests, and the bounds of the queues.
#[derive(Debug, Clone, Copy)]
pub struct LogSettings {
    /// The stored part of a visitor's address.
    pub addresses: LogAddresses,
    /// Whether queries are kept.
    pub queries: bool,
    /// Lines that may wait to be written.
    pub lines_max: usize,
    /// Readers at once.
    pub readers_max: usize,
    /// Readers of one app at once.
    pub readers_per_app_max: usize,
    /// Lines that may wait for one reader.
    pub reader_lines_max: usize,
    /// Bytes of the last lines of one app that are remembered.
    pub kept_bytes_max: usize,
    /// Apps whose last lines are remembered.
    pub kept_apps_max: usize,
}

/// Where lines of the access log go. Cheap to clone.
#[derive(Clone)]
pub struct AccessLog {
    sender: Option<SyncSender<Message>>,
    shared: Arc<Shared>,
}

enum Message {
    Line(Box<LogLine>),
    /// A line that another process has written.
    Written(Box<LogLine>),
    /// There is something to do beside writing.
    Look,
    /// Tells when all that came before is written.
    Flushed(SyncSender<()>),
}

/// A live reader, with what comes before its lines.
pub struct BegunReader {
    /// Remembered lines, oldest first.
    pub lines: Vec<NumberedLine>,
    /// The number of the last line before those that come, of any app.
    pub last_number: u64,
    /// The time since which all lines are there, where ones may be missing that were asked for.
    pub since_ms: Option<u64>,
    /// The lines that come.
    pub reader: LogReader,
}

struct Shared {
    /// Names this process among those whose lines have the same numbers.
    run: String,
    /// The process that hands its readers over to this one.
    run_before: OnceLock<String>,
    /// Whether lines are written, with or without live readers.
    written: bool,
    settings: LogSettings,
    readers: Readers,
    kept: Mutex<Kept>,
    reopen: AtomicBool,
}

impl AccessLog {
    /// One that nobody reads, and that writes nothing: for what runs without visitors.
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

    /// Writes to `output`, where there is one. Readers can read along either way.
    #[must_use]
    pub fn new(settings: LogSettings, output: Option<LogOutput>) -> Self {
        let (sender, receiver) = sync_channel(settings.lines_max);
        let shared = Arc::new(Shared {
            // The standard library seeds its hashers at random.
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

    /// Whether lines are wanted: a caller need not make one otherwise. Where nothing is written, this is one relaxed
    /// load.
    #[must_use]
    #[inline]
    pub fn is_on(&self) -> bool {
        self.shared.written || self.shared.readers.are_there()
    }

    /// As much of a client's address as is kept.
    #[must_use]
    pub fn address(&self, address: IpAddr) -> Option<IpAddr> {
        shortened(self.shared.settings.addresses, address)
    }

    /// As much of an address as is kept: a target or a referrer.
    #[must_use]
    pub fn target<'t>(&self, target: &'t str) -> &'t str {
        if self.shared.settings.queries { target } else { target.split(['?', '#']).next().unwrap_or_default() }
    }

    /// Hands a line over; never waits.
    pub fn write(&self, line: Box<LogLine>) {
        let is_lost = self.hand_over(Message::Line(line));
        if is_lost && self.shared.written {
            counter!("devanture_access_log_dropped_total").increment(1);
        }
    }

    /// Hands over a line of the edge that this one took over from, which wrote it itself: for readers, and to be
    /// remembered. Never waits.
    pub fn take_written(&self, line: Box<LogLine>) {
        self.hand_over(Message::Written(line));
    }

    /// Returns whether there was no room.
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

    /// Reads along from now on, after lines that are remembered.
    ///
    /// # Errors
    /// Where there are as many readers as may be.
    pub fn read(&self, wanted: LogWanted, before: LinesBefore<u64>) -> Result<BegunReader, TooManyReaders> {
        // Under one lock, so that no line is sent twice and none is left out.
        let kept = self.shared.kept.lock();
        let (lines, since_ms) = match before {
            LinesBefore::Last(last) => {
                let lines = kept.last(&wanted, last);
                // Fewer lines than there would be, had older ones not made room.
                let since_ms = if lines.len() < last { kept.held_since(&wanted.app) } else { None };
                (lines, since_ms)
            }
            LinesBefore::After(number) if self.shared.written => {
                (kept.after(&wanted, number), kept.is_cut_after(&wanted.app, number))
            }
            // None is remembered.
            LinesBefore::After(_) => (Vec::new(), Some(crate::clock::now_ms())),
        };
        let last_number = kept.last_number();
        let reader = self.shared.readers.add(wanted, self.shared.settings.reader_lines_max, true)?;
        Ok(BegunReader { lines, last_number, since_ms, reader })
    }

    /// The name of this process among those whose lines have the same numbers.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.shared.run
    }

    /// The name of the process that hands its readers over to this one, if there is one.
    #[must_use]
    pub fn run_before(&self) -> Option<&str> {
        self.shared.run_before.get().map(String::as_str)
    }

    /// Says which process hands its readers over to this one, before any of them can come.
    pub fn follow_run(&self, run: String) {
        self.shared.run_before.set(run).ok();
    }

    /// As [`AccessLog::read`], for the edge itself: it counts for no limit.
    ///
    /// # Errors
    /// Where the edge is about to end.
    pub fn read_along(&self, wanted: LogWanted) -> Result<LogReader, TooManyReaders> {
        self.shared.readers.add(wanted, self.shared.settings.reader_lines_max, false)
    }

    /// The last lines that are remembered, at most `last`.
    #[must_use]
    pub fn remembered(&self, wanted: &LogWanted, last: usize) -> Vec<NumberedLine> {
        self.shared.kept.lock().last(wanted, last)
    }

    /// When the oldest request of an app came that is remembered, where older ones made room.
    #[must_use]
    pub fn held_since(&self, app: &str) -> Option<u64> {
        self.shared.kept.lock().held_since(app)
    }

    /// Forgets what is remembered of an app, or of one environment of it, and ends its live readers: the next one
    /// of that name is somebody else's.
    pub fn forget(&self, app: &str, environment: Option<&str>) {
        let mut kept = self.shared.kept.lock();
        kept.forget(app, environment, crate::clock::now_ms());
        self.shared.readers.end_of(app, environment);
    }

    /// Opens the file again: somebody has moved it away.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        if let Some(sender) = &self.sender {
            // Where there is no room for the word, lines wait, and the next one that is taken is as good.
            sender.try_send(Message::Look).ok();
        }
    }

    /// As [`AccessLog::end_readers`], and gives all lines that come from then on until it is called again: those that
    /// the readers had are not among them.
    #[must_use]
    pub fn end_readers_for_one(&self) -> LogReader {
        // A line goes either to them or to this one.
        let _kept = self.shared.kept.lock();
        self.shared.readers.end_for_one(self.shared.settings.lines_max)
    }

    /// Ends every reader, and takes no further one.
    pub fn end_readers(&self) {
        self.shared.readers.end();
    }

    /// Waits until what was handed over is written, at most for `time_max`.
    pub fn flush(&self, time_max: Duration) {
        let Some(sender) = &self.sender else { return };
        let (done, is_done) = sync_channel(1);
        if sender.try_send(Message::Flushed(done)).is_ok() {
            is_done.recv_timeout(time_max).ok();
        }
    }
}

/// The thread that writes.
struct Writer {
    shared: Arc<Shared>,
    output: Option<Output>,
}

impl Writer {
    /// Ends when the last sender is gone.
    fn run(mut self, messages: &Receiver<Message>) {
        let mut flushed = Vec::new();
        while let Ok(first) = messages.recv() {
            if self.shared.reopen.swap(false, Ordering::AcqRel)
                && let Some(output) = &mut self.output
            {
                output.reopen();
            }
            // What waits already is written together: one call to the system for a burst.
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
        // Readers come under the same lock: a line is either remembered for them or handed to them.
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

/// The output of lines.
struct Output {
    form: LineForm,
    writer: Box<dyn Write + Send>,
    open: OpenLog,
    lines: Vec<u8>,
    count: u64,
    /// Whether the last words of the file may be half a line.
    torn: bool,
    /// Whether the loss of lines was logged.
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
                // A log is read in a terminal too, and most of a line is what a visitor sent.
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
                // Logged once: a full disk would otherwise be logged with every request.
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

/// The network of an address: what tells where somebody is from, and not who it is.
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
