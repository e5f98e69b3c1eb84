//! The push of an archive: its content is reported, then the archive is sent unchanged, and again if the edge has lost
//! it.

use std::time::{Duration, Instant};

use devanture_config::PlaceName;
use devanture_config::api::DeployReport;
use devanture_config::manifest::halves::Half;
use devanture_config::problem::Code;
use devanture_project::boundary::Place;
use devanture_project::bundle::scan;

use super::archive_contents::Contents;
use super::ending::LAST_QUESTIONS_MAX;
use super::{FORGOTTEN, KnownLive, Push, SCANS_MAX, source};
use crate::commands::bundle_notes;
use crate::edge::client::{Edge, Refusal};
use crate::output::exit::Failure;
use crate::output::report::{self, byte_text};

impl Push<'_> {
    /// Sends an archive, and prints its steps.
    ///
    /// # Errors
    /// The reason why the version did not go live.
    pub(super) async fn send_archive(
        &mut self,
        edge: &Edge,
        place: &PlaceName,
        archive: (&Place, &'static str),
    ) -> Result<DeployReport, Failure> {
        let begun = Instant::now();
        let site = &self.context.project.site;
        if !site.base.is_empty() || !site.env.is_empty() {
            self.context.progress.note("an archive is sent as it is, without what devanture.toml says about serving");
        }
        // All files of a backend are taken.
        if self.args.half.only != Some(Half::Backend) {
            self.look_into_archive(archive).await?;
        }
        self.has_contacted = true;
        if let Some(live) = self.live_in(edge, place).await {
            self.live = KnownLive::Known(live);
        }
        let source = source(self.context, self.args).await;
        let options = self.options(&source)?;
        let (alias, expires) = (options.alias.map(String::from), options.alias_expires.map(String::from));
        let flags = [
            ("no_smoke", options.no_smoke),
            ("no_switch", options.no_switch),
            ("force", options.force),
            ("allow_warnings", options.allow_warnings),
            ("allow_refingerprint", options.allow_refingerprint),
        ];
        let mut query: Vec<(&str, &str)> =
            flags.into_iter().filter(|(_, on)| *on).map(|(name, _)| (name, "true")).collect();
        let rollout = (!options.rollout.is_default()).then(|| options.rollout.to_string());
        let watch_s = options.watch_s.map(|seconds| seconds.to_string());
        let only = options.only.map(|half| half.to_string());
        let texts = [
            ("if_live", &options.if_live),
            ("only", &only),
            ("with", &options.with),
            ("watch_s", &watch_s),
            ("rollout", &rollout),
            ("reason", &options.reason),
            ("alias", &alias),
            ("alias_expires", &expires),
            ("message", &source.message),
            ("commit", &source.commit),
            ("branch", &source.branch),
            ("ci", &source.ci),
            ("url", &source.url),
        ];
        query.extend(texts.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?))));
        self.is_archive_sent = true;
        let mut tries = 1;
        let (mut report, bytes) = loop {
            let file = archive.0.open_file()?;
            let bytes = file.metadata().map_or(0, |metadata| metadata.len());
            let sending = self.context.progress.sending("upload", 1, bytes);
            let ended = edge.push_archive(place, (file, bytes, archive.1), &query, &sending.sent).await;
            drop(sending);
            match ended {
                Ok(report) => break (report, bytes),
                Err(Refusal::Again(failure, _))
                    if tries < SCANS_MAX && self.may_begin_again(edge, place, &failure).await =>
                {
                    self.context.progress.note(FORGOTTEN);
                    tries += 1;
                }
                Err(refusal) => return Err(refusal.into_failure()),
            }
        };
        self.is_archive_sent = false;
        // The edge reports the received bytes, which is more precise.
        if !report.steps.iter().any(|step| step.name == "upload") {
            self.done("upload", byte_text(bytes), begun);
        }
        for step in &report.steps {
            let style = self.context.progress.style;
            self.context.progress.step(&step.name, &report::step_text(style, step));
        }
        let mut steps = std::mem::take(&mut self.steps);
        steps.append(&mut report.steps);
        report.steps = steps;
        Ok(report)
    }

    /// Reports the files of an archive that the edge leaves out, and warns of secrets, as for a folder.
    ///
    /// # Errors
    /// With `--strict`: `bad_bundle` for left-out files, `unreadable_file` if the archive cannot be scanned.
    async fn look_into_archive(&self, (archive, media_type): (&Place, &'static str)) -> Result<(), Failure> {
        let (file, table) = (archive.open_file()?, self.context.project.site.check.clone());
        let read = tokio::task::spawn_blocking(move || Contents::read(file, media_type, &table)).await;
        let (contents, failed) =
            read.map_err(|error| Failure::new(Code::Internal, format!("The archive was not read: {error}.")))?;
        let shown = archive.path().display().to_string();
        if self.args.strict {
            scan::refuse_left_out_of_archive(&shown, &contents.left_out).map_or(Ok(()), Err)?;
            if let Some(error) = failed {
                let message = format!("Whether something of {shown} is left out cannot be found out: {error}.");
                return Err(Failure::new(Code::UnreadableFile, message)
                    .hint("create the archive again, or push without --strict"));
            }
        }
        bundle_notes::left_out(self.context, &contents.left_out);
        if let Some(line) = contents.secrets {
            self.context.progress.warning(&line);
        }
        Ok(())
    }

    /// Returns true if an archive can be sent again after `failure`: the edge answers, and no version has gone live
    /// since before the first attempt. An edge that is still working on the archive then makes the same version live
    /// once. A condition and a watch would have a different result the second time.
    async fn may_begin_again(&self, edge: &Edge, place: &PlaceName, failure: &Failure) -> bool {
        if !failure.is(Code::Unreachable) || self.args.if_live.is_some() || self.args.gate.watch.is_some() {
            return false;
        }
        let KnownLive::Known(before) = self.live else { return false };
        for _ in 0..LAST_QUESTIONS_MAX {
            match self.live_in(edge, place).await {
                Some(live) => return live == before,
                None => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
        false
    }
}
