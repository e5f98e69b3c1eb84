//! Life of one process of an instance: started or adopted, checked, drained, ended.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use devanture_config::api::InstanceState;
use devanture_config::site_toml::{ListenOn, Scripts, Server};
use devanture_config::text::counted;
use metrics::histogram;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::error::Error;
use super::group::{Group, SetUp};
use super::handover::handed::{HandedInstance, HandedPhase, Place};
use super::health::{Answer, CheckOutcome, Listener, Question};
use super::instance_handle::Slot;
use super::php;
use super::shared::{Shared, ms};
use devanture_base::clock;
use devanture_base::durable;
use devanture_base::telemetry;
use devanture_host::output::{Line, LineStream, PlaceLog, Splitter};
use devanture_host::spawner::{Exit, Happened, Running, Stream};
use devanture_serve::proxy::address::Endpoint;

/// Interval of checks for open requests of a draining instance; the first check waits for requests that have already
/// chosen the instance.
const DRAIN_LOOK: Duration = Duration::from_millis(50);
/// Longest wait for the end of a killed process before leaving it to the spawner.
const KILLED_WAIT: Duration = Duration::from_secs(15);

/// Longest delay of an instance by log lines that a slow disk does not accept; afterwards lines are dropped from the
/// files.
const LINES_WAIT_MAX: Duration = Duration::from_millis(50);

/// End of a process.
pub(super) struct Ended {
    pub(super) exit: Exit,
    /// Reason, if ended by the edge on its own.
    pub(super) because: Option<String>,
    /// Start of the healthy time.
    pub(super) healthy: Option<Instant>,
    /// True if not healthy in time.
    pub(super) is_late: bool,
    /// Reason for a failed launch, unless a fault of the command.
    pub(super) refused: Option<Error>,
}

impl Ended {
    fn unborn(why: String) -> Self {
        Self { exit: Exit::CannotStart(why), because: None, healthy: None, is_late: false, refused: None }
    }

    /// Creates the end of a process that was not launched.
    pub(super) fn refused(why: Error) -> Self {
        Self { refused: Some(why.clone()), ..Self::unborn(why.to_string()) }
    }
}

/// Process started by the predecessor edge.
pub(super) struct Adopted {
    pub(super) running: Running,
    pub(super) handed: HandedInstance,
}

/// Phase of an instance.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Starting,
    Up,
    /// Deadline of running requests.
    Draining(Instant),
    /// SIGTERM was sent; time of SIGKILL.
    Terminating(Instant),
    /// SIGKILL was sent; deadline of the wait.
    Killed(Instant),
}

/// Life of one process of an instance.
pub(super) struct Life<'l> {
    pub(super) shared: &'l Shared,
    pub(super) group: &'l Group,
    pub(super) slot: &'l Slot,
    log: &'l PlaceLog,
    pub(super) server: &'l Server,
}

/// Mutable state of a running process.
struct Now {
    phase: Phase,
    begun: Instant,
    healthy: Option<Instant>,
    /// Consecutive failed checks.
    bad: u64,
    because: Option<String>,
    is_late: bool,
    /// Time of the next check for open requests.
    look: Instant,
}

impl Now {
    fn starting() -> Self {
        let begun = Instant::now();
        Self { phase: Phase::Starting, begun, healthy: None, bad: 0, because: None, is_late: false, look: begun }
    }
}

/// Incomplete output lines.
struct Unended {
    stdout: Splitter,
    stderr: Splitter,
}

fn kill(now: &mut Now, running: &Running) {
    running.signaller().kill();
    now.phase = Phase::Killed(Instant::now() + KILLED_WAIT);
}

impl<'l> Life<'l> {
    pub(super) fn new(shared: &'l Shared, group: &'l Group, slot: &'l Slot, log: &'l PlaceLog) -> Self {
        Self { shared, group, slot, log, server: &group.managed.server }
    }

    /// Runs a new process to its end.
    pub(super) async fn begin(&self, set_up: &SetUp) -> Ended {
        let mut place = match self.place(set_up) {
            Ok(place) => place,
            Err(error) => return Ended::unborn(error.to_string()),
        };
        let _port = self.shared.take_port(&place);
        let ended = match self.launch(set_up, &mut place).await {
            Ok(running) => {
                let unended = Unended {
                    stdout: Splitter::new(self.log.line_bytes_max),
                    stderr: Splitter::new(self.log.line_bytes_max),
                };
                self.run(running, &place, Now::starting(), unended).await
            }
            Err(why) => Ended::unborn(why),
        };
        self.leave(place).await;
        ended
    }

    /// Runs an adopted process to its end.
    pub(super) async fn go_on(&self, Adopted { running, handed }: Adopted) -> Ended {
        let now = Instant::now();
        let before = |ago: u64| now.checked_sub(ms(ago)).unwrap_or(now);
        let phase = match handed.phase {
            HandedPhase::Starting => Phase::Starting,
            HandedPhase::Up => Phase::Up,
            HandedPhase::Draining => Phase::Draining(now + self.shared.drain_time(self.server)),
            HandedPhase::Terminating => Phase::Terminating(now + self.shared.stop_time(self.server)),
        };
        let (begun, healthy) = (before(handed.begun_ms), handed.well_ms.map(before));
        let now = Now { phase, begun, healthy, bad: handed.bad, because: None, is_late: false, look: now };
        let _port = self.shared.take_port(&handed.place);
        let [stdout, stderr] = handed.unended.map(|rest| Splitter::within(rest, self.log.line_bytes_max));
        let ended = self.run(running, &handed.place, now, Unended { stdout, stderr }).await;
        self.leave(handed.place).await;
        ended
    }

    /// Chooses the listening address.
    fn place(&self, set_up: &SetUp) -> Result<Place, Error> {
        let (temporary, uid) = (Shared::temporary(&set_up.temporary), set_up.user.uid());
        let nowhere = Place { endpoint: None, folder: None, temporary, uid, scripts: None, container: None };
        if !self.slot.is_web() {
            return Ok(nowhere);
        }
        match self.server.listen {
            ListenOn::Port => {
                let port =
                    self.shared.ports.free().map_err(|error| Error::Spawn(format!("no port is free: {error}")))?;
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                Ok(Place { endpoint: Some(Endpoint::Tcp(address)), ..nowhere })
            }
            ListenOn::Socket => {
                let (folder, socket) = self.shared.folders.socket(uid)?;
                let scripts = set_up.folder().and_then(|folder| php::scripts(self.server, folder));
                Ok(Place { endpoint: Some(Endpoint::Socket(socket)), folder: Some(folder), scripts, ..nowhere })
            }
        }
    }

    /// Removes the resources of a process.
    async fn leave(&self, place: Place) {
        if let Some(container) = &place.container {
            self.shared.remove_container(&container.name).await;
        }
        if let Some(folder) = place.folder {
            // The folder may have any content. Leftovers are removed at the next start.
            drop(tokio::task::spawn_blocking(move || durable::remove_folder(&folder)));
        }
        self.shared.remove_temporary(&place.temporary, place.uid).await;
    }

    async fn run(&self, mut running: Running, place: &Place, mut now: Now, mut unended: Unended) -> Ended {
        {
            let mut seen = self.slot.seen();
            (seen.pid, seen.endpoint, seen.uid) = (Some(running.pid), place.endpoint.clone(), place.listener());
            seen.scripts = place.scripts.clone();
            seen.monitor = Some(running.monitor());
        }
        let bundle = self.group.managed.scripts.clone();
        let question = Question {
            endpoint: place.endpoint.clone(),
            path: self.server.health.clone(),
            authority: self.authority(),
            uid: place.listener(),
            scripts: place.scripts.clone().map(|scripts| Scripts { bundle, ..scripts }),
            interval: ms(self.shared.limits.instance_health_ms),
            has_started: !matches!(now.phase, Phase::Starting),
        };
        let (sender, mut answers) = mpsc::channel(1);
        let _checks = AbortOnDropHandle::new(tokio::spawn(question.ask_on(sender)));
        let exit = loop {
            let is_up = matches!(now.phase, Phase::Starting | Phase::Up);
            tokio::select! {
                happened = running.next() => match happened {
                    Some(Happened::Output { stream, bytes }) => self.output(stream, &bytes, &mut unended).await,
                    Some(Happened::Exited(exit)) => break exit,
                    None => break Exit::Lost,
                },
                Some(CheckOutcome { answer, is_open }) = answers.recv(), if is_up => {
                    self.slot.seen().is_open = is_open;
                    self.answered(&mut now, answer, &running);
                }
                () = self.slot.over_quota.notified(), if !matches!(now.phase, Phase::Killed(_)) => self.may_not_run(&mut now, &running),
                () = self.slot.stop.cancelled(), if is_up => self.drain(&mut now),
                () = self.slot.kill.cancelled(), if matches!(now.phase, Phase::Draining(_) | Phase::Terminating(_)) => {
                    kill(&mut now, &running);
                }
                () = self.shared.standstill.begun() => {
                    if let Some(exit) = self.stand_still(&mut running, place, &now, &mut unended).await {
                        break exit;
                    }
                }
                () = sleep_until(self.next_look(&now)) => {
                    if !self.look(&mut now, &running, place.endpoint.as_ref()) {
                        break Exit::Lost;
                    }
                }
            }
        };
        let until = Instant::now() + LINES_WAIT_MAX;
        let Unended { stdout, stderr } = &mut unended;
        for (splitter, stream) in [(stdout, LineStream::Stdout), (stderr, LineStream::Stderr)] {
            if let Some(line) = splitter.finish() {
                self.line(stream, line, until).await;
            }
        }
        let is_held_back = matches!(self.shared.may_begin(self.group), Err(Error::PersistFull { .. }));
        if self.slot.is_wanted() && !is_held_back {
            // Set before the endpoint is removed: a request without an instance then waits for the next process instead
            // of being refused.
            let reason = now.because.clone().unwrap_or_else(|| exit.to_string());
            self.slot.is(InstanceState::Waiting, Some(reason));
        }
        {
            let mut seen = self.slot.seen();
            (seen.pid, seen.endpoint, seen.monitor, seen.is_open) = (None, None, None, false);
        }
        self.shared.publish(&self.group.id);
        Ended { exit, because: now.because, healthy: now.healthy, is_late: now.is_late, refused: None }
    }

    /// Logs output of the instance.
    async fn output(&self, stream: Stream, bytes: &[u8], unended: &mut Unended) {
        let (splitter, stream) = match stream {
            Stream::Stdout => (&mut unended.stdout, LineStream::Stdout),
            Stream::Stderr => (&mut unended.stderr, LineStream::Stderr),
        };
        // A common deadline: the instance must not wait for the disk.
        let until = Instant::now() + LINES_WAIT_MAX;
        for line in splitter.take(bytes) {
            self.line(stream, line, until).await;
        }
    }

    /// Describes the instance for the next edge, after logging earlier output, and waits. Returns the end of the
    /// process, if earlier.
    async fn stand_still(
        &self,
        running: &mut Running,
        place: &Place,
        now: &Now,
        unended: &mut Unended,
    ) -> Option<Exit> {
        while let Some(happened) = running.take_happened() {
            match happened {
                Happened::Output { stream, bytes } => self.output(stream, &bytes, unended).await,
                Happened::Exited(exit) => return Some(exit),
            }
        }
        self.slot.stand(Some(self.describe(running, place, now, unended)));
        self.group.notify();
        self.shared.standstill.ended().await;
        self.slot.stand(None);
        None
    }

    fn describe(&self, running: &Running, place: &Place, now: &Now, unended: &Unended) -> HandedInstance {
        let elapsed_ms = |since: Instant| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let seen = self.slot.seen();
        HandedInstance {
            process: self.slot.process.name.clone(),
            number: self.slot.number,
            serial: self.slot.serial,
            is_wanted: self.slot.is_wanted(),
            running: running.handed(),
            place: place.clone(),
            phase: match now.phase {
                Phase::Starting => HandedPhase::Starting,
                Phase::Up => HandedPhase::Up,
                Phase::Draining(_) => HandedPhase::Draining,
                Phase::Terminating(_) | Phase::Killed(_) => HandedPhase::Terminating,
            },
            begun_ms: elapsed_ms(now.begun),
            well_ms: now.healthy.map(elapsed_ms),
            bad: now.bad,
            state: seen.state,
            since_ms: seen.since_ms,
            detail: seen.detail.clone(),
            restarts: seen.restarts,
            healthy_ms: seen.healthy_ms.map(|took| u64::try_from(took).unwrap_or(u64::MAX)),
            lines: seen.lines(),
            unended: [unended.stdout.rest().to_vec(), unended.stderr.rest().to_vec()],
        }
    }

    /// Returns the time of the next timed action.
    fn next_look(&self, now: &Now) -> Instant {
        match now.phase {
            Phase::Starting => now.begun + ms(self.shared.start_ms(self.server)),
            Phase::Up => Instant::now() + Duration::from_secs(3_600),
            Phase::Draining(_) => now.look,
            Phase::Terminating(until) | Phase::Killed(until) => until,
        }
    }

    /// Performs due actions. Returns false once the process must be gone.
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
                    && (self.shared.registry.run_in_flight(&self.group.id, endpoint) > 0
                        // Open requests through the predecessor edge are unknown here.
                        || (self.slot.is_adopted && !self.shared.predecessor_ended.is_cancelled()));
                // A stopping edge has already waited for all requests.
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
        // An unhealthy instance has no awaited answers.
        let is_asked = now.healthy.is_some() && self.slot.is_web();
        let time = if is_asked { self.shared.drain_time(self.server) } else { Duration::ZERO };
        self.slot.is(InstanceState::Stopping, None);
        let begin = Instant::now();
        now.look = begin + if now.healthy.is_some() { DRAIN_LOOK } else { Duration::ZERO };
        now.phase = Phase::Draining(begin + time);
        self.group.notify();
        self.shared.publish(&self.group.id);
    }

    /// Ends a process that may not run at present: after its running requests if only its data is being replaced.
    fn may_not_run(&self, now: &mut Now, running: &Running) {
        let because = self.shared.may_begin(self.group).err();
        match because {
            Some(Error::DataReplaced) if !matches!(now.phase, Phase::Starting | Phase::Up) => {}
            Some(Error::DataReplaced) => self.drain(now),
            _ => kill(now, running),
        }
        now.because = because.map(|error| error.to_string());
    }

    fn answered(&self, now: &mut Now, answer: Answer, running: &Running) {
        let after = self.shared.limits.instance_unhealthy_after;
        let listener = answer.as_ref().err().map(|bad| bad.listener);
        if matches!(listener, Some(Listener::Foreign | Listener::Unknown)) {
            self.drop_kept_connections();
        }
        match (answer.map_err(|bad| bad.why), now.phase) {
            (Ok(()), Phase::Starting) => {
                let took = now.begun.elapsed();
                (now.phase, now.healthy) = (Phase::Up, Some(Instant::now()));
                self.slot.is(InstanceState::Healthy, None);
                {
                    let mut seen = self.slot.seen();
                    (seen.healthy_ms, seen.failed) = (Some(took.as_millis()), None);
                }
                // A label by app would create series without end: the exporter drops none.
                histogram!(telemetry::INSTANCE_START).record(took.as_secs_f64());
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
                    now.because = Some(format!("was not well {} in a row: {why}", counted(now.bad, "time")));
                    self.slot.is(InstanceState::Unhealthy, now.because.clone());
                    self.terminate(now, running);
                } else if listener == Some(Listener::Foreign) || now.bad >= after {
                    // A foreign listener must not receive any request.
                    self.slot.is(InstanceState::Unhealthy, Some(why));
                } else {
                    return;
                }
            }
        }
        self.group.notify();
        self.shared.publish(&self.group.id);
    }

    /// Drops pooled connections; the owner of each new connection is verified.
    fn drop_kept_connections(&self) {
        let endpoint = self.slot.seen().endpoint.clone();
        if let Some(endpoint) = endpoint {
            self.shared.registry.drop_kept(&self.group.id, &endpoint);
        }
    }

    async fn line(&self, stream: LineStream, text: String, until: Instant) {
        self.slot.remember(&text);
        self.log.add_until(self.log_line(stream, text), until).await;
    }

    /// Writes a log line of the edge itself.
    pub(super) async fn note(&self, text: String) {
        self.log.add_until(self.log_line(LineStream::Edge, text), Instant::now() + LINES_WAIT_MAX).await;
    }

    fn log_line(&self, stream: LineStream, text: String) -> Line {
        let (at_ms, instance) = (clock::now_ms(), self.slot.name.clone());
        Line { at_ms, instance, version: self.group.version.short(), stream, text }
    }
}
