//! `devanture-edge copy`: copies the whole store of an edge, or of a cluster, to the store of another configuration,
//! while the edge serves.
//!
//! Passes over all records and files are repeated until hardly any differ. The last pass runs during a pause of
//! changes; then all records are compared, and the copy is marked as finished, without which no edge starts with the
//! copy. The copy never modifies served data, and every step can be repeated.

mod beside;
mod source;
mod target;

use std::path::Path;
use std::time::{Duration, Instant};

use devanture_config::api::CopyReport;
use devanture_config::edge_toml::EdgeFile;
use devanture_config::problem::{Code, Problem};
use tokio::signal::unix::{SignalKind, signal};

use super::error::StartError;
use super::local::LocalError;
use devanture_control::ledger::{Error, begin_copy, finish_copy};
use devanture_control::safekeeping::{self, Copied, Transfer};
use devanture_control::settings::{KeyFile, LostSecrets, lost_secrets};
use devanture_store::catalog::Catalog;
use source::{PAUSE_LONGER, PAUSE_OVER, Pause, Source};
use target::Target;

/// Maximum number of passes over changed data before the last pass.
const PASSES_MAX: u32 = 5;
/// Duration below which another pass would gain nothing for the last pass.
const PASS_SHORT: Duration = Duration::from_secs(5);

/// Options of a copy.
#[derive(Debug, Clone, Copy)]
pub struct CopyOptions {
    /// True to pause changes and finish the copy; otherwise the copy can be continued later.
    pub finish: bool,
    /// True to finish despite damaged or missing files.
    pub allow_damaged: bool,
    /// Seconds until the pause ends on its own.
    pub pause_s: u64,
}

/// Current step of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyProgress {
    /// Records are compared and copied.
    Records,
    /// Number and total size of the copied files.
    Files {
        /// Number of files.
        files: u64,
        /// Total bytes.
        bytes: u64,
    },
    /// Changes are paused, and differences are copied.
    Paused,
}

/// Observer of a copy's progress.
pub type CopyObserver<'o> = &'o (dyn Fn(CopyProgress) + Send + Sync);

/// Copies the store of `from` to the store of `to`. Unless `options.finish` is set, copies as much as possible while
/// changes continue; with a damaged file, the copy is not finished unless allowed. Neither is an error: the report
/// tells whether the copy is finished.
///
/// # Errors
/// [`LocalError`]; changes are not paused after an error.
pub async fn copy(
    from: (&EdgeFile, &Path),
    to: (&EdgeFile, &Path),
    options: CopyOptions,
    observer: CopyObserver<'_>,
) -> Result<CopyReport, LocalError> {
    let source = Source::open(from.0, from.1).await?;
    let target = Target::open(to.0, to.1).await?;
    begin_copy(&*target.catalog, source.name()).await?;
    let report = |progress: safekeeping::Progress| {
        observer(CopyProgress::Files { files: progress.files, bytes: progress.bytes });
    };
    let transfer = Transfer::begin(source.files(), &target.files, &report).await?;
    let mut run = Run { source: &source, target: &target, transfer, observer, report: CopyReport::default() };
    beside::copy(from, to, &mut run.report).await?;
    run.catch_up().await?;
    let is_whole = run.report.damaged.is_empty() || options.allow_damaged;
    if options.finish && is_whole {
        run.finish(from, to, options).await?;
    }
    run.warn(from, to).await?;
    Ok(run.report)
}

/// Ends the pause of changes of an earlier copy. The copy is first marked as unfinished, because the copy lacks all
/// later changes.
///
/// # Errors
/// [`LocalError`], also if an edge has started with the copy; changes stay paused then.
pub async fn resume(from: (&EdgeFile, &Path), to: (&EdgeFile, &Path)) -> Result<(), LocalError> {
    let source = Source::open(from.0, from.1).await?;
    let target = Target::open(to.0, to.1).await?;
    begin_copy(&*target.catalog, source.name()).await?;
    source.resume().await
}

/// A copy in progress.
struct Run<'r> {
    source: &'r Source,
    target: &'r Target,
    transfer: Transfer<'r>,
    observer: CopyObserver<'r>,
    report: CopyReport,
}

impl Run<'_> {
    /// Copies while changes continue.
    async fn catch_up(&mut self) -> Result<(), LocalError> {
        for number in 1..=PASSES_MAX {
            let began = Instant::now();
            self.pass().await?;
            // A missing file may have been deleted during the copy: the next pass decides.
            let is_certain = self.report.damaged.is_empty() || number > 1;
            if is_certain && began.elapsed() < PASS_SHORT {
                break;
            }
        }
        Ok(())
    }

    /// Copies all current differences.
    async fn pass(&mut self) -> Result<Copied, LocalError> {
        (self.observer)(CopyProgress::Records);
        let copied = safekeeping::copy_records(self.source, &*self.target.catalog).await?;
        let pass = self.transfer.pass(&*self.target.catalog).await?;
        let (report, progress) = (&mut self.report, self.transfer.progress());
        report.records = copied.records;
        report.written_records = report.written_records.saturating_add(copied.written);
        report.removed_records = report.removed_records.saturating_add(copied.removed);
        report.left_out = copied.left_out.iter().cloned().collect();
        report.versions = pass.versions;
        report.files = pass.files;
        report.copied_files = progress.files;
        report.copied_bytes = progress.bytes;
        report.damaged = pass.damaged;
        Ok(copied)
    }

    /// Pauses changes, copies the differences, compares all records, and marks the copy as finished. After a failure or
    /// an interruption, changes resume at once.
    async fn finish(
        &mut self,
        from: (&EdgeFile, &Path),
        to: (&EdgeFile, &Path),
        options: CopyOptions,
    ) -> Result<(), LocalError> {
        let mut interrupted = Interrupted::new()?;
        let source = self.source;
        (self.observer)(CopyProgress::Paused);
        let began = Instant::now();
        // The response is awaited even after an interruption: otherwise a pause that begins later would not be ended.
        let finished = match source.pause(options.pause_s).await {
            Err(error) => Err(error),
            Ok(pause) => tokio::select! {
                finished = self.finish_paused(from, to, (options, &pause, began)) => finished,
                () = interrupted.wait() => Err(LocalError::Interrupted),
            },
        };
        if !matches!(finished, Ok(true))
            && let Err(error) = source.resume().await
        {
            tracing::warn!(%error, seconds = options.pause_s, "changes go on only when the pause ends by itself");
        }
        finished.map(drop)
    }

    /// Runs the steps within the pause; returns true if the copy is finished.
    async fn finish_paused(
        &mut self,
        from: (&EdgeFile, &Path),
        to: (&EdgeFile, &Path),
        (options, pause, began): (CopyOptions, &Pause, Instant),
    ) -> Result<bool, LocalError> {
        let copied = self.pass().await?;
        if !self.report.damaged.is_empty() && !options.allow_damaged {
            return Ok(false);
        }
        beside::copy(from, to, &mut self.report).await?;
        let (records, other) =
            safekeeping::compare_records(self.source, &*self.target.catalog, &copied.left_out).await?;
        if let Some(key) = other {
            let detail = format!("The record {key} differs after it was copied.");
            let hint = "run the copy again; if that does not help, an edge runs on the store to copy to";
            return Err(Error::from(Problem::new(Code::Conflict, detail).hint(hint)).into());
        }
        self.check_paused(pause).await?;
        finish_copy(&*self.target.catalog, pause.resumes_ms).await?;
        let report = &mut self.report;
        report.finished = true;
        report.records = records;
        report.resumes_ms = pause.resumes_ms;
        let elapsed = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        report.paused_ms = pause.record.as_ref().map(|_| elapsed);
        Ok(true)
    }

    /// Checks that the pause has lasted until now.
    async fn check_paused(&self, pause: &Pause) -> Result<(), LocalError> {
        if self.source.pause_record().await? == pause.record {
            return Ok(());
        }
        Err(Error::from(Problem::new(Code::Conflict, PAUSE_OVER).hint(PAUSE_LONGER)).into())
    }

    /// Adds warnings for the operator.
    async fn warn(&mut self, from: (&EdgeFile, &Path), to: (&EdgeFile, &Path)) -> Result<(), LocalError> {
        let keys = KeyFile::new(to.0.secrets_key_file().map(|path| to.1.join(path)));
        let catalog: &dyn Catalog = &*self.target.catalog;
        let lost = lost_secrets(catalog, &keys).await.map_err(Error::from)?;
        self.report.warnings.extend(lost.iter().map(LostSecrets::sentence));
        self.report.warnings.extend(beside::warnings(from, to));
        Ok(())
    }
}

/// Signals that end a copy early.
struct Interrupted {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Interrupted {
    fn new() -> Result<Self, StartError> {
        let on = |kind| signal(kind).map_err(StartError::Runtime);
        Ok(Self { interrupt: on(SignalKind::interrupt())?, terminate: on(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
