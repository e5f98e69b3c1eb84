//! Instances of environments: number, start with settings, restart.

mod all_nodes;
mod idle_backends;
mod turns;
mod user_ids;

use std::collections::BTreeMap;
use std::sync::Arc;

use devanture_config::api::{InstanceList, ScaleRequest};
use devanture_config::manifest::Managed;
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::{Instances as Count, ProcessName};
use devanture_config::text::counted;
use devanture_config::{AppName, PlaceName, VersionId};

use crate::cluster::Nodes;
use crate::ledger::{Action, Actor, AuditEvent, Error, Ledger, update};
use crate::places::{FoundInLive, REMEMBERED_MAX};
use crate::runner::{self, BackendSpec, Runner};
use crate::signing::Signing;
use devanture_base::telemetry::Gauges;
use devanture_host::output::Logs;
use devanture_store::blobs::Blobs;
use devanture_store::catalog::{Change, Check, Commit};
use devanture_store::records::instances::{ScaleRecord, scale_key};
use devanture_store::records::{self, VersionRecord};

pub(crate) use idle_backends::IdleBackend;
pub(crate) use turns::{TriedRevisions, Turns};
pub use user_ids::give_user_ids_apart;

/// Instances of the environments, if the edge runs backends.
pub struct Instances {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) signing: Arc<Signing>,
    pub(crate) runner: Option<Runner>,
    pub(crate) turns: Turns,
    /// Name of this node.
    node: String,
    /// Other nodes of the cluster; `None` without a cluster.
    pub(crate) nodes: Option<Nodes>,
    /// Live backends that this edge does not run, as of the latest scan.
    idle: FoundInLive<IdleBackend>,
}

impl Instances {
    pub(crate) fn new(
        ledger: Arc<Ledger>,
        blobs: Arc<dyn Blobs>,
        signing: Arc<Signing>,
        runner: Option<Runner>,
        node: String,
        nodes: Option<Nodes>,
    ) -> Self {
        let (turns, idle) = (Turns::default(), FoundInLive::default());
        Self { ledger, blobs, signing, runner, turns, node, nodes, idle }
    }

    /// Returns the name of this node.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }
}

impl From<runner::Error> for Error {
    fn from(error: runner::Error) -> Self {
        let code = match &error {
            runner::Error::Off => Code::RunnerOff,
            runner::Error::Forbidden => Code::RunnerForbidden,
            runner::Error::CrashLoop { .. } => Code::CrashLoop,
            runner::Error::ReleaseFailed { .. } => Code::ReleaseFailed,
            runner::Error::TooMany { .. } | runner::Error::BeyondShare { .. } => Code::TooMany,
            runner::Error::Image { .. } => Code::ImageRefused,
            runner::Error::PersistFull { .. } => Code::PersistFull,
            runner::Error::Interpreter { .. } => Code::BadBundle,
            runner::Error::Restarting => Code::Restarting,
            runner::Error::NoData(_) => Code::NotFound,
            runner::Error::Data { code, .. } => *code,
            runner::Error::DataBusy | runner::Error::CommandRuns | runner::Error::DataReplaced => Code::Busy,
            runner::Error::NoTerminalLeft => Code::Busy,
            _ => Code::InstanceFailed,
        };
        let mut problem = Problem::new(code, error.to_string()).with_lines(error.lines().to_vec());
        let hint = match &error {
            // No process started, so there are no log lines.
            runner::Error::Missing { .. } => Some(
                "look at `command` below [server] in devanture.toml: a program in the folder, with its run bit, or one in the PATH of the edge",
            ),
            runner::Error::Interpreter { .. } => Some(
                "build with an interpreter that the edge has, or name this one below [runner.interpreters] in its edge.toml",
            ),
            runner::Error::NoData(_) => Some(
                "name a folder of the backend by `persist` below [server] in devanture.toml, and push: it stays from the first start on",
            ),
            runner::Error::Image { hint, .. } => hint.as_deref(),
            runner::Error::NoTerminalLeft => Some(
                "`devanture run --no-tty` does without one; the operator finds who has them, or raises `kernel.pty.max` by sysctl",
            ),
            _ => hint(code),
        };
        if let Some(hint) = hint {
            problem = problem.hint(hint);
        }
        problem.into()
    }
}

fn hint(code: Code) -> Option<&'static str> {
    match code {
        Code::RunnerOff => Some(runner::TURN_ON),
        Code::RunnerForbidden => Some(
            "use an `admin` token of every app, made without --app and --env; or run the edge as root or with `runner.spawner`, so that each environment has a user id of its own",
        ),
        Code::PersistFull => Some(
            "remove files of the folder that `persist` names, by `devanture run`, or snapshots, by `devanture data delete`; or raise the limits in edge.toml",
        ),
        Code::CrashLoop | Code::InstanceFailed => Some("`devanture logs --source all-instances` shows what it wrote"),
        _ => None,
    }
}

impl Instances {
    /// Checks that an actor may set the settings of instances. For instances with the edge's own user id, settings are
    /// as powerful as code.
    ///
    /// # Errors
    /// `runner_forbidden`.
    pub(crate) fn check_settings_actor(&self, actor: &Actor) -> Result<(), Error> {
        match &self.runner {
            Some(runner) => Ok(runner.check(actor.is_admin_of_all())?),
            None => Ok(()),
        }
    }

    pub(crate) fn check_instances(&self, count: u64) -> Result<(), Error> {
        let max = self.ledger.limits().instances_max;
        if count <= max {
            return Ok(());
        }
        let detail = format!("The backend would have {}; {max} are allowed.", counted(count, "instance"));
        Err(Problem::new(Code::TooMany, detail).hint("`instances_max` in edge.toml is the limit").into())
    }

    /// Returns the runner of backends, if configured.
    pub(crate) fn runner_if_any(&self) -> Option<&Runner> {
        self.runner.as_ref()
    }

    /// Returns the runner of backends.
    ///
    /// # Errors
    /// `runner_off`.
    pub(crate) fn runner(&self) -> Result<&Runner, Error> {
        self.runner.as_ref().ok_or_else(|| runner::Error::Off.into())
    }

    /// Returns the backend of a version with the configuration of `environment`.
    pub(crate) async fn managed_in(
        &self,
        (app, environment): (&AppName, &PlaceName),
        version: VersionId,
    ) -> Result<Option<Managed>, Error> {
        let manifest = self.ledger.manifest(&*self.blobs, app, version).await?;
        Ok(manifest.managed_in(&manifest.serving_for(environment.as_str())))
    }

    pub(crate) async fn wanted(
        &self,
        (app, environment): (&AppName, &PlaceName),
        version: VersionId,
        managed: Managed,
        settings: u64,
    ) -> Result<BackendSpec, Error> {
        let trusted = self.check_backend(app, &version).await?;
        self.give_uid(app, environment.as_str()).await?;
        let (app, place) = (app.clone(), environment.to_string());
        Ok(BackendSpec { app, place, version, managed: Arc::new(managed), settings, trusted })
    }

    /// Checks that the backend of a stored version may run here. Returns true if an admin of the whole edge pushed the
    /// version.
    ///
    /// # Errors
    /// `runner_off`, `runner_forbidden`.
    pub(crate) async fn check_backend(&self, app: &AppName, version: &VersionId) -> Result<bool, Error> {
        let key = records::version_key(app, version);
        let record = self.ledger.catalog.get(&key).await?;
        let record: Option<VersionRecord> = record.map(|record| records::read(&key, &record)).transpose()?;
        let trusted = record.is_some_and(|record| record.is_of_edge_admin());
        self.runner()?.check(trusted)?;
        Ok(trusted)
    }

    /// Returns the instances of an environment or alias on all responding nodes.
    ///
    /// # Errors
    /// `not_found`, `runner_off`.
    pub async fn instances(&self, app: &AppName, environment: &PlaceName) -> Result<InstanceList, Error> {
        self.ledger.must_exist(app).await?;
        let instances = self.instances_everywhere((app, environment)).await?.0;
        let scale = self.scale_of(app, environment).await?.0.processes;
        Ok(InstanceList { instances, scale, left_out: Vec::new() })
    }

    /// Returns the output of instances, and the name of this node.
    ///
    /// # Errors
    /// `runner_off`.
    pub fn instance_logs(&self) -> Result<(&Logs, &str), Error> {
        let runner = self.runner()?;
        Ok((runner.logs(), self.node()))
    }

    /// Adds metrics of the instances, if the edge runs backends.
    pub(crate) fn add_instance_metrics(&self, gauges: &mut Gauges) {
        if let Some(runner) = &self.runner {
            runner.add_metrics(gauges);
        }
    }

    async fn scale_of(&self, app: &AppName, environment: &PlaceName) -> Result<(ScaleRecord, Check), Error> {
        let key = scale_key(app, environment.as_str());
        Ok(match self.ledger.catalog.get(&key).await? {
            Some(record) => (records::read(&key, &record)?, Check::At(key, record.revision)),
            None => (ScaleRecord::default(), Check::Absent(key)),
        })
    }

    /// Sets the number of instances per process; returns once the change is complete. With `dry_run`, only reports the
    /// effect.
    ///
    /// # Errors
    /// `nothing_live`, `bad_request` for a process outside the live version, `too_many`; the failure of new instances,
    /// after which the previous count applies again.
    pub async fn scale(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        wanted: &ScaleRequest,
        dry_run: bool,
    ) -> Result<InstanceList, Error> {
        self.ledger.must_exist(app).await?;
        let managed = self.ledger.served(app, environment)?.managed.clone();
        let Some(managed) = managed else { return Err(no_backend(app, environment)) };
        let known: BTreeMap<&ProcessName, Count> =
            managed.server.processes.iter().map(|process| (&process.name, process.instances)).collect();
        if let Some(unknown) = wanted.processes.keys().find(|name| !known.contains_key(name)) {
            return Err(no_process(environment, unknown, known.keys().copied()));
        }
        update(&scale_key(app, environment.as_str()), || async {
            let (before, check) = self.scale_of(app, environment).await?;
            let mut after = before.clone();
            for (name, count) in &wanted.processes {
                match count {
                    Some(count) => drop(after.processes.insert(name.clone(), *count)),
                    None => drop(after.processes.remove(name)),
                }
            }
            // Versions can declare new process names again and again.
            if after.processes.len() > REMEMBERED_MAX {
                after.processes.retain(|name, _| known.contains_key(name));
            }
            let count = |name: &ProcessName, declared: Count| after.processes.get(name).copied().unwrap_or(declared);
            self.check_instances(
                known.iter().fold(0, |sum, (name, declared)| sum.saturating_add(count(name, *declared).alone())),
            )?;
            let lowers = |(name, declared): (&&ProcessName, &Count)| {
                let was = before.processes.get(*name).copied().unwrap_or(*declared);
                is_lowered(was, count(name, *declared))
            };
            let is_lowered = known.iter().any(lowers);
            if is_lowered {
                self.signing.check_unsigned(actor, (app, environment)).await?;
            }
            if dry_run || after == before {
                return Ok(Some(InstanceList { scale: after.processes, ..self.instances(app, environment).await? }));
            }
            if is_lowered {
                self.signing.log_unsigned(actor, (app, environment), "scale").await?;
            }
            if !self.commit_scale(actor, (app, environment), &after, check).await? {
                return Ok(None);
            }
            let left_out = match self.rescale_everywhere((app, environment)).await {
                Ok(left_out) => left_out,
                Err(error) => {
                    self.unscale(actor, (app, environment), &after, &before).await?;
                    return Err(error);
                }
            };
            Ok(Some(InstanceList { left_out, ..self.instances(app, environment).await? }))
        })
        .await
    }

    async fn commit_scale(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        scale: &ScaleRecord,
        check: Check,
    ) -> Result<bool, Error> {
        let key = scale_key(app, environment.as_str());
        let change = match scale.processes.is_empty() {
            true => Change::Delete(key),
            false => Change::Put(key, records::write(scale)?),
        };
        let commit = Commit { checks: vec![check], changes: vec![change] };
        let declared: Vec<String> = scale.processes.iter().map(|(name, count)| format!("{name}={count}")).collect();
        let event = AuditEvent::of(Action::Scale).place(app, environment).what(declared.join(" "));
        self.ledger.commit(actor, event, commit).await
    }

    /// Reverts a change of scale, unless a later change has been made.
    async fn unscale(
        &self,
        actor: &Actor,
        place: (&AppName, &PlaceName),
        wanted: &ScaleRecord,
        before: &ScaleRecord,
    ) -> Result<(), Error> {
        let (now, check) = self.scale_of(place.0, place.1).await?;
        if now == *wanted && self.commit_scale(actor, place, before, check).await? {
            self.rescale_everywhere(place).await?;
        }
        Ok(())
    }

    /// Restarts the instances of an environment in sequence, without losing requests.
    ///
    /// # Errors
    /// `nothing_live`, `bad_request` for an unknown process; the failure of a new instance, after which the old
    /// instances continue.
    pub async fn restart(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        process: Option<&ProcessName>,
        dry_run: bool,
    ) -> Result<InstanceList, Error> {
        self.ledger.must_exist(app).await?;
        let managed = self.ledger.served(app, environment)?.managed.clone();
        let Some(managed) = managed else { return Err(no_backend(app, environment)) };
        let known = || managed.server.processes.iter().map(|process| &process.name);
        if let Some(unknown) = process.filter(|name| !known().any(|known| known == *name)) {
            return Err(no_process(environment, unknown, known()));
        }
        let mut left_out = Vec::new();
        if !dry_run {
            let what = process.map_or("all", ProcessName::as_str);
            let event = AuditEvent::of(Action::Restart).place(app, environment).what(what);
            self.ledger.record(actor, event).await?;
            left_out = self.restart_everywhere((app, environment), process).await?;
        }
        Ok(InstanceList { left_out, ..self.instances(app, environment).await? })
    }
}

/// Returns true if the number of instances may be lower than before.
fn is_lowered(was: Count, now: Count) -> bool {
    match (was, now) {
        (Count::Count(was), Count::Count(now)) => now < was,
        (was, now) => was != now,
    }
}

fn no_process<'p>(
    environment: &PlaceName,
    unknown: &ProcessName,
    known: impl Iterator<Item = &'p ProcessName>,
) -> Error {
    let names: Vec<&str> = known.map(ProcessName::as_str).collect();
    let detail = format!("What is live in {environment} has no process `{unknown}`.");
    Problem::new(Code::BadRequest, detail).hint(format!("it has {}", names.join(", "))).into()
}

pub(crate) fn no_backend(app: &AppName, environment: &PlaceName) -> Error {
    let detail = format!("What is live in {environment} of {app} brings no backend.");
    Problem::new(Code::NothingLive, detail).hint("write [server] in devanture.toml, and push").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_instances_are_any_number_that_is_not_surely_as_many() {
        let all: Count = serde_json::from_str("\"all\"").unwrap();
        for (was, now, expected) in [
            (Count::Count(1), Count::Count(0), true),
            (Count::Count(1), Count::Count(1), false),
            (Count::Count(1), Count::Count(2), false),
            (all, all, false),
            (all, Count::Count(9), true),
            (Count::Count(9), all, true),
        ] {
            assert_eq!(is_lowered(was, now), expected, "{was:?} {now:?}");
        }
    }

    #[test]
    fn the_hint_about_a_program_that_is_missing_names_no_log() {
        let (instance, lines) = ("web.1".to_owned(), Vec::new());
        let reason = "there is no `nodee`, neither in its folder nor in its PATH".to_owned();
        let Error(problem) = runner::Error::Missing { instance: instance.clone(), reason, lines: lines.clone() }.into();
        assert_eq!(problem.code, Code::InstanceFailed);
        assert!(problem.hint.as_ref().is_some_and(|hint| hint.contains("`command` below [server]")), "{problem:?}");
        let reason = "nothing listens".to_owned();
        let Error(problem) = runner::Error::NotHealthy { instance, after_ms: 1, reason, lines }.into();
        assert!(problem.hint.as_ref().is_some_and(|hint| hint.contains("devanture logs")), "{problem:?}");
    }

    #[test]
    fn who_gets_no_terminal_learns_how_to_do_without() {
        let Error(problem) = runner::Error::NoTerminalLeft.into();
        assert_eq!(problem.code, Code::Busy);
        assert!(problem.detail.contains("no terminal left"), "{problem:?}");
        assert!(problem.hint.as_ref().is_some_and(|hint| hint.contains("--no-tty")), "{problem:?}");
    }
}
