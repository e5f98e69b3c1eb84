//! The outcome of a push with a lost connection, and the last line of a failed push.

use std::time::{Duration, Instant};

use devanture_config::api::{
    BeginDeploy, ByteCounts, DeployBegun, DeployReport, DeployState, DeployStatus, FileCounts, Status, Urls,
};
use devanture_config::problem::Code;
use devanture_config::{Digest, PlaceName, VersionId};
use devanture_project::bundle::{Blob, Bundle};

use super::{KnownLive, Push};
use crate::edge::client::{self, Edge, LAST_QUESTION_TIME_MAX};
use crate::output::exit::{Failure, INTERRUPTED};
use crate::output::last_line::{self, MAY_GO_ON, NOTHING_LIVE, NOTHING_SENT, STILL_RUNNING};
use crate::signals::until_signal;

/// Additional wait for the end of a watch, beyond its duration.
const WATCH_SLACK: Duration = Duration::from_secs(15);
/// Longest wait for an edge that was lost at the end of a push, as during a restart.
const AWAY_TIME_MAX: Duration = Duration::from_secs(30);
/// Upper bound of requests for the live version once that edge answers.
pub(super) const LAST_QUESTIONS_MAX: u32 = 3;
/// The pause before the edge is asked again.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// The edge's answer about a deploy with a broken connection. A failed deploy is a failure.
enum Outcome {
    /// The deploy succeeded.
    Reported(Box<DeployReport>),
    /// The edge has lost the deploy, or ended it at its own replacement.
    Forgotten,
    /// The deploy has ended, and the edge does not remember the outcome: a restarted edge knows only the history.
    Ended,
    /// The deploy goes on, or no edge answers: the outcome will be known in a moment.
    Open,
}

/// Returns the report of a push that went live, as far as `status` and the sent data tell.
fn report_of(
    status: Status,
    urls: Urls,
    bundle: &Bundle,
    begun: &DeployBegun,
    missing: &[(Digest, &Blob)],
) -> DeployReport {
    DeployReport {
        app: status.app,
        environment: status.environment,
        version: begun.version,
        previous: begun.live,
        urls,
        files: FileCounts {
            total: bundle.manifest.files_count() as u64,
            new: missing.iter().map(|(_, blob)| blob.files).sum(),
        },
        bytes: ByteCounts {
            total: bundle.manifest.total_bytes(),
            sent: missing.iter().map(|(_, blob)| blob.bytes).sum(),
        },
        deploy: status.deploy,
        switched: true,
        steps: Vec::new(),
        withdrawn: Vec::new(),
        alias: None,
        locked: None,
        returning: None,
        paused: status.paused,
        hostnames: Vec::new(),
        only: None,
        with: None,
        restored_manifest: false,
        may_not_switch: false,
    }
}

/// Returns true if no edge answers, or the edge is being replaced.
fn is_away(failure: &Failure) -> bool {
    failure.is(Code::Unreachable) || failure.is(Code::Restarting)
}

impl Push<'_> {
    /// Like [`Push::begin`], for a push that the edge has lost: the edge may not be back yet.
    pub(super) async fn begin_again(
        &mut self,
        edge: &Edge,
        place: &PlaceName,
        begin: &BeginDeploy,
    ) -> Result<DeployBegun, Failure> {
        let until = Instant::now() + AWAY_TIME_MAX;
        loop {
            match self.begin(edge, place, begin).await {
                Err(failure) if is_away(&failure) && Instant::now() < until => tokio::time::sleep(LOOK_PAUSE).await,
                ended => return ended,
            }
        }
    }

    /// Finds out the outcome after a broken connection, which only the edge knows. `None` if the edge was restarted,
    /// has lost the push, and no version went live since the start of the push.
    pub(super) async fn lost(
        &mut self,
        edge: &Edge,
        place: &PlaceName,
        bundle: &Bundle,
        begun: &DeployBegun,
        missing: &[(Digest, &Blob)],
        failure: Failure,
    ) -> Result<Option<DeployReport>, Failure> {
        if self.args.half.only.is_some() {
            return self.lost_half(edge, begun, failure).await;
        }
        let mut has_ended = false;
        let (mut looks, away_until) = (0, Instant::now() + AWAY_TIME_MAX);
        while looks < LAST_QUESTIONS_MAX {
            let status = match edge.status_within(place, LAST_QUESTION_TIME_MAX).await {
                Ok(status) => Some(status),
                // Neither the app nor the environment is there before the first push.
                Err(failure) if failure.is(Code::NotFound) => None,
                Err(failure) => {
                    looks += u32::from(!is_away(&failure) || Instant::now() >= away_until);
                    tokio::time::sleep(LOOK_PAUSE).await;
                    continue;
                }
            };
            looks += 1;
            let live = status.as_ref().and_then(|status| status.version);
            self.live = KnownLive::Known(live);
            let went_live = live == Some(begun.version) && begun.live != Some(begun.version);
            if let (true, Some(watch_s)) = (went_live, self.args.gate.watch_s()) {
                // The version is live, and may still be undone: only the end of the watch tells the outcome of the
                // push.
                return self.watched(edge, begun, Duration::from_secs(watch_s), failure).await.map(Some);
            }
            if let Some(status) = status.filter(|_| went_live)
                && let Some(urls) = status.urls.clone()
            {
                self.context
                    .progress
                    .note("the connection to the edge was lost before its last report; the version is live");
                return Ok(Some(report_of(status, urls, bundle, begun, missing)));
            }
            match self.outcome(edge, begun).await? {
                Outcome::Reported(report) => return Ok(Some(*report)),
                Outcome::Forgotten if live == begun.live => return Ok(None),
                // A push that took over meanwhile is newer than this push.
                Outcome::Forgotten | Outcome::Ended => {
                    has_ended = true;
                    break;
                }
                Outcome::Open if live != begun.live => break,
                Outcome::Open => tokio::time::sleep(LOOK_PAUSE).await,
            }
        }
        // The edge's own message is printed unchanged.
        if !failure.is(Code::Unreachable) {
            return Err(failure);
        }
        if has_ended {
            return Err(failure.hint(self.history_says("how it ended")));
        }
        let look = match self.args.alias {
            Some(_) => format!("{} says where the alias points", self.alias_list()),
            None => format!("`devanture status{}` says what is live", self.context.again().0),
        };
        Err(failure.hint(format!("the edge may still be at work on it: {look}")))
    }

    /// Like [`Push::lost`], for one half: the version may differ from the initial one, so the deploy itself is
    /// requested.
    async fn lost_half(
        &mut self,
        edge: &Edge,
        begun: &DeployBegun,
        failure: Failure,
    ) -> Result<Option<DeployReport>, Failure> {
        let until = Instant::now() + Duration::from_secs(self.args.gate.watch_s().unwrap_or(0)) + WATCH_SLACK;
        while Instant::now() < until {
            match self.outcome(edge, begun).await? {
                Outcome::Reported(report) => return Ok(Some(*report)),
                Outcome::Forgotten => return Ok(None),
                Outcome::Ended => break,
                Outcome::Open => tokio::time::sleep(LOOK_PAUSE).await,
            }
        }
        Err(failure.hint(self.history_says("how it ended")))
    }

    /// Returns the hint that the history of the environment shows `what`.
    fn history_says(&self, what: &str) -> String {
        format!("`devanture history{}` says {what}", self.context.again().0)
    }

    /// Returns the command that lists the aliases of the app.
    fn alias_list(&self) -> String {
        format!("`devanture alias list{}`", self.context.again_of_app().0)
    }

    /// Requests the outcome of a deploy once.
    ///
    /// # Errors
    /// The problem of a failed deploy.
    async fn outcome(&mut self, edge: &Edge, begun: &DeployBegun) -> Result<Outcome, Failure> {
        Ok(match edge.deploy_within(&begun.deploy, LAST_QUESTION_TIME_MAX).await {
            Ok(DeployStatus { report: Some(report), .. }) => {
                Outcome::Reported(Box::new(client::check_report(edge, *report)?))
            }
            Ok(DeployStatus { problem: Some(problem), .. }) if problem.code == Code::Restarting => Outcome::Forgotten,
            Ok(DeployStatus { problem: Some(problem), .. }) => {
                self.finishing = None;
                return Err((*problem).into());
            }
            Ok(DeployStatus { state: DeployState::Begun | DeployState::Running, .. }) => Outcome::Open,
            Ok(_) => Outcome::Ended,
            Err(failure) if failure.is(Code::NotFound) => Outcome::Forgotten,
            Err(_) => Outcome::Open,
        })
    }

    /// Returns the outcome of a deploy with a connection lost during the watch.
    async fn watched(
        &mut self,
        edge: &Edge,
        begun: &DeployBegun,
        watch: Duration,
        failure: Failure,
    ) -> Result<DeployReport, Failure> {
        self.context
            .progress
            .note("the connection to the edge was lost before its last report; asking it how the watch ends");
        let until = Instant::now() + watch + WATCH_SLACK;
        while Instant::now() < until {
            match self.outcome(edge, begun).await? {
                Outcome::Reported(report) => return Ok(*report),
                Outcome::Forgotten | Outcome::Ended => break,
                Outcome::Open => tokio::time::sleep(LOOK_PAUSE).await,
            }
        }
        let history = self.history_says("what is live");
        Err(failure.hint(format!("it went live, but nobody heard its watch to the end: {history}")))
    }

    /// Returns the printed failure of a push, and the last line about the live version.
    pub(crate) async fn ending(&self, failure: Failure) -> (Failure, String) {
        let last = self.last_sentence(&failure).await;
        match self.hint_of_interruption(&failure) {
            Some(hint) => (failure.hint(hint), last),
            None => (failure, last),
        }
    }

    async fn last_sentence(&self, failure: &Failure) -> String {
        if !self.has_contacted {
            return self.last_sentence_without_edge(failure).await;
        }
        // A push to an alias does not change the live version, whatever its outcome.
        if self.args.alias.is_some() {
            let is_asked = !matches!(failure.exit, 3 | 4) || failure.is(Code::Forbidden);
            let nothing_is_live = is_asked && self.ask_what_is_live().await == Some(None);
            return if nothing_is_live { NOTHING_LIVE } else { STILL_RUNNING }.to_owned();
        }
        if failure.is(Code::Deleted) {
            return NOTHING_LIVE.to_owned();
        }
        // A refused archive changed nothing; an archive with a broken connection may have.
        let is_archive_open = self.is_archive_sent && (failure.exit == 3 || failure.exit >= INTERRUPTED);
        let is_certain = self.finishing.is_none() && !is_archive_open;
        let live = match self.live {
            KnownLive::Known(live) if is_certain => live.map_or(NOTHING_LIVE, |_| STILL_RUNNING),
            // An edge without an answer, or without knowledge of this token, is not asked again. If the edge forbids
            // the push, the token may still read.
            KnownLive::Unknown if is_certain && matches!(failure.exit, 3 | 4) && !failure.is(Code::Forbidden) => {
                STILL_RUNNING
            }
            KnownLive::Unknown | KnownLive::Known(_) => match self.ask_what_is_live().await {
                Some(Some(version)) if self.finishing == Some(version) && self.args.gate.watch_s().is_some() => {
                    return format!("{} is live; the edge goes on watching it, and may go back.", version.short());
                }
                Some(Some(version)) if self.finishing == Some(version) => {
                    return format!("The edge has finished it all the same: {} is live.", version.short());
                }
                Some(Some(version)) if is_archive_open && self.live != KnownLive::Known(Some(version)) => {
                    return format!("{} is live.", version.short());
                }
                Some(None) => NOTHING_LIVE,
                None if !is_certain => return last_line::not_known(&self.context.again()),
                Some(Some(_)) | None => STILL_RUNNING,
            },
        };
        live.to_owned()
    }

    /// Returns the hint about an interrupted push that the edge has accepted: the edge goes on without this program, so
    /// that the current live version does not tell the next one.
    fn goes_on(&self, failure: &Failure) -> Option<String> {
        if failure.exit < INTERRUPTED || self.args.stores_only() {
            return None;
        }
        match self.finishing {
            // Only the edge knows the id of the version made of one half.
            Some(_) if self.args.half.only.is_some() => Some(last_line::goes_on("the push")),
            Some(version) => Some(last_line::goes_on(&version.short())),
            None => self.is_archive_sent.then(|| MAY_GO_ON.to_owned()),
        }
    }

    fn hint_of_interruption(&self, failure: &Failure) -> Option<String> {
        let goes_on = self.goes_on(failure)?;
        if self.args.alias.is_some() {
            return Some(format!("{goes_on}: {} says where the alias points", self.alias_list()));
        }
        let again = self.context.again().0;
        let status = format!("`devanture status{again}` shows what is live");
        // Before the first version there is no rollback.
        Some(match self.live {
            KnownLive::Known(None) => format!("{goes_on}: {status}"),
            KnownLive::Known(Some(_)) | KnownLive::Unknown => {
                format!("{goes_on}: {status}, and `devanture rollback{again}` undoes it")
            }
        })
    }

    /// Returns the last sentence of a push that failed before its first request: the live version is reported only if
    /// the edge can be asked now.
    async fn last_sentence_without_edge(&self, failure: &Failure) -> String {
        // The settings do not allow a request to the edge.
        if matches!(failure.exit, 3 | 4) || failure.is(Code::UntrustedSource) || self.args.dry_run {
            return NOTHING_SENT.to_owned();
        }
        match self.ask_what_is_live().await {
            Some(Some(_)) => STILL_RUNNING.to_owned(),
            Some(None) => NOTHING_LIVE.to_owned(),
            None => NOTHING_SENT.to_owned(),
        }
    }

    /// Returns the live version, if the edge can be reached and answers soon. A second interruption ends the wait.
    async fn ask_what_is_live(&self) -> Option<Option<VersionId>> {
        let (edge, place) = (self.context.edge().ok()?, self.context.place().ok()?);
        until_signal(self.live_in(&edge, &place)).await.flatten()
    }

    /// The same, of an environment.
    pub(super) async fn live_in(&self, edge: &Edge, place: &PlaceName) -> Option<Option<VersionId>> {
        match edge.status_within(place, LAST_QUESTION_TIME_MAX).await {
            Ok(status) => Some(status.version),
            // Neither the app nor the environment is there before the first push.
            Err(failure) if failure.is(Code::NotFound) => Some(None),
            Err(_) => None,
        }
    }
}
