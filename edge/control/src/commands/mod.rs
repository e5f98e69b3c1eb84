//! One-off commands in an environment: permissions, the version to run in, and the entries in the history and the audit
//! log.

use std::sync::Arc;

use devanture_config::api::{
    DeployKind, RUN_COMMAND_BYTES_MAX, RUN_WORDS_MAX, RunEnd, RunExit, RunPrediction, RunRequest, TERM_CHARACTERS_MAX,
};
use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;
use devanture_config::{AppName, PlaceName};
use tokio::sync::oneshot;

use crate::aliases::Aliases;
use crate::instances::{Instances, no_backend};
use crate::ledger::{Action, Actor, AuditEvent, Error, Ledger, nothing_live, update};
use crate::runner::{BackendSpec, EndedBy, FrameSender, FrameSource, Once};
use devanture_base::clock;
use devanture_base::fair::{Share, Shares};
use devanture_store::catalog::{Change, Check, Commit};
use devanture_store::records::follow::{Follow, FollowStep};
use devanture_store::records::table::FollowedBy;
use devanture_store::records::{self, LivePointer, gone};

/// Maximum number of environments named by a refusal.
const NAMES_MAX: usize = 10;

/// Authorized command, ready to start.
struct RunToBegin {
    wanted: BackendSpec,
    request: RunRequest,
    record: RunRecord,
    _share: Share,
}

/// Data of a command for the history and the audit log.
struct RunRecord {
    actor: Actor,
    app: AppName,
    environment: PlaceName,
    /// Live version at the start of the command.
    live: LivePointer,
    /// Program, and number of arguments.
    summary: String,
}

/// One-off commands.
pub struct Commands {
    ledger: Arc<Ledger>,
    instances: Arc<Instances>,
    aliases: Arc<Aliases>,
    /// Permits of running commands.
    runs: Arc<Shares>,
}

impl Commands {
    pub(crate) fn new(ledger: Arc<Ledger>, instances: Arc<Instances>, aliases: Arc<Aliases>) -> Self {
        let runs = Shares::new(ledger.limits().runs_max);
        Self { ledger, instances, aliases, runs }
    }
}

impl Commands {
    /// Predicts [`Self::run`] without running a command.
    ///
    /// # Errors
    /// As [`Self::run`], except for errors of starting the command.
    pub(crate) async fn predict_run(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        request: RunRequest,
    ) -> Result<RunPrediction, Error> {
        let (wanted, _) = self.wanted_run(actor, (app, environment), &request).await?;
        let time = self.instances.runner()?.once_time(request.timeout_ms);
        Ok(RunPrediction {
            dry_run: true,
            app: app.clone(),
            environment: environment.clone(),
            version: wanted.version,
            command: request.command,
            timeout_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Starts a command in the folder of the live version, with the live settings. The command runs to completion even
    /// if the caller is dropped; `ended_by` and a deletion of the environment end the command early. Returns once the
    /// command has started.
    ///
    /// # Errors
    /// `bad_request`, `nothing_live`, `runner_off`, `runner_forbidden`; `busy` if the app or the node is at the limit,
    /// or the machine has no terminal left; `persist_full`; `instance_failed` if the setup fails; the problem of
    /// `ended_by` if `ended_by` completes first.
    pub(crate) async fn run(
        self: &Arc<Self>,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        request: RunRequest,
        (from, to): (FrameSource, FrameSender),
        ended_by: EndedBy,
    ) -> Result<(), Error> {
        // The watch begins before the live version is read, so no deletion is missed.
        let deleted = self.deleted(app.clone(), environment.clone());
        let mut ended_by: EndedBy = Box::pin(async move {
            tokio::select! {
                problem = ended_by => problem,
                problem = deleted => problem,
            }
        });
        let (wanted, live) = self.wanted_run(actor, (app, environment), &request).await?;
        let share = self.runs.take_in(app, environment.as_str()).ok_or_else(|| {
            let max = self.ledger.limits().runs_max;
            let detail = format!(
                "{app} runs as many commands in {environment} as it may: half of the {max} of this node that are free."
            );
            Problem::new(Code::Busy, detail).hint("wait for one of them; `runs_max` in edge.toml is the limit")
        })?;
        let run = RunToBegin {
            wanted,
            record: RunRecord {
                actor: actor.clone(),
                app: app.clone(),
                environment: environment.clone(),
                live,
                summary: summary(&request),
            },
            request,
            _share: share,
        };
        let (begun, has_begun) = oneshot::channel();
        let commands = Arc::clone(self);
        // Spawned so that a recorded start always gets a recorded end, even if the caller is dropped.
        self.instances.runner()?.spawn_once(async move {
            let answer = match commands.begin_run(&run, &mut ended_by).await {
                Ok(once) => {
                    begun.send(Ok(())).ok();
                    return commands.carry_run(once, run, (from, to), ended_by).await;
                }
                Err(error) => Err(error),
            };
            begun.send(answer).ok();
        });
        has_begun.await.unwrap_or_else(|_gone| Err(crate::runner::Error::Ended.into()))
    }

    /// Records the start of a command and starts the command, unless `ended_by` completes first.
    async fn begin_run(&self, run: &RunToBegin, ended_by: &mut EndedBy) -> Result<Once, Error> {
        let RunToBegin { wanted, request, record, .. } = run;
        let RunRecord { actor, app, environment, summary, .. } = record;
        // Recorded before the start: a command without a record must not run.
        let event = AuditEvent::of(Action::Run).place(app, environment).what(summary);
        self.ledger.record(actor, event).await?;
        let begun = async {
            let begun = self.instances.runner()?.begin_once(wanted.clone(), request, ended_by).await?;
            begun.map_err(Error::from)
        };
        match begun.await {
            Ok(once) => Ok(once),
            Err(error) => {
                self.note_end(record, &format!("not started, {}", error.0.code.as_str())).await;
                Err(error)
            }
        }
    }

    /// Runs a command to completion, and records the end.
    async fn carry_run(&self, once: Once, run: RunToBegin, (from, to): (FrameSource, FrameSender), ended_by: EndedBy) {
        let RunToBegin { record, _share, .. } = run;
        let (end, _until_recorded) = once.serve(from, to, ended_by).await;
        self.note_end(&record, &end_text(&end)).await;
    }

    /// Returns the command to run, after the authorization, and the live version.
    async fn wanted_run(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        request: &RunRequest,
    ) -> Result<(BackendSpec, LivePointer), Error> {
        check(request)?;
        self.ledger.must_exist(app).await?;
        self.instances.runner()?;
        // A command is code: with a user id shared by all backends, only actors with the right to push code may run
        // commands.
        self.instances.check_settings_actor(actor)?;
        let pointer = self.ledger.live_pointer(app, environment).await?.map(|(_, pointer)| pointer);
        let Some(live) = pointer.filter(LivePointer::is_known) else {
            return Err(self.nothing_to_run_in(actor, app, environment).await?);
        };
        let Some(managed) = self.instances.managed_in((app, environment), live.version).await? else {
            return Err(no_backend(app, environment));
        };
        Ok((self.instances.wanted((app, environment), live.version, managed, live.settings).await?, live))
    }

    /// Returns the refusal of a command without a live version, with a list of environments that have a live version.
    async fn nothing_to_run_in(&self, actor: &Actor, app: &AppName, environment: &PlaceName) -> Result<Error, Error> {
        let problem = nothing_live(app, environment);
        let (places, _has_more) = self.aliases.all_places(actor, app).await?;
        let mut names = places.iter().filter(|place| !place.alias).map(|place| place.name.as_str()).peekable();
        if names.peek().is_none() {
            return Ok(problem.into());
        }
        let named: Vec<&str> = names.by_ref().take(NAMES_MAX).collect();
        let more = if names.peek().is_some() { ", …" } else { "" };
        Ok(problem.hint(format!("`--env` names an environment with a live version: {}{more}", named.join(", "))).into())
    }

    /// Records the end of a command in the history and in the audit log.
    async fn note_end(&self, run: &RunRecord, how: &str) {
        let RunRecord { actor, app, environment, summary, .. } = run;
        let what = format!("{summary}: {how}");
        let Err(Error(problem)) = self.record_end(run, &what).await else { return };
        tracing::warn!(%app, %environment, detail = problem.detail, "the end of a command is not in the history");
        // The audit log outlives the environment, and the deletion of the environment may have ended the command.
        let event = AuditEvent::of(Action::RunEnded).place(app, environment).what(what);
        if let Err(Error(problem)) = self.ledger.record(actor, event).await {
            tracing::warn!(%app, %environment, detail = problem.detail, "the end of a command is not in the audit log");
        }
    }

    /// # Errors
    /// `deleted` if the app or the environment was deleted; errors of the catalog.
    async fn record_end(&self, run: &RunRecord, what: &str) -> Result<(), Error> {
        let RunRecord { actor, app, environment, live, .. } = run;
        let place = (app, environment);
        update(&records::history_prefix(app, environment), || async {
            self.ledger.check_there(app, Some(environment)).await?;
            let (at_ms, message) = (clock::now_ms(), Some(what.to_owned()));
            let (key, entry) = self.ledger.note(actor, place, DeployKind::Run, live, at_ms, message).await?;
            let deleted = [gone::deleted_app_key(app), gone::deleted_environment_key(app, environment)];
            let absent = deleted.into_iter().chain([key.clone()]);
            let commit = Commit {
                checks: absent.map(Check::Absent).collect(),
                changes: vec![Change::Put(key, records::write(&entry)?)],
            };
            let event = AuditEvent::of(Action::RunEnded).place(app, environment).what(what);
            Ok(self.ledger.commit(actor, event, commit).await?.then_some(()))
        })
        .await
    }

    /// Waits until an environment is deleted.
    fn deleted(&self, app: AppName, environment: PlaceName) -> impl Future<Output = Problem> + Send + 'static {
        let mut follow = Follow::new(&*self.ledger.catalog, FollowedBy::Commands).begun();
        let keys = [gone::deleted_app_key(&app), gone::deleted_environment_key(&app, &environment)];
        let catalog = Arc::clone(&self.ledger.catalog);
        async move {
            while let Some(step) = follow.next().await {
                let is_deleted = match step {
                    FollowStep::Changes(commit) => {
                        commit.changes.iter().any(|change| change.value.is_some() && keys.contains(&change.key))
                    }
                    FollowStep::ReadAll => match catalog.get_all(&keys).await {
                        Ok(found) => found.iter().any(Option::is_some),
                        Err(error) => {
                            tracing::warn!(%app, %environment, %error, "whether it was deleted cannot be read");
                            follow.read_failed();
                            false
                        }
                    },
                };
                if is_deleted {
                    let detail = format!("{environment} of {app} was deleted, and the command was ended.");
                    return Problem::new(Code::RunEnded, detail);
                }
            }
            std::future::pending().await
        }
    }
}

/// Returns the text of a command for the audit log, without arguments: arguments contain passwords and similar secrets.
fn summary(request: &RunRequest) -> String {
    let program: String = request.command.first().map(String::as_str).unwrap_or_default().chars().take(100).collect();
    match request.command.len().saturating_sub(1) {
        0 => program,
        count => format!("{program} with {}", counted(count as u64, "argument")),
    }
}

fn end_text(end: &RunEnd) -> String {
    let how = match &end.exit {
        RunExit::Code(code) => format!("code {code}"),
        RunExit::Signal(signal) => format!("signal {signal}"),
        RunExit::Missing(_) => "no such program".to_owned(),
        RunExit::NotExecutable(_) => "may not be run".to_owned(),
        RunExit::Problem(problem) => problem.detail.clone(),
    };
    format!("{how}, after {} ms", end.ms)
}

/// # Errors
/// `bad_request` for a command that no process can be started with.
fn check(request: &RunRequest) -> Result<(), Error> {
    let refuse = |detail: String| Err(Problem::new(Code::BadRequest, detail).into());
    let (words, bytes) = (request.command.len(), request.command.iter().map(String::len).sum::<usize>());
    if request.command.first().is_none_or(String::is_empty) {
        return refuse("The command is empty.".to_owned());
    }
    if words > RUN_WORDS_MAX || bytes > RUN_COMMAND_BYTES_MAX {
        return refuse(format!(
            "The command has {words} words of {bytes} bytes; {RUN_WORDS_MAX} of {RUN_COMMAND_BYTES_MAX} are allowed."
        ));
    }
    if request.command.iter().any(|word| word.contains('\0')) {
        return refuse("The command holds a NUL character.".to_owned());
    }
    let is_term = |term: &String| term.len() <= TERM_CHARACTERS_MAX && term.bytes().all(|byte| byte.is_ascii_graphic());
    if !request.term.as_ref().is_none_or(is_term) {
        return refuse("`term` is the name of a terminal, such as xterm-256color.".to_owned());
    }
    if request.timeout_ms == Some(0) {
        return refuse("`timeout_ms` is a number of milliseconds from 1 on.".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(words: &[&str]) -> RunRequest {
        let command = words.iter().map(ToString::to_string).collect();
        RunRequest { command, terminal: None, term: None, timeout_ms: None }
    }

    #[test]
    fn the_audit_log_names_the_program_and_no_argument() {
        assert_eq!(summary(&request(&["./manage"])), "./manage");
        assert_eq!(summary(&request(&["mysql", "-psecret"])), "mysql with 1 argument");
        assert!(summary(&request(&["x".repeat(999).as_str()])).len() <= 100);
    }

    #[test]
    fn what_no_process_can_be_started_with_is_refused() {
        assert!(check(&request(&["sh", "-c", ""])).is_ok());
        for words in [&[][..], &[""], &["a\0b"], &["x".repeat(RUN_COMMAND_BYTES_MAX + 1).as_str()]] {
            assert!(check(&request(words)).is_err());
        }
        assert!(check(&request(&["x"; RUN_WORDS_MAX + 1])).is_err());
        let term = |term: &str| check(&RunRequest { term: Some(term.to_owned()), ..request(&["sh"]) });
        assert!(term("xterm-256color").is_ok() && term("a b").is_err() && term(&"x".repeat(65)).is_err());
    }
}
