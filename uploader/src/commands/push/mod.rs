//! `push`: scans the folder, sends the missing blobs, waits for the edge, and prints the result.

mod archive_contents;
mod archive_type;
mod ending;
mod image;
mod sign;
mod warn;
mod whole_archive;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use devanture_config::api::{
    BeginDeploy, DeployBegun, DeployOptions, DeployPrediction, DeployReport, Source, Step, StepState,
};
use devanture_config::manifest::halves::Half;
use devanture_config::problem::Code;
use devanture_config::{Digest, PlaceName, VersionId};
use devanture_project::bundle::rules::{self, RuleFiles};
use devanture_project::bundle::scan::Scan;
use devanture_project::bundle::{self, Blob, Bundle};
use devanture_project::folders::Folders;

use super::{bundle_notes, canary, collaboration};
use crate::args::PushArgs;
use crate::context::Context;
use crate::edge::client::{self, Edge, Refusal};
use crate::edge::deploy::{BlobError, missing_blobs};
use crate::edge::signing::SigningKey;
use crate::output::exit::Failure;
use crate::output::progress::rate_text;
use crate::output::report::{self, byte_text, milliseconds};
use crate::output::step_output::StepOutput;
use crate::settings::{self, PREVIEW};
use crate::source::git::{self, SourceFlags};

/// Upper bound of scans of a folder that changes during the upload.
const SCANS_MAX: u32 = 3;
/// Upper bound of restarts of a folder push that the edge has lost: uploaded blobs are not sent twice, so that each
/// attempt gets further.
const RESTARTS_MAX: u32 = 10;
/// Lower bound of the duration of an upload with a printed rate.
const RATE_TIME_MIN: Duration = Duration::from_secs(1);

/// The note of a push that the edge has lost.
const FORGOTTEN: &str = "the edge has lost the push, as by a restart; it begins again";

/// The live version, as far as known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KnownLive {
    /// No edge was asked yet.
    Unknown,
    /// The answer of the edge; the live version can have changed only during `finish`.
    Known(Option<VersionId>),
}

/// A push.
#[derive(Debug)]
pub(crate) struct Push<'c> {
    context: &'c Context,
    args: &'c PushArgs,
    live: KnownLive,
    /// The version that the edge is about to make live.
    finishing: Option<VersionId>,
    /// Set if the edge has an archive with an outcome known only to the edge.
    is_archive_sent: bool,
    /// Set if the push has sent a request to the edge.
    has_contacted: bool,
    steps: Vec<Step>,
    /// The keys that sign the version.
    keys: Arc<[SigningKey]>,
}

/// The outcome of an upload.
enum Uploaded {
    All,
    /// A file has changed since the scan.
    Changed(PathBuf),
    /// The edge does not know the push any more, as after a restart.
    Forgotten(Failure),
}

/// The result of the last request of a push.
enum Finished {
    Reported(Box<DeployReport>),
    /// The edge has lost the push, as after a restart, and no version went live since the start of the push.
    Forgotten(Failure),
}

impl<'c> Push<'c> {
    /// Prepares the push, without any request.
    pub(crate) fn new(context: &'c Context, args: &'c PushArgs) -> Self {
        Self {
            context,
            args,
            live: KnownLive::Unknown,
            finishing: None,
            is_archive_sent: false,
            has_contacted: false,
            steps: Vec::new(),
            keys: Arc::new([]),
        }
    }

    /// Pushes.
    ///
    /// # Errors
    /// The reason why the version did not go live; [`Push::ending`] then reports the live version.
    pub(crate) async fn run(&mut self) -> Result<(), Failure> {
        if self.args.no_switch && self.args.gate.watch.is_some() {
            return Err(Failure::new(Code::Usage, "--watch watches a switch, and --no-switch makes none.")
                .hint("`devanture switch ID --watch 60s` makes the stored version live and watches it"));
        }
        // A typo is reported before the upload.
        canary::check(self.args)?;
        let (dir, only) = (self.args.dir.as_deref(), self.args.half.only);
        let folders = self.context.project.folders(dir)?;
        let archive_type = archive_type::media_type(folders.www.path()).filter(|_| folders.www.path().is_file());
        let folders = folders.only(only, dir.is_some() && archive_type.is_none());
        self.read_keys(archive_type.is_some()).await?;
        if let (Some(_), Some(server), None) = (archive_type, &folders.server, only) {
            let message =
                format!("The archive is sent as it is, without the backend in `{}`.", server.path().display());
            return Err(Failure::new(Code::Usage, message)
                .hint("unpack it, and give the folder; --only front keeps the backend that is live"));
        }
        if self.args.dry_run {
            return self.dry_run(&folders, archive_type.is_some()).await;
        }
        let place = self.place()?;
        // A typo in the folder's name is reported before missing settings.
        if archive_type.is_none() {
            folders.check_there()?;
        }
        let edge = self.context.edge()?;
        let report = match archive_type {
            Some(media_type) => self.send_archive(&edge, &place, (&folders.www, media_type)).await?,
            None => self.send_folder(&edge, &place, &folders).await?,
        };
        let was_live = self.live == KnownLive::Known(Some(report.version));
        let again = self.context.again();
        if let Some(path) = report.withdrawn.first() {
            let more = match report.withdrawn.len() {
                1 => String::new(),
                count => format!(" (and {} more)", count - 1),
            };
            self.context.progress.note(&format!(
                "{path}{more} stays withdrawn: this version was stored before; `devanture delete {path} --undo{}` takes \
                 it back",
                again.0
            ));
        }
        if self.args.canary.is_wanted() {
            return canary::begin(self.context, &edge, &place, self.args, &report).await;
        }
        // The version of an alias is made live in the environment of the app.
        let again = if self.args.alias.is_some() { self.context.again_of_app() } else { again };
        let no_switch = self.args.no_switch;
        let style = self.context.output.style;
        self.context.output.report(&report, || report::deploy_lines(style, &report, was_live, no_switch, &again));
        Ok(())
    }

    async fn dry_run(&mut self, folders: &Folders, is_archive: bool) -> Result<(), Failure> {
        if is_archive {
            return Err(Failure::new(
                Code::Usage,
                "Only the edge unpacks archives, so --dry-run cannot tell this one's id.",
            )
            .hint("unpack it, and give the folder"));
        }
        let (scan, bundle) = self.scan(folders).await?;
        image::check_fixed(&bundle.manifest)?;
        let prediction = self.predict(&bundle).await?;
        // Of a single half, only the edge knows the other.
        let id = match self.args.half.only {
            Some(_) => prediction.as_ref().map(|prediction| prediction.version),
            None => Some(bundle.manifest.id()),
        };
        if id.is_none() {
            self.context.progress.note("the id is not known without the edge, which has the other half");
        }
        let app = self.context.settings.explicit_app()?.map(|app| app.value);
        let mut value = serde_json::json!({
            "dry_run": true,
            "app": app,
            "environment": self.place()?,
            "version": id,
            "files": { "total": scan.count() },
            "bytes": { "total": scan.total_bytes() },
            "left_out": scan.left_out,
            "checked_by_edge": prediction.is_some(),
        });
        if let (Some(server), Some(members)) = (&scan.server, value.as_object_mut()) {
            members.insert("server".to_owned(), server.json());
        }
        self.context.output.write(&value, || id.iter().map(ToString::to_string).collect());
        Ok(())
    }

    /// Ends a dry run with the refusal that the push would get. `None` without an answer of an edge: the id of a whole
    /// bundle does not depend on the edge.
    async fn predict(&mut self, bundle: &Bundle) -> Result<Option<DeployPrediction>, Failure> {
        let progress = &self.context.progress;
        let edge = match self.context.edge() {
            Ok(edge) => edge,
            Err(failure) => {
                progress.note(&format!("checked without an edge: {}", failure.message));
                return Ok(None);
            }
        };
        let source = source(self.context, self.args).await;
        let signatures = self.signatures(edge.app(), &bundle.manifest).await?;
        let options = DeployOptions { signatures, ..self.options(&source)? };
        let begin = BeginDeploy { manifest: bundle.manifest.clone(), source, options };
        match edge.predict_push(&self.place()?, &begin).await {
            Ok(prediction) => Ok(Some(prediction)),
            Err(failure) if failure.is(Code::Unreachable) => {
                progress.note(&format!("checked without the edge: {}", failure.message));
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn send_folder(
        &mut self,
        edge: &Edge,
        place: &PlaceName,
        folders: &Folders,
    ) -> Result<DeployReport, Failure> {
        let (source, mut scanned) = tokio::join!(source(self.context, self.args), self.scan(folders));
        let options = self.options(&source)?;
        let (mut scans, mut restarts) = (1, 0);
        let mut known: Option<Scan> = None;
        loop {
            let (scan, bundle) = scanned?;
            if let Some(gone) = known.as_ref().and_then(|known| known.first_gone_in(&scan, folders.www.path())) {
                return Err(unsteady(format!("{gone} was there when the push began, and is gone.")));
            }
            known = Some(scan);
            let manifest = bundle.manifest.clone();
            let signatures = self.signatures(edge.app(), &manifest).await?;
            let options = DeployOptions { signatures, ..options.clone() };
            let begin = BeginDeploy { manifest, source: source.clone(), options };
            let begun = match restarts {
                0 => self.begin(edge, place, &begin).await?,
                _ => self.begin_again(edge, place, &begin).await?,
            };
            if (scans, restarts) == (1, 0) {
                self.print_new_place(edge, place, &begun).await;
            }
            let missing = missing_blobs(&bundle, &begun)?;
            self.print_diff(&bundle, &missing);
            self.print_secrets(&bundle, &missing).await;
            let lost = match self.upload(edge, &begun, &missing).await? {
                Uploaded::All => match self.finish(edge, place, &bundle, &begun, &missing).await? {
                    Finished::Reported(report) => return Ok(*report),
                    Finished::Forgotten(failure) => Some(failure),
                },
                Uploaded::Forgotten(failure) => Some(failure),
                Uploaded::Changed(_) if scans == SCANS_MAX => break,
                Uploaded::Changed(path) => {
                    scans += 1;
                    self.context.progress.note(&format!("{} has changed; the folder is read again", path.display()));
                    None
                }
            };
            match lost {
                Some(failure) if restarts == RESTARTS_MAX => return Err(failure),
                Some(_) => {
                    restarts += 1;
                    self.context.progress.note(FORGOTTEN);
                }
                None => {}
            }
            self.steps.clear();
            scanned = self.scan(folders).await;
        }
        Err(unsteady(format!("The folder `{}` keeps changing while it is sent.", folders.www.path().display())))
    }

    /// Returns the target of the push: a push to an alias goes to previews, unless an environment is given.
    fn place(&self) -> Result<PlaceName, Failure> {
        let environment = self.context.settings.environment()?;
        match (&self.args.alias, environment.source) {
            (Some(_), settings::Source::Default) => Ok(PREVIEW.parse().unwrap_or(environment.value)),
            _ => Ok(environment.value),
        }
    }

    fn options(&self, source: &Source) -> Result<DeployOptions, Failure> {
        let branch = source.branch.as_deref().unwrap_or_default();
        let alias = match self.args.alias.as_deref() {
            Some("") if branch.is_empty() => {
                let message = "--alias was given no name, and neither git nor a CI system says which branch this is.";
                return Err(Failure::new(Code::Usage, message).hint("--alias NAME, or --branch NAME beside --alias"));
            }
            Some("") => Some(collaboration::alias_name(self.context, branch)),
            Some(name) => Some(collaboration::alias_name(self.context, name)),
            None => None,
        };
        Ok(DeployOptions {
            no_switch: self.args.stores_only(),
            force: self.args.force,
            if_live: self.args.if_live.as_ref().map(ToString::to_string),
            allow_warnings: self.args.allow_warnings,
            allow_refingerprint: self.args.allow_refingerprint,
            alias,
            alias_expires: self.args.expires,
            no_smoke: self.args.gate.no_smoke,
            watch_s: self.args.gate.watch_s(),
            rollout: self.args.gate.rollout(&self.context.project.site),
            reason: self.args.gate.reason.clone(),
            signatures: Vec::new(),
            only: self.args.half.only,
            with: self.args.half.with.as_ref().map(ToString::to_string),
        })
    }

    /// Reads and hashes the folder, off the network threads.
    async fn scan(&mut self, folders: &Folders) -> Result<(Scan, Bundle), Failure> {
        let begun = Instant::now();
        let read = match (self.args.half.only, &folders.server) {
            (Some(Half::Backend), Some(server)) => server.path(),
            _ => folders.www.path(),
        };
        let working = self.context.progress.working("scan", &read.display().to_string());
        let (wanted, strict) = (folders.clone(), self.args.strict);
        let scan = tokio::task::spawn_blocking(move || wanted.scan(strict)).await;
        let scan = scan.map_err(|error| Failure::new(Code::Internal, format!("The scan failed: {error}.")))??;
        drop(working);
        let guessed = bundle::guess_rules(&scan, &self.context.project, folders.www.path());
        let site = &self.context.project.site;
        let bundle = match self.args.half.only {
            Some(half) => Bundle::of_half(&scan, site, guessed, half)?,
            None => Bundle::of(&scan, site, guessed)?,
        };
        self.done("scan", scan.text(), begun);
        bundle_notes::print(self.context, &scan, guessed);
        if self.args.half.only == Some(Half::Backend) {
            return Ok((scan, bundle));
        }
        let findings = RuleFiles::read(&scan, folders.www.path())?.findings(
            &bundle.manifest,
            &self.context.project,
            &self.place()?,
        );
        let doubts = rules::judge(findings, Code::BadRules, self.args.allow_warnings)?;
        doubts.iter().for_each(|doubt| self.context.progress.note(&doubt.to_string()));
        Ok((scan, bundle))
    }

    async fn begin(&mut self, edge: &Edge, place: &PlaceName, begin: &BeginDeploy) -> Result<DeployBegun, Failure> {
        let working = self.context.progress.working("diff", "asking what is missing");
        let start = Instant::now();
        self.has_contacted = true;
        let begun = edge.begin(place, begin).await?;
        drop(working);
        self.live = KnownLive::Known(begun.live);
        // Only the edge knows the other half.
        if begun.version == begin.manifest.id() || begin.options.only.is_some() {
            return Ok(begun);
        }
        if let Some((image, manifest)) = image::resolved(&begin.manifest, begun.image.as_ref())
            && begun.version == manifest.id()
        {
            self.done("image", image, start);
            return Ok(begun);
        }
        let message = "The edge computes another id for the same content than this program.";
        Err(Failure::new(Code::Internal, message).hint("use a `devanture` of the same version as the edge"))
    }

    fn print_diff(&mut self, bundle: &Bundle, missing: &[(Digest, &Blob)]) {
        let new: u64 = missing.iter().map(|(_, blob)| blob.files).sum();
        let there = bundle.files().saturating_sub(new);
        self.done("diff", format!("{new} new, {there} already there"), Instant::now());
    }

    async fn upload(
        &mut self,
        edge: &Edge,
        begun: &DeployBegun,
        missing: &[(Digest, &Blob)],
    ) -> Result<Uploaded, Failure> {
        let start = Instant::now();
        if missing.is_empty() {
            self.ended("upload", StepState::Skipped, "nothing to send".to_owned(), start);
            return Ok(Uploaded::All);
        }
        let files = missing.iter().map(|(_, blob)| blob.files).sum();
        let bytes = missing.iter().map(|(_, blob)| blob.bytes).sum();
        let sending = self.context.progress.sending("upload", files, bytes);
        // The first failure ends the others: uploaded blobs need not be sent again.
        let ended = edge.put_missing(begun, missing, usize::from(self.args.jobs), &sending.sent).await;
        drop(sending);
        match ended {
            Ok(()) => {}
            Err(BlobError::Changed(path)) => return Ok(Uploaded::Changed(path)),
            Err(BlobError::Failed(failure)) if failure.is(Code::NotFound) => return Ok(Uploaded::Forgotten(failure)),
            Err(BlobError::Failed(failure)) => return Err(resumable(failure)),
        }
        // An instant upload has no rate.
        let rate = match start.elapsed() {
            time if time >= RATE_TIME_MIN => format!("  {}", rate_text(bytes, time)),
            _ => String::new(),
        };
        self.done("upload", format!("{files}/{files}  {}{rate}", byte_text(bytes)), start);
        Ok(Uploaded::All)
    }

    async fn finish(
        &mut self,
        edge: &Edge,
        place: &PlaceName,
        bundle: &Bundle,
        begun: &DeployBegun,
        missing: &[(Digest, &Blob)],
    ) -> Result<Finished, Failure> {
        self.finishing = Some(begun.version);
        let mut step_output = StepOutput::all(&self.context.progress);
        let mut has_begun = false;
        let mut on_step = |step: &Step| {
            has_begun = true;
            step_output.print(step);
        };
        let ended = edge.finish(&begun.deploy, &mut on_step).await;
        let has_switched = step_output.has_switched;
        drop(step_output);
        let mut report = match ended {
            Ok(report) => client::check_report(edge, report)?,
            // After a reported step, the failure concerns a different object. An edge under replacement ends a push
            // that has not switched yet.
            Err(Refusal::Final(failure))
                if failure.is(Code::NotFound) && !has_begun || failure.is(Code::Restarting) && !has_switched =>
            {
                self.finishing = None;
                return Ok(Finished::Forgotten(failure));
            }
            Err(Refusal::Final(failure)) => {
                // If the version went live and was not undone, only the edge knows the live version.
                if !has_switched || failure.is(Code::WatchFailed) {
                    self.finishing = None;
                }
                return Err(failure);
            }
            Err(Refusal::Again(failure, _)) => {
                match self.lost(edge, place, bundle, begun, missing, failure.clone()).await? {
                    Some(report) => report,
                    None => {
                        self.finishing = None;
                        return Ok(Finished::Forgotten(failure));
                    }
                }
            }
        };
        self.finishing = None;
        let mut steps = std::mem::take(&mut self.steps);
        steps.append(&mut report.steps);
        report.steps = steps;
        Ok(Finished::Reported(Box::new(report)))
    }

    fn done(&mut self, name: &str, detail: String, begun: Instant) {
        self.ended(name, StepState::Done, detail, begun);
    }

    fn ended(&mut self, name: &str, state: StepState, detail: String, begun: Instant) {
        self.context.progress.step(name, &detail);
        self.steps.push(Step { name: name.to_owned(), state, detail, ms: milliseconds(begun.elapsed()) });
    }
}

/// Returns the failure of a folder with a concurrent writer, such as a new build.
fn unsteady(message: String) -> Failure {
    Failure::new(Code::UnreadableFile, message).hint("push when the build is done")
}

/// Adds the way to go on after an interrupted upload.
fn resumable(failure: Failure) -> Failure {
    if failure.exit != Failure::new(Code::Unreachable, "").exit {
        return failure;
    }
    // The existing hint may be a question: the question mark ends the line.
    let then = failure.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
    failure.hint(format!("the same push again sends only what has not arrived{then}"))
}

/// Returns the origin of the bundle, determined while the folder is read.
async fn source(context: &Context, args: &PushArgs) -> Source {
    let (folder, environment) = (context.project.folder.clone(), context.environment.clone());
    let flags = SourceFlags { commit: args.commit.clone(), branch: args.branch.clone(), message: args.message.clone() };
    tokio::task::spawn_blocking(move || git::source(&folder, &environment, flags)).await.unwrap_or_default()
}
