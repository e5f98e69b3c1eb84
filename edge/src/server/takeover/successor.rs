//! The side of the new edge: finds the running edge, takes its sockets and the catalog, and reports serving.

use std::collections::HashSet;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use devanture_config::{AppName, PlaceName, edge_toml};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{RecvFlags, recv};
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Runtime;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep;

use super::SOCKET_NAME;
use super::before::PredecessorHandle;
use super::formats::FormatsRead;
use super::inherited::Inherited;
use super::wire::{self, Answer, HeldListeners, PROTOCOL, Request, Sent};
use crate::server::data_socket;
use crate::server::error::StartError;
use crate::server::stores::is_in_use;
use devanture_base::telemetry::AccessLog;
use devanture_control::publish::CountedPushes;
use devanture_control::runner::{Handover, Runner};
use devanture_serve::live::Lacking;
use devanture_serve::proxy::{RunId, RunNow};
use devanture_store::catalog::{Catalog, Committed};

/// Longest wait for a response of the running edge, which lets deploys finish before releasing the catalog.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);

/// Longest time from the loss of the connection to the end of its process.
const END_TIME_MAX: Duration = Duration::from_secs(5);
/// Interval of checks for the end.
const END_LOOK: Duration = Duration::from_millis(10);
/// Interval of checks of the connection while the running edge serves.
const LOST_LOOK: Duration = Duration::from_millis(50);

/// The connection to the running edge.
pub(crate) struct Successor {
    stream: UnixStream,
    /// The running edge's process.
    pid: u32,
    /// The name of the running edge's log.
    log_run: Option<String>,
    /// True if the running edge reports its served versions, and its counted pushes.
    tells_served: bool,
    tells_pushes: bool,
    before: PredecessorHandle,
}

impl Successor {
    /// Connects to the running edge of the data folder, and takes copies of its sockets. `None` without a running edge.
    ///
    /// # Errors
    /// [`StartError::TakeOver`] if the edge refuses.
    pub(crate) fn find(data_dir: &Path) -> Result<(Option<Self>, Inherited), StartError> {
        let after_death = Inherited { follows_a_death: true, ..Inherited::default() };
        // Without a running edge, the socket is missing or has no listener.
        let stream = match data_socket::connect_blocking(&data_dir.join(SOCKET_NAME)) {
            Ok(stream) => stream,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok((None, after_death)),
            Err(_) => return Ok((None, Inherited::default())),
        };
        let failed = |error: io::Error| StartError::TakeOver { reason: error.to_string() };
        stream.set_read_timeout(Some(ANSWER_TIME_MAX)).map_err(failed)?;
        let pid = socket_peercred(&stream).map_or(0, |peer| peer.pid.as_raw_nonzero().get().unsigned_abs());
        let mut successor = Self { pid, ..Self::over(stream) };
        match successor.take_sockets() {
            Ok(inherited) => Ok((Some(successor), inherited)),
            Err(Unanswered::Refused(reason)) => Err(refused(pid, &reason)),
            Err(Unanswered::Lost(_)) if has_ended(pid) => Ok((None, after_death)),
            Err(Unanswered::Lost(error)) => Err(failed(error)),
        }
    }

    /// Opens a connection for one query of a program that only probes. `None` without a running edge.
    fn looking(data_dir: &Path) -> Result<Option<Self>, StartError> {
        let socket = data_dir.join(SOCKET_NAME);
        let stream = match data_socket::connect_blocking(&socket) {
            Ok(stream) => stream,
            // A start would find the catalog in use, and fail.
            Err(error) if is_in_use(data_dir) => {
                let reason = format!(
                    "{} cannot be reached: {error}. It opens that again once it can write to the folder",
                    socket.display()
                );
                return Err(StartError::TakeOver { reason });
            }
            Err(_) => return Ok(None),
        };
        let failed = |error: io::Error| StartError::TakeOver { reason: error.to_string() };
        stream.set_read_timeout(Some(ANSWER_TIME_MAX)).map_err(failed)?;
        Ok(Some(Self::over(stream)))
    }

    fn take_sockets(&mut self) -> Result<Inherited, Unanswered> {
        let Answer::Sockets { sockets, log_run, generation, tells_served, tells_pushes, .. } =
            self.ask(&Request::Begin {
                protocol: PROTOCOL,
                pid: std::process::id(),
                starts_wanted: true,
                shows_lines: true,
                takes_http3: true,
                reads: FormatsRead::OWN,
            })?
        else {
            return Err(Unanswered::other());
        };
        (self.log_run, self.tells_served, self.tells_pushes) = (log_run, tells_served, tells_pushes);
        let descriptors = self.receive_descriptors(sockets.len())?;
        let ended = self.before.end().clone();
        let sockets = sockets.into_iter().zip(descriptors).collect();
        Ok(Inherited { sockets, generation, ended, follows_a_death: false })
    }

    fn receive_descriptors(&self, count: usize) -> io::Result<Vec<OwnedFd>> {
        let mut descriptors = Vec::with_capacity(count);
        while descriptors.len() < count {
            descriptors.extend(wire::receive_descriptors(&self.stream)?);
        }
        Ok(descriptors)
    }

    /// Makes the running edge release the catalog.
    ///
    /// # Errors
    /// [`StartError::TakeOver`].
    pub(crate) fn take_catalog(&mut self) -> Result<(), StartError> {
        match self.ask(&Request::Release) {
            Ok(Answer::Released) => {
                tracing::info!(pid = self.pid, "the catalog was taken over from the running edge");
                Ok(())
            }
            Ok(_) => Err(self.failure(Unanswered::other())),
            Err(Unanswered::Lost(_)) if has_ended(self.pid) => {
                tracing::warn!(pid = self.pid, "the running edge ended by itself: this one goes on alone");
                Ok(())
            }
            Err(unanswered) => Err(self.failure(unanswered)),
        }
    }

    /// Returns the process id of the running edge.
    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the loss of the connection to the running edge, which sends no unsolicited messages.
    pub(crate) async fn lost(&self) {
        loop {
            let mut byte = [0_u8];
            // Peeked bytes stay in the socket, whose other reads are blocking.
            match recv(&self.stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
                Ok((_, 1..)) | Err(Errno::AGAIN | Errno::INTR) => sleep(LOST_LOOK).await,
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Wraps a connection to an unknown edge.
    pub(crate) fn over(stream: UnixStream) -> Self {
        let (tells_served, tells_pushes) = (false, false);
        Self { stream, pid: 0, log_run: None, tells_served, tells_pushes, before: PredecessorHandle::default() }
    }

    /// Returns the environments of `lacking` that the running edge serves; `None` from a release that does not report,
    /// or after the end of the running edge.
    ///
    /// # Errors
    /// [`StartError::TakeOver`].
    pub(crate) fn served_of(&mut self, lacking: Vec<Lacking>) -> Result<Option<Vec<Lacking>>, StartError> {
        if !self.tells_served {
            return Ok(None);
        }
        match self.ask(&Request::Serves(lacking.clone())) {
            Ok(Answer::Serves(places)) => Ok(Some(among(lacking, &places))),
            Ok(_) => Err(self.failure(Unanswered::other())),
            Err(Unanswered::Lost(_)) if has_ended(self.pid) => Ok(None),
            Err(unanswered) => Err(self.failure(unanswered)),
        }
    }

    /// Returns the pushes counted by the running edge; none from a release that does not report, or after the end of
    /// the running edge.
    ///
    /// # Errors
    /// [`StartError::TakeOver`].
    pub(crate) fn counted_pushes(&mut self) -> Result<Vec<CountedPushes>, StartError> {
        if !self.tells_pushes {
            return Ok(Vec::new());
        }
        match self.ask(&Request::Pushes) {
            Ok(Answer::Pushes(counted)) => Ok(counted),
            Ok(_) => Err(self.failure(Unanswered::other())),
            Err(Unanswered::Lost(_)) if has_ended(self.pid) => Ok(Vec::new()),
            Err(unanswered) => Err(self.failure(unanswered)),
        }
    }

    /// Takes over the instances of the running edge. `None` if the edge runs no instances, or has ended.
    ///
    /// # Errors
    /// [`StartError::TakeOver`].
    pub(crate) fn take_instances(&mut self) -> Result<Option<Handover>, StartError> {
        match self.receive_instances() {
            Err(Unanswered::Lost(_)) if has_ended(self.pid) => Ok(None),
            received => received.map_err(|unanswered| self.failure(unanswered)),
        }
    }

    fn receive_instances(&mut self) -> Result<Option<Handover>, Unanswered> {
        match self.ask(&Request::Instances)? {
            Answer::Instances(None) => Ok(None),
            Answer::Instances(Some(handed)) => {
                let descriptors = self.receive_descriptors(handed.descriptors())?;
                Ok(Some(Handover { handed: *handed, descriptors }))
            }
            _ => Err(Unanswered::other()),
        }
    }

    fn failure(&self, unanswered: Unanswered) -> StartError {
        match unanswered {
            Unanswered::Refused(reason) => refused(self.pid, &reason),
            Unanswered::Lost(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                refused(self.pid, "it ended the conversation; its log says why")
            }
            Unanswered::Lost(error) => refused(self.pid, &error.to_string()),
        }
    }

    /// Reports that the successor serves, upon which the predecessor drains, and forwards commits from `commits`, which
    /// began when the catalog was opened. From here on the instances belong to the successor.
    ///
    /// # Errors
    /// [`StartError::TakeOver`] if the running edge exists but does not respond: the edge may have taken the catalog
    /// back.
    pub(crate) fn serve(
        mut self,
        control: &Runtime,
        commits: Receiver<Committed>,
        catalog: &Arc<dyn Catalog>,
        runner: Option<&Runner>,
        access_log: &AccessLog,
    ) -> Result<PredecessorHandle, StartError> {
        catalog.check_in_place()?;
        if let Some(run) = self.log_run.take() {
            access_log.follow_run(run);
        }
        let runs = runner.map(Runner::published);
        let failed = |error: io::Error| StartError::TakeOver { reason: error.to_string() };
        let written = wire::frame(&Request::Serving).and_then(|frame| self.stream.write_all(&frame));
        match written {
            Ok(()) => tracing::info!(pid = self.pid, "this edge serves, and the other one drains"),
            Err(_) if has_ended(self.pid) => {
                tracing::warn!(pid = self.pid, "the running edge ended by itself: this one serves in its place");
            }
            Err(error) => return Err(failed(error)),
        }
        if let Some(runner) = runner {
            runner.resume();
        }
        self.stream.set_nonblocking(true).map_err(failed)?;
        let _inside = control.enter();
        let stream = tokio::net::UnixStream::from_std(self.stream).map_err(failed)?;
        let (runner, access_log, before) = (runner.cloned(), access_log.clone(), self.before.clone());
        control.spawn(async move {
            let (from, to) = stream.into_split();
            tokio::select! {
                () = hear(from, runner.as_ref(), &access_log) => {}
                () = pass_on(to, commits, runs, &before) => {}
            }
            if let Some(runner) = runner {
                runner.predecessor_ended();
            }
            before.has_ended();
        });
        Ok(self.before)
    }

    fn ask(&mut self, request: &Request) -> Result<Answer, Unanswered> {
        self.stream.write_all(&wire::frame(request)?)?;
        match wire::read(&self.stream)? {
            Answer::Refused { reason, .. } => Err(Unanswered::Refused(reason)),
            answer => Ok(answer),
        }
    }
}

/// Checks that the program could take over from the running edge of the data folder, which continues unchanged. `None`
/// without a running edge. `own` is the program's `[runner]`, if on, and its folder.
///
/// # Errors
/// [`StartError::TakeOver`], [`StartError::Runner`].
pub(crate) fn probe(data_dir: &Path, own: Option<(&edge_toml::Runner, &Path)>) -> Result<Option<Running>, StartError> {
    let Some(mut successor) = Successor::looking(data_dir)? else { return Ok(None) };
    match successor.ask(&Request::Probe) {
        Ok(Answer::Probed { pid, protocol: PROTOCOL, runner, tells_served, held, in_memory_alone }) => {
            if let (Some(terms), Some((settings, folder))) = (runner, own) {
                terms.check(settings, folder).map_err(StartError::Runner)?;
            }
            Ok(Some(Running { pid, held, tells_served, in_memory_alone }))
        }
        Ok(Answer::Probed { pid, .. }) => Err(refused(pid, "it cannot hand over to this release: stop it first")),
        Ok(_) => Err(successor.failure(Unanswered::other())),
        Err(unanswered) => Err(successor.failure(unanswered)),
    }
}

/// An edge that could be taken over.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    /// The process id.
    pub(crate) pid: u32,
    /// The addresses of the listeners; `None` from a release that does not report.
    pub(crate) held: Option<HeldListeners>,
    /// Versions served only from memory, as far as known.
    pub(crate) in_memory_alone: Vec<Lacking>,
    /// True if the edge reports its served versions.
    tells_served: bool,
}

impl Running {
    /// Returns the served environments, as [`Successor::served_of`] does, of a probed edge.
    ///
    /// # Errors
    /// [`StartError::TakeOver`].
    pub(crate) fn served_of(&self, data_dir: &Path, lacking: Vec<Lacking>) -> Result<Option<Vec<Lacking>>, StartError> {
        let Some(successor) = Successor::looking(data_dir)? else { return Ok(None) };
        let Self { pid, tells_served, .. } = *self;
        Successor { pid, tells_served, ..successor }.served_of(lacking)
    }
}

fn among(mut lacking: Vec<Lacking>, places: &[(AppName, PlaceName)]) -> Vec<Lacking> {
    let places: HashSet<_> = places.iter().map(|(app, environment)| (app, environment)).collect();
    lacking.retain(|lacking| places.contains(&(&lacking.app, &lacking.environment)));
    lacking
}

/// Reason without a usable response of the running edge.
enum Unanswered {
    Refused(String),
    Lost(io::Error),
}

impl Unanswered {
    fn other() -> Self {
        Self::Refused("it answered something else".to_owned())
    }
}

impl From<io::Error> for Unanswered {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

/// Returns true if the process of a lost connection has ended. A process that only closed the connection takes the
/// catalog back.
#[expect(clippy::disallowed_methods, reason = "at the start, before anything is served")]
fn has_ended(pid: u32) -> bool {
    let until = Instant::now() + END_TIME_MAX;
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        let is_there = match stat {
            // A zombie has closed all its files.
            Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X'])),
            Err(error) => pid == 0 || error.kind() != io::ErrorKind::NotFound,
        };
        if !is_there || Instant::now() > until {
            return !is_there;
        }
        std::thread::sleep(END_LOOK);
    }
}

fn refused(pid: u32, reason: &str) -> StartError {
    StartError::TakeOver { reason: format!("process {pid}: {reason}") }
}

/// Starts the backends needed by the predecessor's requests, and shows the requests to log readers, until the end of
/// the drain.
async fn hear(mut from: OwnedReadHalf, runner: Option<&Runner>, access_log: &AccessLog) {
    while let Ok(answer) = wire::receive(&mut from).await {
        match answer {
            Answer::Wanted(wanted) => {
                let (id, origin) = wanted.into_parts();
                if let Some(runner) = runner {
                    runner.start_wanted(id, &origin);
                }
            }
            Answer::Line(line) => access_log.take_written(line),
            _ => {}
        }
    }
}

/// Forwards commits and pool members until the end of the predecessor's drain, and forwards a request to shorten the
/// drain.
async fn pass_on(
    mut to: OwnedWriteHalf,
    mut commits: Receiver<Committed>,
    mut runs: Option<Receiver<(RunId, Option<RunNow>)>>,
    before: &PredecessorHandle,
) {
    let mut ends_sooner = false;
    loop {
        let request = tokio::select! {
            biased;
            () = before.is_to_end_sooner(), if !ends_sooner => {
                ends_sooner = true;
                Ok(Request::EndSooner)
            }
            // Before the switch to the instances, which was committed later.
            run = next_run(&mut runs) => run.map(|(id, now)| Request::Run { id, now }),
            committed = commits.recv() => committed.map(|committed| Request::Committed(Sent::from(&committed))),
        };
        match request {
            Ok(request) => {
                let Ok(frame) = wire::frame(&request) else { continue };
                if to.write_all(&frame).await.is_err() {
                    return;
                }
            }
            // The predecessor continues with its known instances until the end of its drain.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

async fn next_run<T: Clone>(runs: &mut Option<Receiver<T>>) -> Result<T, RecvError> {
    match runs {
        Some(runs) => runs.recv().await,
        None => std::future::pending().await,
    }
}
