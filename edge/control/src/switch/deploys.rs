//! Latest deploys in memory, with their steps as they happen.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use devanture_base::clock;
use devanture_config::api::{
    DeployEntry, DeployEvent, DeployKind, DeployProblem, DeployReport, DeployState, DeployStatus, Source, Step,
    StepState,
};
use devanture_config::problem::Code;
use devanture_config::{AppName, PlaceName, VersionId};
use devanture_store::catalog::Revision;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use crate::ledger::{Actor, Error, MORE_LINES};

/// Remembered deploys, exceeded only by running deploys, whose tasks take more memory.
const REMEMBERED_MAX: usize = 1_000;
/// Hexadecimal digits at the end of a push id, after the time: the node's tag and two random digits.
const TAIL_DIGITS: usize = 8;
/// Latest deploys.
pub(crate) struct Deploys {
    remembered: Mutex<Remembered>,
    /// Notifies of changed deploys.
    changed: watch::Sender<()>,
}

impl Default for Deploys {
    fn default() -> Self {
        Self { remembered: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

/// Remembered deploy.
struct RememberedDeploy {
    status: DeployStatus,
    by: Origin,
    /// Revision of the catalog at its beginning.
    revision: Revision,
    ended_ms: Option<u64>,
}

/// Author of a deploy, with the author's message and reason.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    who: String,
    source: Source,
    reason: Option<String>,
}

impl Origin {
    pub(crate) fn of(actor: &Actor, source: &Source, reason: Option<&str>) -> Self {
        Self { who: actor.name.clone(), source: source.clone(), reason: reason.map(str::to_owned) }
    }

    /// Returns the list entry of a deploy by the author.
    pub(crate) fn entry(&self, deploy: &str, state: DeployState, version: Option<VersionId>) -> DeployEntry {
        DeployEntry {
            deploy: deploy.to_owned(),
            kind: DeployKind::Push,
            state,
            version,
            started_ms: started_ms(deploy),
            ended_ms: None,
            who: self.who.clone(),
            commit: self.source.commit.clone(),
            message: self.source.message.clone(),
            reason: self.reason.clone(),
            step: None,
            steps: Vec::new(),
            error: None,
        }
    }
}

#[derive(Default)]
struct Remembered {
    by_id: HashMap<String, RememberedDeploy>,
    /// Oldest first.
    order: VecDeque<String>,
}

impl Remembered {
    /// Forgets the oldest ended deploy of the app with the most ended deploys, so that no app displaces the deploys of
    /// another. Returns false if all deploys are running.
    fn forget_one(&mut self) -> bool {
        let mut counts: HashMap<&AppName, usize> = HashMap::new();
        for kept in self.by_id.values().filter(|kept| !kept.is_running()) {
            *counts.entry(&kept.status.app).or_default() += 1;
        }
        let most = counts.values().max();
        let may_go = |kept: &RememberedDeploy| !kept.is_running() && counts.get(&kept.status.app) == most;
        let oldest = self.order.iter().position(|id| self.by_id.get(id).is_some_and(may_go));
        let forgotten = oldest.and_then(|oldest| self.order.remove(oldest));
        forgotten.is_some_and(|id| self.by_id.remove(&id).is_some())
    }
}

/// Deploy as seen by its running task.
#[derive(Clone)]
pub(crate) struct Watched {
    deploys: Arc<Deploys>,
    id: String,
}

impl Deploys {
    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock()
    }

    /// Remembers a deploy before its steps; `revision` is the catalog's at its beginning.
    pub(crate) fn open(
        self: &Arc<Self>,
        id: &str,
        app: &AppName,
        environment: &PlaceName,
        (version, by): (Option<VersionId>, Origin),
        revision: Revision,
    ) -> Watched {
        let status = DeployStatus {
            deploy: id.to_owned(),
            app: app.clone(),
            environment: environment.clone(),
            state: DeployState::Running,
            version,
            steps: Vec::new(),
            report: None,
            problem: None,
        };
        let mut remembered = self.remembered();
        let kept = RememberedDeploy { status, by, revision, ended_ms: None };
        if remembered.by_id.insert(id.to_owned(), kept).is_none() {
            remembered.order.push_back(id.to_owned());
        }
        while remembered.order.len() > REMEMBERED_MAX && remembered.forget_one() {}
        drop(remembered);
        self.changed.send_replace(());
        Watched { deploys: Arc::clone(self), id: id.to_owned() }
    }

    /// Returns a receiver of change notifications.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Returns the running and failed deploys of an environment outside the history. A failed deploy with a version is
    /// in the history if its app exists, which a first push creates only at its end.
    pub(crate) fn without_history(&self, app: &AppName, environment: &PlaceName) -> Vec<DeployEntry> {
        let remembered = self.remembered();
        let of_place = |kept: &&RememberedDeploy| kept.status.app == *app && kept.status.environment == *environment;
        let is_missing =
            |kept: &&RememberedDeploy| matches!(kept.status.state, DeployState::Running | DeployState::Failed);
        remembered.by_id.values().filter(of_place).filter(is_missing).map(RememberedDeploy::entry).collect()
    }

    /// Forgets the app's deploys begun before a revision: the next app of the same name has a new owner.
    pub(crate) fn forget_before(&self, app: &AppName, revision: Revision) {
        self.retain(|kept| kept.status.app != *app || kept.revision >= revision);
    }

    /// Forgets all ended deploys of every app.
    pub(crate) fn forget_ended(&self) {
        self.retain(|kept| matches!(kept.status.state, DeployState::Begun | DeployState::Running));
    }

    fn retain(&self, stays: impl Fn(&RememberedDeploy) -> bool) {
        let mut remembered = self.remembered();
        let Remembered { by_id, order } = &mut *remembered;
        by_id.retain(|_, kept| stays(kept));
        order.retain(|id| by_id.contains_key(id));
        drop(remembered);
        self.changed.send_replace(());
    }

    /// Returns the running deploys.
    pub(crate) fn running(&self) -> Vec<DeployStatus> {
        let remembered = self.remembered();
        let running = remembered.by_id.values().filter(|kept| kept.is_running());
        running.map(|kept| kept.status.clone()).collect()
    }

    pub(crate) fn find(&self, app: &AppName, id: &str) -> Option<DeployStatus> {
        self.remembered().by_id.get(id).map(|kept| &kept.status).filter(|status| status.app == *app).cloned()
    }
}

impl RememberedDeploy {
    fn is_running(&self) -> bool {
        self.status.state == DeployState::Running
    }

    fn entry(&self) -> DeployEntry {
        let DeployStatus { deploy, state, version, steps, problem, .. } = &self.status;
        let under_way = steps.last().filter(|step| step.state == StepState::Started);
        let error =
            problem.as_ref().map(|problem| DeployProblem { code: problem.code, detail: problem.detail.clone() });
        DeployEntry {
            ended_ms: self.ended_ms,
            step: under_way.map(|step| step.name.clone()),
            steps: steps.clone(),
            error,
            ..self.by.entry(deploy, *state, *version)
        }
    }
}

impl Watched {
    fn change(&self, change: impl FnOnce(&mut DeployStatus)) {
        if let Some(kept) = self.deploys.remembered().by_id.get_mut(&self.id) {
            change(&mut kept.status);
            if !kept.is_running() {
                kept.ended_ms = Some(clock::now_ms());
            }
        }
        self.deploys.changed.send_replace(());
    }

    /// Records the start or end of a step.
    pub(crate) fn step(&self, step: &Step) {
        self.change(|status| match status.steps.last_mut() {
            Some(last) if last.name == step.name && last.state == StepState::Started => *last = step.clone(),
            _ => status.steps.push(step.clone()),
        });
    }

    /// Records the version.
    pub(crate) fn version_is(&self, version: VersionId) {
        self.change(|status| status.version = Some(version));
    }

    /// Records the outcome.
    pub(crate) fn ended(&self, result: &Result<DeployReport, Error>) {
        self.change(|status| match result {
            Ok(report) => {
                // A version that was already live also counts as live.
                let is_live = report.switched || report.previous == Some(report.version);
                status.state = if is_live { DeployState::Live } else { DeployState::Stored };
                status.version = Some(report.version);
                status.report = Some(Box::new(report.clone()));
            }
            Err(error) if error.0.code == Code::BlobMissing => status.state = DeployState::Begun,
            Err(error) => {
                let superseded = error.0.code == Code::Superseded;
                status.state = if superseded { DeployState::Superseded } else { DeployState::Failed };
                status.problem = Some(error.0.clone());
            }
        });
    }
}

/// Returns the start of a deploy from its id, in milliseconds since 1970 UTC; 0 for an id without a time.
pub(crate) fn started_ms(id: &str) -> u64 {
    begun_of(id).map_or(0, |microseconds| microseconds / 1_000)
}

/// Returns the start of a deploy from its id.
pub(crate) fn begun_of(id: &str) -> Option<u64> {
    let is_hex = id.len() <= 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    // The number of microseconds has 13 digits until the year 2112.
    let digits = if id.len() > 13 { id.len().saturating_sub(TAIL_DIGITS) } else { id.len() };
    is_hex.then(|| u64::from_str_radix(id.get(..digits)?, 16).ok()).flatten()
}

// Steps of a deploy: reported as they happen, and kept for its record.

/// Most recorded log lines of a deploy …
const LOG_LINES_MAX: usize = 100;
/// … and their length in characters.
const LOG_CHARACTERS_MAX: usize = 1_000;

/// Most lines reported by a running step: clients may be slow, and queued lines take memory.
const DETAIL_LINES_MAX: u64 = 1_000;

/// Channel for the events of a running deploy.
pub type EventSink = UnboundedSender<DeployEvent>;

/// Steps of a deploy, reported as they happen and kept for its record.
pub(crate) struct Steps {
    list: Vec<Step>,
    log: Vec<String>,
    sink: Option<EventSink>,
    watched: Option<Watched>,
}

/// Reports the progress of a running step.
pub(crate) struct StepReporter {
    name: &'static str,
    sink: Option<EventSink>,
    watched: Option<Watched>,
    begun: Instant,
    reported: AtomicU64,
}

impl StepReporter {
    /// Reports a line. Of a very verbose step only the first lines are reported, with a pointer to the rest.
    pub(crate) fn report(&self, detail: &str) {
        match self.reported.fetch_add(1, Ordering::Relaxed) {
            before if before < DETAIL_LINES_MAX => self.report_line(detail),
            DETAIL_LINES_MAX if self.name == "release" => {
                self.report_line("… and more: `devanture logs --source release`");
            }
            DETAIL_LINES_MAX => self.report_line("… and more"),
            _ => {}
        }
    }

    fn report_line(&self, detail: &str) {
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (name, detail) = (self.name.to_owned(), detail.to_owned());
        let step = Step { name, state: StepState::Started, detail, ms };
        if let Some(watched) = &self.watched {
            watched.step(&step);
        }
        if let Some(sink) = &self.sink {
            sink.send(DeployEvent::Step(step)).ok();
        }
    }
}

impl Steps {
    pub(crate) fn new(sink: Option<EventSink>) -> Self {
        Self { list: Vec::new(), log: Vec::new(), sink, watched: None }
    }

    /// Also reports the steps to clients that query the state of the deploy.
    pub(crate) fn watched(sink: Option<EventSink>, watched: Watched) -> Self {
        Self { watched: Some(watched), ..Self::new(sink) }
    }

    fn report(&self, step: &Step) {
        if let Some(watched) = &self.watched {
            watched.step(step);
        }
        if let Some(sink) = &self.sink {
            // The receiver may be gone; the deploy continues.
            sink.send(DeployEvent::Step(step.clone())).ok();
        }
    }

    /// Runs a step; `work` returns its result and a detail.
    pub(crate) async fn run<T>(
        &mut self,
        name: &str,
        work: impl Future<Output = Result<(T, String), Error>>,
    ) -> Result<T, Error> {
        self.run_since(name, Instant::now(), work).await
    }

    /// Runs a step that began earlier.
    pub(crate) async fn run_since<T>(
        &mut self,
        name: &str,
        begun: Instant,
        work: impl Future<Output = Result<(T, String), Error>>,
    ) -> Result<T, Error> {
        let mut step = Step { name: name.to_owned(), state: StepState::Started, detail: String::new(), ms: 0 };
        self.report(&step);
        let result = work.await;
        step.ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let result = match result {
            Ok((value, detail)) => {
                step.state = StepState::Done;
                step.detail = detail;
                Ok(value)
            }
            Err(error) => {
                step.state = StepState::Failed;
                step.detail = error.to_string();
                Err(error)
            }
        };
        self.report(&step);
        self.list.push(step);
        result
    }

    /// Returns a reporter for a running step.
    pub(crate) fn reporter(&self, name: &'static str) -> StepReporter {
        StepReporter {
            name,
            sink: self.sink.clone(),
            watched: self.watched.clone(),
            begun: Instant::now(),
            reported: AtomicU64::new(0),
        }
    }

    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        let step = Step { name: name.to_owned(), state: StepState::Skipped, detail: why.to_owned(), ms: 0 };
        self.report(&step);
        self.list.push(step);
    }

    /// Adds a line to the recorded log; the last line counts lines beyond the limit.
    pub(crate) fn log(&mut self, line: &str) {
        match self.log.len() {
            length if length < LOG_LINES_MAX => {
                let shown = |c: char| if c.is_control() { ' ' } else { c };
                self.log.push(line.chars().take(LOG_CHARACTERS_MAX).map(shown).collect());
            }
            LOG_LINES_MAX => self.log.push(MORE_LINES.to_owned()),
            _ => {}
        }
    }

    pub(crate) fn lines(&self) -> &[String] {
        &self.log
    }

    pub(crate) fn list(&self) -> &[Step] {
        &self.list
    }

    /// Returns true once the live pointer was moved.
    pub(crate) fn have_switched(&self) -> bool {
        self.list.iter().any(|step| step.name == "switch" && step.state == StepState::Done)
    }

    /// Returns true if a step before the switch failed, for example preparation, checks, or the watch of the first
    /// node. A lost race of the switch itself does not count.
    pub(crate) fn were_refused(&self) -> bool {
        let has_failed = |step: &Step| step.name != "switch" && step.state == StepState::Failed;
        !self.have_switched() && self.list.iter().any(has_failed)
    }

    pub(crate) fn version_is(&self, version: VersionId) {
        if let Some(watched) = &self.watched {
            watched.version_is(version);
        }
    }

    /// Sends the last event of a switch.
    pub(crate) fn last(&self, event: DeployEvent) {
        if let Some(sink) = &self.sink {
            sink.send(event).ok();
        }
    }

    /// Sends the outcome of the deploy.
    pub(crate) fn ended(&self, result: &Result<DeployReport, Error>) {
        if let Some(watched) = &self.watched {
            watched.ended(result);
        }
        if let Some(sink) = &self.sink {
            let last = match result {
                Ok(report) => DeployEvent::Done(Box::new(report.clone())),
                Err(error) => DeployEvent::Problem(error.0.clone()),
            };
            sink.send(last).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::problem::Problem;

    use super::*;

    #[test]
    fn a_deploy_that_failed_is_there_for_an_app_that_has_no_history() {
        let deploys = Arc::new(Deploys::default());
        let (shop, prod): (AppName, _) = ("shop".parse().unwrap(), PlaceName::prod());
        let failed = Err(Problem::new(Code::BlobMismatch, "It is damaged.").into());
        for (id, version) in [("1", None), ("2", Some(VersionId::of(b"")))] {
            deploys.open(id, &shop, &prod, (version, Origin::default()), 1).ended(&failed);
        }
        let mut found: Vec<_> = deploys.without_history(&shop, &prod).into_iter().map(|entry| entry.deploy).collect();
        found.sort();
        assert_eq!(found, ["1", "2"]);
    }

    /// Law 11.
    #[test]
    fn no_more_deploys_that_have_ended_are_remembered_than_the_latest() {
        let deploys = Arc::new(Deploys::default());
        let (shop, blog, prod): (AppName, AppName, _) =
            ("shop".parse().unwrap(), "blog".parse().unwrap(), PlaceName::prod());
        let missing = Err(Problem::new(Code::BlobMissing, "It was not sent.").into());
        for number in 0..=REMEMBERED_MAX {
            // A deploy reopened after a missing blob is the same deploy.
            for _ in 0..2 {
                deploys.open(&number.to_string(), &shop, &prod, (None, Origin::default()), 1).ended(&missing);
            }
        }
        assert!(deploys.find(&shop, "0").is_none() && deploys.find(&shop, "1").is_some());
        assert!(deploys.find(&blog, "1").is_none(), "it is another app's");
        let remembered = deploys.remembered();
        assert_eq!((remembered.by_id.len(), remembered.order.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        drop(remembered);
        assert!(deploys.without_history(&shop, &"staging".parse().unwrap()).is_empty());
    }

    /// A thousand running pushes of one app displaced those of other apps from the lists, and the edge ended without
    /// waiting for them.
    #[test]
    fn deploys_of_one_app_displace_neither_those_that_run_nor_those_of_another() {
        let deploys = Arc::new(Deploys::default());
        let (shop, blog): (AppName, AppName) = ("shop".parse().unwrap(), "blog".parse().unwrap());
        let prod = PlaceName::prod();
        let open = |id: &str, app| deploys.open(id, app, &prod, (None, Origin::default()), 1);
        let counts = || {
            let all = deploys.remembered().order.len();
            (all, deploys.running().len())
        };
        let failed = Err(Problem::new(Code::BadConfig, "It cannot be read.").into());
        open("failed", &blog).ended(&failed);
        let mut running = vec![open("runs", &blog)];
        for number in 0..2 * REMEMBERED_MAX {
            open(&format!("of-shop-{number}"), &shop).ended(&failed);
        }
        assert!(deploys.find(&blog, "failed").is_some() && deploys.find(&blog, "runs").is_some());
        assert_eq!(counts(), (REMEMBERED_MAX, 1));
        running.extend((0..REMEMBERED_MAX).map(|number| open(&format!("runs-{number}"), &shop)));
        assert_eq!(counts(), (running.len(), running.len()));
        running.iter().for_each(|watched| watched.ended(&failed));
        open("the next", &blog);
        assert_eq!(counts(), (REMEMBERED_MAX, 1));
    }

    #[test]
    fn a_step_that_ends_stands_in_the_place_of_its_beginning() {
        let deploys = Arc::new(Deploys::default());
        let (shop, prod): (AppName, _) = ("shop".parse().unwrap(), PlaceName::prod());
        let watched = deploys.open("1", &shop, &prod, (None, Origin::default()), 1);
        let step = |name: &str, state, detail: &str| {
            watched.step(&Step { name: name.to_owned(), state, detail: detail.to_owned(), ms: 1 });
        };
        let under_way = || deploys.without_history(&shop, &prod)[0].step.clone();
        step("verify", StepState::Started, "");
        assert_eq!(under_way().as_deref(), Some("verify"));
        step("verify", StepState::Done, "ok");
        assert_eq!(under_way(), None);
        step("switch", StepState::Started, "");
        step("switch", StepState::Done, "first");
        step("switch", StepState::Done, "again");
        watched.version_is(VersionId::of(b"one"));
        let found = deploys.find(&shop, "1").unwrap();
        let steps: Vec<_> = found.steps.iter().map(|step| (step.name.as_str(), step.detail.as_str())).collect();
        assert_eq!(steps, [("verify", "ok"), ("switch", "first"), ("switch", "again")]);
        assert_eq!((found.version, found.state), (Some(VersionId::of(b"one")), DeployState::Running));
        watched.ended(&Err(Problem::new(Code::BlobMissing, "It was not sent.").into()));
        let found = deploys.find(&shop, "1").unwrap();
        assert_eq!((found.state, found.problem), (DeployState::Begun, None), "it may be finished again");
        watched.ended(&Err(Problem::new(Code::Superseded, "Another one was quicker.").into()));
        assert_eq!(deploys.find(&shop, "1").unwrap().state, DeployState::Superseded);
    }

    /// Law 11.
    #[test]
    fn what_began_before_an_app_ended_is_forgotten_and_the_next_owners_deploys_stay() {
        let deploys = Arc::new(Deploys::default());
        let (shop, blog): (AppName, AppName) = ("shop".parse().unwrap(), "blog".parse().unwrap());
        let prod = PlaceName::prod();
        let open = |id: &str, app, revision| deploys.open(id, app, &prod, (None, Origin::default()), revision);
        let failed = Err(Problem::new(Code::BadConfig, "It cannot be read.").into());
        open("1", &shop, 5).ended(&failed);
        let running = open("2", &shop, 6);
        open("3", &shop, 7);
        open("4", &blog, 5).ended(&failed);
        // Commit 7 ended the app; the node sees the commit after the next owner has begun a deploy.
        deploys.forget_before(&shop, 7);
        let of = |app| deploys.without_history(app, &prod).into_iter().map(|entry| entry.deploy).collect::<Vec<_>>();
        assert_eq!((of(&shop), of(&blog)), (vec!["3".to_owned()], vec!["4".to_owned()]));
        running.ended(&failed);
        assert!(deploys.find(&shop, "2").is_none(), "it comes back by no later word");
        assert_eq!(deploys.remembered().order, ["3", "4"]);
        deploys.forget_ended();
        assert_eq!((of(&shop), of(&blog)), (vec!["3".to_owned()], vec![]));
    }

    #[tokio::test]
    async fn a_switch_that_failed_moved_nothing_and_what_fails_before_it_is_a_refusal() {
        let mut steps = Steps::new(None);
        let fails = async || Err::<((), String), Error>(Problem::new(Code::Internal, "no").into());
        steps.run("switch", fails()).await.unwrap_err();
        assert!(!steps.have_switched() && !steps.were_refused());
        steps.run("smoke", fails()).await.unwrap_err();
        assert!(!steps.have_switched() && steps.were_refused());
        steps.run("switch", async { Ok(((), "moved".to_owned())) }).await.unwrap();
        assert!(steps.have_switched() && !steps.were_refused());
        let states = steps.list().iter().map(|step| step.state);
        assert_eq!(states.collect::<Vec<_>>(), [StepState::Failed, StepState::Failed, StepState::Done]);
    }

    /// The log is shown in terminals.
    #[test]
    fn the_log_has_an_end_and_no_control_characters() {
        let mut steps = Steps::new(None);
        for _ in 0..LOG_LINES_MAX + 9 {
            steps.log(&format!("\u{1b}[2J{}", "x".repeat(LOG_CHARACTERS_MAX)));
        }
        let (last, lines) = steps.lines().split_last().unwrap();
        assert_eq!((last.as_str(), lines.len()), (MORE_LINES, LOG_LINES_MAX));
        let line = format!(" [2J{}", "x".repeat(LOG_CHARACTERS_MAX - 4));
        assert!(lines.iter().all(|one| *one == line), "{lines:?}");
    }
}
