//! `devanture-edge copy`: copies the whole store of an edge, or of a cluster, to that of another configuration, while
//! the first one serves.
//!
//! Passes over all records and files go on until hardly anything differs. The last one is made while changes are
//! paused; then all records are compared, and the copy is marked as finished, without which no edge starts over it.
//! Until its end nothing that is served was touched, and every step can be repeated.

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
use devanture_control::environments::{KeyFile, LostSecrets, lost_secrets};
use devanture_control::ledger::{Error, begin_copy, finish_copy};
use devanture_control::safekeeping::{self, Copied, Transfer};
use devanture_store::catalog::Catalog;
use source::{PAUSE_LONGER, PAUSE_OVER, Pause, Source};
use target::Target;

/// Most passes over what changed meanwhile, before the last one.
const PASSES_MAX: u32 = 5;
/// A pass that took less leaves so little to the last one that another pass gains nothing.
const PASS_SHORT: Duration = Duration::from_secs(5);

/// How to copy.
#[derive(Debug, Clone, Copy)]
pub struct CopyOptions {
    /// Whether to pause changes and finish the copy; else it can be gone on with.
    pub finish: bool,
    /// Whether to finish although files are damaged or missing.
    pub allow_damaged: bool,
    /// Seconds after which changes go on by themselves.
    pub pause_s: u64,
}

/// What a copy does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyProgress {
    /// Records are compared and copied.
    Records,
    /// So many files were copied, of so many bytes together.
    Files {
        /// Files.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// Changes are paused; what differs is copied.
    Paused,
}

/// Takes what a copy does.
pub type CopyObserver<'o> = &'o (dyn Fn(CopyProgress) + Send + Sync);

/// Copies the store of `from` to that of `to`. Where `options` do not ask for the end, it copies what it can while
/// changes go on; where a file is damaged, it does not go on to the end unless that is allowed. Both are no error: the
/// report says whether the copy is finished.
///
/// # Errors
/// [`LocalError`]; changes are not paused then.
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

/// Ends the pause of changes of an earlier copy. The copy is unfinished again first: what changes from here on is not
/// in it.
///
/// # Errors
/// [`LocalError`], also where an edge has taken the copy; changes stay paused then.
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
    /// Copies while changes go on.
    async fn catch_up(&mut self) -> Result<(), LocalError> {
        for number in 1..=PASSES_MAX {
            let began = Instant::now();
            self.pass().await?;
            // What is missing may have been deleted while it was copied: the next pass knows.
            let is_certain = self.report.damaged.is_empty() || number > 1;
            if is_certain && began.elapsed() < PASS_SHORT {
                break;
            }
        }
        Ok(())
    }

    /// Copies everything that differs now.
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

    /// Pauses changes, copies what differs, compares all records, and marks the copy as finished. Changes go on at once
    /// where that fails or is interrupted.
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
        // Its answer is waited for also when it is interrupted: a pause that begins later would not be ended.
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

    /// Returns whether the copy is finished.
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

    /// Checks that the pause lasted until now.
    async fn check_paused(&self, pause: &Pause) -> Result<(), LocalError> {
        if self.source.pause_record().await? == pause.record {
            return Ok(());
        }
        Err(Error::from(Problem::new(Code::Conflict, PAUSE_OVER).hint(PAUSE_LONGER)).into())
    }

    /// Adds what the operator should know.
    async fn warn(&mut self, from: (&EdgeFile, &Path), to: (&EdgeFile, &Path)) -> Result<(), LocalError> {
        let keys = KeyFile::new(to.0.secrets_key_file().map(|path| to.1.join(path)));
        let catalog: &dyn Catalog = &*self.target.catalog;
        let lost = lost_secrets(catalog, &keys).await.map_err(Error::from)?;
        self.report.warnings.extend(lost.iter().map(LostSecrets::sentence));
        self.report.warnings.extend(beside::warnings(from, to));
        Ok(())
    }
}

/// What ends a copy early.
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
