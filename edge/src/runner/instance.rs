//! The life of one instance: it is started, asked whether it is well, drained, ended; and started again when it ends by
//! itself, ever more rarely.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::api::InstanceState;
use devanture_config::site_toml::{ListenOn, Server};
use metrics::{counter, histogram};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::backoff::Backoff;
use super::environment::{self, EdgeVariables};
use super::error::Error;
use super::group::{Group, SetUp};
use super::health::{Answer, Question};
use super::instance_handle::Slot;
use super::logs::{Line, LineStream, PlaceLog, Splitter};
use super::shared::{Shared, ms};
use crate::blobs::durable;
use crate::proxy::address::Endpoint;
use crate::spawner::{Exit, Happened, InstanceLimits, Launch, Running, Stream, Temporary};
use crate::telemetry;

/// Between two looks at what is under way to an instance that drains; the first one comes after a request that had
/// chosen it already has begun.
const DRAIN_LOOK: Duration = Duration::from_millis(50);
/// Longest wait for the end of a killed instance before it is left to the spawner.
const KILLED_WAIT: Duration = Duration::from_secs(15);

/// Longest time that an instance is held back for lines that the disk does not take; then the files lack them.
const LINES_WAIT_MAX: Duration = Duration::from_millis(50);

/// The end of an instance's process.
struct Ended {
    exit: Exit,
    /// Why the edge ended it, where it did by itself.
    because: Option<String>,
    /// The time since which it was healthy.
    healthy: Option<Instant>,
    /// It was not healthy in time.
    is_late: bool,
}

/// Runs an instance until it is stopped.
pub(super) async fn keep(shared: Arc<Shared>, group: Arc<Group>, set_up: Arc<SetUp>, slot: Arc<Slot>) {
    let limits = &shared.limits;
    let mut backoff = Backoff::new(ms(limits.instance_restart_ms_min), ms(limits.instance_restart_ms_max));
    let log = shared.logs.of(&group.id.app, &group.id.place).await;
    while slot.is_wanted() {
        if let Err(error) = shared.may_begin(&group) {
            // Those who wait for it need not.
            slot.is(InstanceState::Waiting, Some(error.to_string()));
            slot.seen().failed = Some(error);
            group.notify();
            shared.publish(&group.id);
            tokio::select! {
                () = tokio::time::sleep(ms(limits.instance_restart_ms_max)) => {}
                () = slot.kick.notified() => {}
                () = slot.stop.cancelled() => {}
            }
            continue;
        }
        slot.is(InstanceState::Starting, None);
        group.notify();
        shared.publish(&group.id);
        let life = Life::new(&shared, &group, &set_up, &slot, &log);
        let ended = match life.place() {
            Ok(place) => {
                let temporary = place.temporary.clone();
                let ended = life.run(place).await;
                shared.remove_temporary(&temporary, set_up.user.uid()).await;
                ended
            }
            Err(error) => Ended::unborn(error.to_string()),
        };
        shared.publish(&group.id);
        if !slot.is_wanted() {
            break;
        }
        if let Err(error) = shared.may_begin(&group) {
            life.note(format!("{} is not started again for now: {error}", slot.name)).await;
            continue;
        }
        let wait = backoff.ended(ended.healthy.map(|since| since.elapsed()));
        let reason = ended.because.clone().unwrap_or_else(|| ended.exit.to_string());
        let is_missing = matches!(ended.exit, Exit::Missing(_) | Exit::NotExecutable(_));
        let failed = failure(&shared, &group, &slot, &ended, &reason, backoff.ends);
        let is_looping = is_missing || backoff.ends >= limits.instance_crashes_max;
        // A folder that never changes holds no command that comes later; one of the system may.
        let wait = if is_missing { ms(limits.instance_restart_ms_max) } else { wait };
        {
            let mut seen = slot.seen();
            seen.restarts = seen.restarts.saturating_add(1);
            if failed.is_some() {
                seen.failed = failed;
            }
        }
        slot.is(if is_looping { InstanceState::CrashLoop } else { InstanceState::Waiting }, Some(reason.clone()));
        group.notify();
        shared.publish(&group.id);
        counter!("devanture_instance_restarts_total", "app" => group.id.app.to_string(), "environment" => group.id.place.clone(),
            "process" => slot.process.name.to_string())
        .increment(1);
        let (environment, instance) = (&group.id.place, &slot.name);
        tracing::warn!(app = %group.id.app, environment, instance, reason, "an instance ended, and is started again");
        life.note(format!("{} {reason}; it is started again in {} ms", slot.name, wait.as_millis())).await;
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = slot.kick.notified() => backoff.reset(),
            () = slot.stop.cancelled() => {}
        }
    }
    slot.seen().is_over = true;
    group.remove(&slot);
    group.notify();
    shared.publish(&group.id);
}

/// Sends the result to those who wait for the instance.
fn failure(shared: &Shared, group: &Group, slot: &Slot, ended: &Ended, reason: &str, times: u64) -> Option<Error> {
    let (instance, lines) = (slot.name.clone(), slot.lines());
    let reason = reason.to_owned();
    if matches!(ended.exit, Exit::Missing(_) | Exit::NotExecutable(_) | Exit::CannotStart(_)) {
        return Some(Error::Missing { instance, reason, lines });
    }
    if ended.is_late {
        return Some(Error::NotHealthy { instance, after_ms: shared.start_ms(&group.managed.server), reason, lines });
    }
    // One that becomes healthy and ends soon after, again and again, would be waited for without an end.
    let is_loop = times >= shared.limits.instance_crashes_max;
    let was_healthy = slot.seen().healthy_ms.is_some();
    let when = if was_healthy { "without staying healthy" } else { "before it was healthy" };
    is_loop.then_some(Error::CrashLoop { instance, times, when, reason, lines })
}

impl Ended {
    fn unborn(why: String) -> Self {
        Self { exit: Exit::CannotStart(why), because: None, healthy: None, is_late: false }
    }
}

/// Where an instance listens, the folder that is made for its socket, and where its temporary files go.
struct Place {
    endpoint: Option<Endpoint>,
    folder: Option<PathBuf>,
    temporary: Temporary,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(folder) = self.folder.take() {
            // There may be anything in it. What stays is removed at the next start.
            drop(tokio::task::spawn_blocking(move || durable::remove_folder(&folder)));
        }
    }
}

/// The phase of an instance.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Starting,
    Up,
    /// Deadline of requests in flight.
    Draining(Instant),
    /// SIGTERM was sent; when SIGKILL is.
    Terminating(Instant),
    /// SIGKILL was sent; deadline of the wait.
    Killed(Instant),
}

/// Asking goes on until this is dropped.
struct Asking(AbortHandle);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One process of an instance, from its start to its end.
struct Life<'l> {
    shared: &'l Shared,
    group: &'l Group,
    set_up: &'l SetUp,
    slot: &'l Slot,
    log: &'l PlaceLog,
    server: &'l Server,
}

/// State that changes while it runs.
struct Now {
    phase: Phase,
    begun: Instant,
    healthy: Option<Instant>,
    /// Bad answers in a row.
    bad: u64,
    because: Option<String>,
    is_late: bool,
    /// When it is looked at what is under way.
    look: Instant,
}

fn kill(now: &mut Now, running: &Running) {
    running.signaller().kill();
    now.phase = Phase::Killed(Instant::now() + KILLED_WAIT);
}

impl<'l> Life<'l> {
    fn new(shared: &'l Shared, group: &'l Group, set_up: &'l SetUp, slot: &'l Slot, log: &'l PlaceLog) -> Self {
        Self { shared, group, set_up, slot, log, server: &group.managed.server }
    }

    /// Finds where it will listen.
    fn place(&self) -> Result<Place, Error> {
        let temporary = Shared::temporary(&self.set_up.temporary);
        if !self.slot.is_web() {
            return Ok(Place { endpoint: None, folder: None, temporary });
        }
        match self.server.listen {
            ListenOn::Port => {
                let port =
                    self.shared.ports.free().map_err(|error| Error::Spawn(format!("no port is free: {error}")))?;
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                Ok(Place { endpoint: Some(Endpoint::Tcp(address)), folder: None, temporary })
            }
            ListenOn::Socket => {
                let (folder, socket) = self.shared.folders.socket(self.set_up.user.uid())?;
                Ok(Place { endpoint: Some(Endpoint::Socket(socket)), folder: Some(folder), temporary })
            }
        }
    }

    async fn launch(&self, place: &Place) -> Result<Running, String> {
        let edge = EdgeVariables {
            app: self.group.id.app.as_str(),
            place: &self.group.id.place,
            version: &self.group.version,
            instance: &self.slot.name,
            node: &self.shared.settings.node,
            data: self.set_up.data.as_deref(),
            listen: place.endpoint.as_ref(),
            path: &self.shared.settings.path,
            temporary: &self.set_up.temporary,
        };
        let launch = Launch {
            id: format!("{}/{}/{}#{}", self.group.id.app, self.group.id.place, self.slot.name, self.slot.serial),
            command: environment::command(&self.slot.process.command, place.endpoint.as_ref()),
            folder: self.set_up.code.path.clone(),
            environment: environment::variables(&self.set_up.variables, &edge),
            uid: self.set_up.user.uid(),
            limits: self.shared.instance_limits(self.server),
            temporary: Some(place.temporary.clone()),
            keep: self.set_up.data.iter().chain(&place.folder).cloned().collect(),
        };
        self.shared.spawner.launch(launch).await.map_err(|error| error.to_string())
    }

    async fn run(&self, place: Place) -> Ended {
        let begun = Instant::now();
        let mut running = match self.launch(&place).await {
            Ok(running) => running,
            Err(why) => return Ended::unborn(why),
        };
        {
            let mut seen = self.slot.seen();
            (seen.pid, seen.endpoint, seen.uid) = (Some(running.pid), place.endpoint.clone(), self.set_up.user.uid());
            seen.monitor = Some(running.monitor());
        }
        let question = Question {
            endpoint: place.endpoint.clone(),
            path: self.server.health.clone(),
            uid: self.set_up.user.uid(),
            interval: ms(self.shared.limits.instance_health_ms),
        };
        let (sender, mut answers) = mpsc::channel(1);
        let _asking = Asking(tokio::spawn(question.ask_on(sender)).abort_handle());
        let mut out = Splitter::new(self.log.line_bytes_max);
        let mut err = Splitter::new(self.log.line_bytes_max);
        let mut now =
            Now { phase: Phase::Starting, begun, healthy: None, bad: 0, because: None, is_late: false, look: begun };
        let exit = loop {
            let is_up = matches!(now.phase, Phase::Starting | Phase::Up);
            tokio::select! {
                happened = running.next() => match happened {
                    Some(Happened::Output { stream, bytes }) => {
                        let (splitter, stream) = match stream {
                            Stream::Stdout => (&mut out, LineStream::Stdout),
                            Stream::Stderr => (&mut err, LineStream::Stderr),
                        };
                        // Of all of them together: what is to be done with the instance waits for no disk.
                        let until = Instant::now() + LINES_WAIT_MAX;
                        for line in splitter.take(&bytes) {
                            self.line(stream, line, until).await;
                        }
                    }
                    Some(Happened::Exited(exit)) => break exit,
                    None => break Exit::Lost,
                },
                Some(answer) = answers.recv(), if is_up => self.answered(&mut now, answer, &running),
                () = self.slot.over_quota.notified(), if !matches!(now.phase, Phase::Killed(_)) => {
                    now.because = self.shared.may_begin(self.group).err().map(|error| error.to_string());
                    kill(&mut now, &running);
                }
                () = self.slot.stop.cancelled(), if is_up => self.drain(&mut now),
                () = self.slot.kill.cancelled(), if matches!(now.phase, Phase::Draining(_) | Phase::Terminating(_)) => {
                    kill(&mut now, &running);
                }
                () = sleep_until(self.next_look(&now)) => {
                    if !self.look(&mut now, &running, place.endpoint.as_ref()) {
                        break Exit::Lost;
                    }
                }
            }
        };
        let until = Instant::now() + LINES_WAIT_MAX;
        for (splitter, stream) in [(&mut out, LineStream::Stdout), (&mut err, LineStream::Stderr)] {
            if let Some(line) = splitter.finish() {
                self.line(stream, line, until).await;
            }
        }
        {
            let mut seen = self.slot.seen();
            (seen.pid, seen.endpoint, seen.monitor) = (None, None, None);
        }
        Ended { exit, because: now.because, healthy: now.healthy, is_late: now.is_late }
    }

    /// When something is to be done although nothing happens.
    fn next_look(&self, now: &Now) -> Instant {
        match now.phase {
            Phase::Starting => now.begun + ms(self.shared.start_ms(self.server)),
            Phase::Up => Instant::now() + Duration::from_secs(3_600),
            Phase::Draining(_) => now.look,
            Phase::Terminating(until) | Phase::Killed(until) => until,
        }
    }

    /// Does it. Says whether the instance may still be there.
    fn look(&self, now: &mut Now, running: &Running, endpoint: Option<&Endpoint>) -> bool {
        match now.phase {
            Phase::Starting => {
                now.is_late = true;
                let last = self.slot.seen().detail.clone();
                now.because = Some(last.unwrap_or_else(|| "it gave no answer".to_owned()));
                self.terminate(now, running);
            }
            Phase::Up => {}
            Phase::Draining(until) => {
                let is_busy = endpoint.is_some()
                    && self.slot.is_web()
                    && self.shared.registry.run_in_flight(&self.group.id, endpoint) > 0;
                // Where the edge ends, it has waited for all requests before.
                if is_busy && Instant::now() < until && !self.shared.stop.is_cancelled() {
                    now.look = (Instant::now() + DRAIN_LOOK).min(until);
                } else {
                    self.slot.seen().endpoint = None;
                    self.shared.publish(&self.group.id);
                    self.terminate(now, running);
                }
            }
            Phase::Terminating(_) => kill(now, running),
            Phase::Killed(_) => return false,
        }
        true
    }

    fn terminate(&self, now: &mut Now, running: &Running) {
        running.signaller().terminate();
        now.phase = Phase::Terminating(Instant::now() + self.shared.stop_time(self.server));
    }

    fn drain(&self, now: &mut Now) {
        // Nobody waits for the answers of one that was not healthy.
        let is_asked = now.healthy.is_some() && self.slot.is_web();
        let time = if is_asked { self.shared.drain_time(self.server) } else { Duration::ZERO };
        self.slot.is(InstanceState::Stopping, None);
        let begin = Instant::now();
        now.look = begin + if now.healthy.is_some() { DRAIN_LOOK } else { Duration::ZERO };
        now.phase = Phase::Draining(begin + time);
        self.group.notify();
        self.shared.publish(&self.group.id);
    }

    fn answered(&self, now: &mut Now, answer: Answer, running: &Running) {
        let after = self.shared.limits.instance_unhealthy_after;
        let is_foreign = answer.as_ref().is_err_and(|bad| bad.is_foreign);
        match (answer.map_err(|bad| bad.why), now.phase) {
            (Ok(()), Phase::Starting) => {
                let took = now.begun.elapsed();
                (now.phase, now.healthy) = (Phase::Up, Some(Instant::now()));
                self.slot.is(InstanceState::Healthy, None);
                {
                    let mut seen = self.slot.seen();
                    (seen.healthy_ms, seen.failed) = (Some(took.as_millis()), None);
                }
                histogram!(telemetry::INSTANCE_START, "app" => self.group.id.app.to_string())
                    .record(took.as_secs_f64());
            }
            (Ok(()), _) => {
                now.bad = 0;
                self.slot.is(InstanceState::Healthy, None);
            }
            (Err(why), Phase::Starting) => {
                self.slot.is(InstanceState::Starting, Some(why));
                return;
            }
            (Err(why), _) => {
                now.bad = now.bad.saturating_add(1);
                if now.bad >= after.saturating_mul(2) {
                    now.because = Some(format!("was not well {} times in a row: {why}", now.bad));
                    self.slot.is(InstanceState::Unhealthy, now.because.clone());
                    self.terminate(now, running);
                } else if is_foreign || now.bad >= after {
                    // What somebody else would get of its requests is not to be waited for.
                    self.slot.is(InstanceState::Unhealthy, Some(why));
                } else {
                    return;
                }
            }
        }
        self.group.notify();
        self.shared.publish(&self.group.id);
    }

    async fn line(&self, stream: LineStream, text: String, until: Instant) {
        self.slot.remember(&text);
        self.log.add_until(self.log_line(stream, text), until).await;
    }

    /// Writes a line of the edge's own.
    async fn note(&self, text: String) {
        self.log.add_until(self.log_line(LineStream::Edge, text), Instant::now() + LINES_WAIT_MAX).await;
    }

    fn log_line(&self, stream: LineStream, text: String) -> Line {
        let (at_ms, instance) = (telemetry::now_ms(), self.slot.name.clone());
        Line { at_ms, instance, version: self.group.version.short(), stream, text }
    }
}

impl Shared {
    /// Longest time of a start.
    pub(super) fn start_ms(&self, server: &Server) -> u64 {
        server.start_ms.min(self.limits.instance_start_ms_max)
    }

    /// Longest time for requests in flight once the instance is to end.
    pub(super) fn drain_time(&self, server: &Server) -> Duration {
        ms(server.drain_ms.min(self.limits.instance_drain_ms_max))
    }

    /// Longest time from SIGTERM to SIGKILL.
    fn stop_time(&self, server: &Server) -> Duration {
        ms(server.stop_ms.min(self.limits.instance_stop_ms_max))
    }

    /// Limits of an instance: those of its backend, where they are below those of the edge.
    pub(super) fn instance_limits(&self, server: &Server) -> InstanceLimits {
        let most = self.limits.instance_memory_bytes_max;
        let cpu_percent = match (server.cpu_percent, self.limits.instance_cpu_percent_max) {
            (Some(wanted), 0) => wanted,
            (Some(wanted), most) => wanted.min(most),
            (None, most) => most,
        };
        let memory_bytes = server.memory_bytes.map_or(most, |wanted| wanted.min(most));
        let persist = if server.persist.is_some() { self.limits.persist_bytes_max } else { 0 };
        // The kernel refuses what is larger than anything that the instance may have.
        let file_bytes = memory_bytes.max(self.limits.instance_tmp_bytes_max).max(persist);
        InstanceLimits {
            memory_bytes,
            processes: self.limits.instance_processes_max,
            app_tasks: self.limits.app_tasks_max,
            open_files: self.limits.instance_open_files_max,
            cpu_percent,
            file_bytes,
            temporary_bytes: self.limits.instance_tmp_bytes_max,
            temporary_files: self.limits.instance_tmp_files_max,
        }
    }
}
