//! The side of the running edge: hands over its sockets, releases the catalog, and starts the drain.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use devanture_config::{AppName, PlaceName};
use parking_lot::Mutex;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{ReadHalf, WriteHalf};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, OwnedMutexGuard, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::SOCKET_NAME;
use super::before::PredecessorHandle;
use super::wire::{self, Answer, DESCRIPTORS_AT_ONCE, HeldListeners, Listening, PROTOCOL, Request, WantedRun};
use crate::server::drain::DrainHaste;
use crate::server::http3::QuicCopy;
use crate::server::own_socket::{KeptListener, OwnSocket};
use crate::server::sockets::{SharedCopies, SocketCopies};
use devanture_base::telemetry::{AccessLog, LogEvent, LogReader};
use devanture_control::access::Credentials;
use devanture_control::publish::Publisher;
use devanture_control::runner::{Handover as RunnerHandover, Runner};
use devanture_serve::live::Lacking;
use devanture_store::catalog::{self, Catalog};

/// Pause after a failed accept.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Maximum number of queued new edges.
const WAITING_MAX: usize = 8;
/// Longest wait for the first message of a connection.
const BEGIN_TIME_MAX: Duration = Duration::from_secs(10);
/// Pause between attempts to take the catalog back from a process that has just ended.
const TAKE_BACK_PAUSE: Duration = Duration::from_millis(50);
/// Time limit of the attempts.
const TAKE_BACK_TIME_MAX: Duration = Duration::from_secs(30);

/// A socket with its kind and address.
type Descriptor = (Listening, OwnedFd);
/// An environment whose live version is served by the predecessor.
type Served = (AppName, PlaceName);

/// The parts of a handover.
pub(crate) struct HandoverParts {
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) sockets: SharedCopies,
    /// Address of the listener for other nodes of a cluster.
    pub(crate) of_nodes: Option<SocketAddr>,
    /// Longest wait for deploys to end before the catalog is released.
    pub(crate) settle_time_max: Duration,
    /// Time limit of one-off commands.
    pub(crate) run_time_max: Duration,
    /// The runner of backends, if on.
    pub(crate) runner: Option<Runner>,
    /// The predecessor of the running edge.
    pub(crate) before: PredecessorHandle,
    /// Handle to shorten the drain.
    pub(crate) haste: DrainHaste,
}

/// Readiness for a new edge, until dropped.
pub(crate) struct Handover {
    socket: Arc<OwnSocket>,
    giver: Arc<HandoverServer>,
    served: watch::Receiver<bool>,
    before: PredecessorHandle,
}

struct HandoverServer {
    catalog: Arc<dyn Catalog>,
    publisher: Arc<Publisher>,
    credentials: Arc<Credentials>,
    /// Empty during the drain: a copy would keep a socket open.
    sockets: SharedCopies,
    of_nodes: Option<SocketAddr>,
    settle_time_max: Duration,
    run_time_max: Duration,
    runner: Option<Runner>,
    haste: DrainHaste,
    served: watch::Sender<bool>,
    /// Held once a successor serves: the running edge does not know the successor's references.
    no_collection: Mutex<Option<OwnedMutexGuard<()>>>,
    /// Process id of the successor; 0 without a successor, or if unknown.
    successor: watch::Sender<u32>,
    /// True if the successor shows the predecessor's requests to log readers.
    shows_lines: AtomicBool,
    /// Requests to be shown by the successor.
    last_lines: Mutex<Option<LastLines>>,
    has_last_lines: Notify,
}

/// Requests answered during the drain, and a sender dropped once the successor has received all requests.
struct LastLines(LogReader, oneshot::Sender<()>);

impl Handover {
    /// Opens the socket in the data folder. Without the socket, the edge serves nevertheless and tries again; until
    /// then, a restart has a gap.
    pub(crate) fn listen(control: &Runtime, data_dir: &Path, parts: HandoverParts) -> Self {
        let socket = OwnSocket::at(data_dir.join(SOCKET_NAME));
        let (sender, served) = watch::channel(false);
        let giver = Arc::new(HandoverServer {
            catalog: Arc::clone(&parts.publisher.ledger().catalog),
            publisher: parts.publisher,
            credentials: parts.credentials,
            sockets: parts.sockets,
            of_nodes: parts.of_nodes,
            settle_time_max: parts.settle_time_max,
            run_time_max: parts.run_time_max,
            runner: parts.runner,
            haste: parts.haste,
            served: sender,
            no_collection: Mutex::new(None),
            successor: watch::Sender::new(0),
            shows_lines: AtomicBool::new(false),
            last_lines: Mutex::new(None),
            has_last_lines: Notify::new(),
        });
        let _inside = control.enter();
        let warn = |error: &io::Error| {
            tracing::warn!(path = %socket.path().display(), %error, "the socket for the next edge cannot be opened yet: until it is, a restart refuses connections for a moment");
        };
        let first = socket.bind().inspect_err(warn).ok();
        match KeptListener::new(Arc::clone(&socket), first, Arc::clone(&giver.catalog)) {
            Ok(listener) => drop(control.spawn(Arc::clone(&giver).listen(listener))),
            Err(error) => warn(&error),
        }
        Self { socket, giver, served, before: parts.before }
    }

    /// Waits until a successor serves.
    pub(crate) async fn served(&self) {
        let mut served = self.served.clone();
        if served.wait_for(|served| *served).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns true once a successor serves.
    pub(crate) fn has_successor(&self) -> bool {
        *self.served.borrow()
    }

    /// Returns the predecessor of the running edge.
    pub(crate) const fn before(&self) -> &PredecessorHandle {
        &self.before
    }

    /// Ends the log readers, which reconnect to the successor, and has the successor show the requests still answered
    /// here. The returned receiver ends once the successor has received all requests, which is after the readers are
    /// ended again.
    pub(crate) fn end_log_readers(&self, access_log: &AccessLog) -> Option<oneshot::Receiver<()>> {
        if !self.has_successor() || !self.giver.shows_lines.load(Ordering::Acquire) {
            access_log.end_readers();
            return None;
        }
        let (sender, passed_on) = oneshot::channel();
        *self.giver.last_lines.lock() = Some(LastLines(access_log.end_readers_for_one(), sender));
        self.giver.has_last_lines.notify_one();
        Some(passed_on)
    }

    /// Closes the copies of the sockets, and removes the path unless a successor has bound the path.
    pub(crate) fn end(&self) {
        *self.giver.sockets.lock() = SocketCopies::default();
        if !self.has_successor() {
            self.socket.remove();
        }
    }
}

async fn send_all(stream: &UnixStream, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    for some in descriptors.chunks(DESCRIPTORS_AT_ONCE) {
        stream.async_io(Interest::WRITABLE, || wire::send_descriptors(stream, some)).await?;
    }
    Ok(())
}

/// Returns true if a process runs. A zombie counts as ended.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Refuses a new edge during another edge's takeover.
async fn refuse_beside(stream: &mut UnixStream, successor: u32) -> io::Result<()> {
    let _first: Request = wire::receive(stream).await?;
    let reason = format!(
        "another edge, process {successor}, is taking over from it: wait until that one serves, then try again"
    );
    tracing::warn!(successor, "a new edge was refused, as another one is taking over");
    stream.write_all(&wire::frame(&Answer::Refused { pid: std::process::id(), reason })?).await
}

impl HandoverServer {
    async fn listen(self: Arc<Self>, mut listener: KeptListener) {
        let mut waiting = VecDeque::new();
        loop {
            let come = match waiting.pop_front() {
                Some(stream) => Ok(stream),
                None => listener.accept().await,
            };
            let Ok(mut stream) = come else {
                sleep(ACCEPT_AGAIN).await;
                continue;
            };
            self.successor.send_replace(0);
            let ended = tokio::select! {
                ended = self.converse(&mut stream) => ended,
                () = self.refuse_others(&mut listener, &mut waiting) => return,
            };
            if *self.served.borrow() {
                return;
            }
            if let Err(error) = ended {
                tracing::warn!(%error, "a new edge did not come up; this one goes on");
            }
            self.sockets.lock().are_given = false;
            if let Some(runner) = &self.runner {
                runner.resume();
            }
            if let Err(error) = self.take_back().await {
                tracing::error!(%error, "the catalog could not be taken back: what is live is served, and nothing can be changed; start the edge again");
            }
            self.publisher.ledger().refuse_changes(false);
            self.publisher.environments().schedules.resume_schedules();
            self.publisher.webhooks().resume();
        }
    }

    /// Refuses edges that connect during a takeover, since waiting would be in vain. Edges that connect after the
    /// failure of the successor are queued. Never ends.
    async fn refuse_others(&self, listener: &mut KeptListener, waiting: &mut VecDeque<UnixStream>) {
        let mut successor = self.successor.subscribe();
        loop {
            let begun = successor.wait_for(|pid| *pid != 0).await.map(|pid| *pid);
            let Ok(pid) = begun else { return std::future::pending().await };
            match listener.accept().await {
                Ok(mut stream) if is_alive(pid) => {
                    drop(timeout(BEGIN_TIME_MAX, refuse_beside(&mut stream, pid)).await);
                }
                Ok(stream) if waiting.len() < WAITING_MAX => waiting.push_back(stream),
                Ok(_) => {}
                Err(_) => sleep(ACCEPT_AGAIN).await,
            }
        }
    }

    /// Handles one connection, until the end of the successor or of the running edge.
    async fn converse(&self, stream: &mut UnixStream) -> io::Result<()> {
        let begun = timeout(BEGIN_TIME_MAX, wire::receive(stream)).await.unwrap_or_else(|late| Err(late.into()));
        let own = std::process::id();
        let ((protocol, reads), pid, starts_wanted, shows_lines, takes_http3) = match begun? {
            Request::Begin { protocol, pid, starts_wanted, shows_lines, takes_http3, reads } => {
                ((protocol, reads), pid, starts_wanted, shows_lines, takes_http3)
            }
            Request::Probe => return stream.write_all(&wire::frame(&self.probed())?).await,
            Request::Serves(lacking) => return self.tell_served(stream, lacking).await.map(drop),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        let refusal = match protocol == PROTOCOL {
            true => reads.lacking(&self.publisher.ledger().live).await,
            false => Some("it cannot hand over to this release: stop it first".to_owned()),
        };
        if let Some(reason) = refusal {
            tracing::warn!(pid, reason, "a new edge was refused");
            let answer = Answer::Refused { pid: own, reason };
            return stream.write_all(&wire::frame(&answer)?).await;
        }
        tracing::info!(pid, "a new edge takes over");
        // The process id as seen here, which may differ from the successor's view in another container.
        let seen = stream.peer_cred().ok().and_then(|peer| u32::try_from(peer.pid()?).ok());
        self.successor.send_replace(seen.unwrap_or_default());
        self.give_sockets(stream, takes_http3).await?;
        let Request::Release = wire::receive(stream).await? else { return Err(io::ErrorKind::InvalidData.into()) };
        // While held, no collection removes files to which the successor may refer.
        let no_collection = match self.try_release().await {
            Ok(held) => held,
            Err(reason) => {
                let answer = Answer::Refused { pid: own, reason: reason.clone() };
                stream.write_all(&wire::frame(&answer)?).await?;
                return Err(io::Error::other(reason));
            }
        };
        stream.write_all(&wire::frame(&Answer::Released)?).await?;
        loop {
            match wire::receive(stream).await? {
                Request::Instances => self.give_instances(stream).await?,
                Request::Pushes => {
                    let answer = Answer::Pushes(self.publisher.uploads().counted_pushes());
                    stream.write_all(&wire::frame(&answer)?).await?;
                }
                Request::Serves(lacking) => {
                    for (app, environment) in self.tell_served(stream, lacking).await? {
                        tracing::warn!(%app, %environment, "the new edge lacks what this one serves");
                    }
                }
                Request::Serving => break,
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        // Before the drain, which ends the instances still owned by the running edge.
        let has_left = self.runner.as_ref().is_some_and(|runner| runner.leave(starts_wanted));
        self.shows_lines.store(shows_lines, Ordering::Release);
        *self.no_collection.lock() = Some(no_collection);
        self.served.send_replace(true);
        let (from, to) = stream.split();
        // A frame is written completely before a frame of the second kind.
        let to = tokio::sync::Mutex::new(to);
        let ended = tokio::select! {
            ended = self.follow_next(from) => ended,
            ended = self.pass_on_wanted(&to), if starts_wanted && has_left => ended,
            ended = self.pass_on_lines(&to) => ended,
        };
        if let Some(runner) = self.runner.as_ref().filter(|_| has_left) {
            runner.end_wanted();
        }
        ended
    }

    /// Follows the messages of the successor during the drain.
    async fn follow_next(&self, mut from: ReadHalf<'_>) -> io::Result<()> {
        loop {
            match wire::receive(&mut from).await? {
                Request::Run { id, now } => {
                    if let Some(runner) = &self.runner {
                        runner.follow_next(&id, now);
                    }
                }
                Request::Committed(sent) => {
                    self.catalog.follow(sent.committed()?).await.map_err(io::Error::other)?;
                }
                Request::EndSooner => self.haste.shorten(),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    /// Makes the successor start backends needed by requests here, for example for previews.
    async fn pass_on_wanted(&self, to: &tokio::sync::Mutex<WriteHalf<'_>>) -> io::Result<()> {
        let Some(runner) = &self.runner else { return std::future::pending().await };
        loop {
            let (id, origin) = runner.next_wanted().await;
            let wanted = Answer::Wanted(Box::new(WantedRun::new(id, &origin)));
            to.lock().await.write_all(&wire::frame(&wanted)?).await?;
        }
    }

    /// Makes the successor show its log readers the requests answered here during the drain.
    async fn pass_on_lines(&self, to: &tokio::sync::Mutex<WriteHalf<'_>>) -> io::Result<()> {
        self.has_last_lines.notified().await;
        let Some(LastLines(mut lines, passed_on)) = self.last_lines.lock().take() else {
            return std::future::pending().await;
        };
        while let Some(event) = lines.next().await {
            match event {
                LogEvent::Line(line) => {
                    let line = Answer::Line(Box::new((*line.line).clone()));
                    to.lock().await.write_all(&wire::frame(&line)?).await?;
                }
                LogEvent::Lost(lost) => tracing::warn!(lost, "requests are missing in the log that the new edge shows"),
            }
        }
        drop(passed_on);
        std::future::pending().await
    }

    async fn give_sockets(&self, stream: &mut UnixStream, takes_http3: bool) -> io::Result<()> {
        let (copies, generation) = self.copies(takes_http3)?;
        let sockets = copies.iter().map(|(listening, _)| *listening).collect();
        let log_run = Some(self.publisher.access_log().run().to_owned());
        let (pid, tells_served, tells_pushes) = (std::process::id(), true, true);
        let answer = Answer::Sockets { pid, sockets, log_run, generation, tells_served, tells_pushes };
        stream.write_all(&wire::frame(&answer)?).await?;
        send_all(stream, &copies.iter().map(|(_, socket)| socket.as_fd()).collect::<Vec<_>>()).await
    }

    /// Reports and returns the environments of `lacking` that are served here.
    async fn tell_served(&self, stream: &mut UnixStream, lacking: Vec<Lacking>) -> io::Result<Vec<Served>> {
        let serving = self.publisher.ledger().live.serving(lacking).await;
        stream.write_all(&wire::frame(&Answer::Serves(serving.clone()))?).await?;
        Ok(serving)
    }

    /// Returns the response to a program that only probes.
    fn probed(&self) -> Answer {
        Answer::Probed {
            pid: std::process::id(),
            protocol: PROTOCOL,
            runner: self.runner.as_ref().map(Runner::terms),
            tells_served: true,
            held: Some(self.held()),
            in_memory_alone: self.publisher.ledger().live.in_memory_alone(),
        }
    }

    /// Returns the addresses of the listeners.
    fn held(&self) -> HeldListeners {
        let sockets = self.sockets.lock();
        let tcp = sockets.listening.iter().map(|(listening, _)| *listening);
        let listening = tcp.chain(sockets.quic.iter().map(QuicCopy::listening)).collect();
        HeldListeners { listening, nodes: self.of_nodes }
    }

    /// Returns copies of the sockets, and the process's generation byte in the connection ids of QUIC.
    fn copies(&self, takes_http3: bool) -> io::Result<(Vec<Descriptor>, Option<u8>)> {
        let mut sockets = self.sockets.lock();
        sockets.are_given = true;
        let copies: io::Result<_> =
            sockets.listening.iter().map(|(listening, socket)| Ok((*listening, socket.try_clone()?))).collect();
        let mut copies: Vec<_> = copies?;
        let quic = if takes_http3 { sockets.quic.as_slice() } else { &[] };
        for quic in quic {
            copies.extend(quic.give()?);
        }
        Ok((copies, quic.first().map(|quic| quic.generation)))
    }

    /// Suspends the instances and describes them; the instances resume once the successor serves or has failed.
    async fn give_instances(&self, stream: &mut UnixStream) -> io::Result<()> {
        let Some(runner) = &self.runner else {
            return stream.write_all(&wire::frame(&Answer::Instances(None))?).await;
        };
        match runner.stand_still().await {
            Ok(RunnerHandover { handed, descriptors }) => {
                stream.write_all(&wire::frame(&Answer::Instances(Some(Box::new(handed))))?).await?;
                send_all(stream, &descriptors.iter().map(AsFd::as_fd).collect::<Vec<_>>()).await
            }
            Err(error) => {
                let answer = Answer::Refused { pid: std::process::id(), reason: error.to_string() };
                stream.write_all(&wire::frame(&answer)?).await?;
                Err(io::Error::other(error))
            }
        }
    }

    /// Lets accepted deploys finish, writes in-memory state, and releases the catalog, or returns the reason of a
    /// refusal.
    async fn try_release(&self) -> Result<OwnedMutexGuard<()>, String> {
        if let Some(runner) = &self.runner
            && !runner.end_data_work(self.settle_time_max).await
        {
            return Err("the data of an environment is being replaced: try again when that is done".to_owned());
        }
        self.release().await.map_err(|error| error.to_string())
    }

    async fn release(&self) -> Result<OwnedMutexGuard<()>, catalog::Error> {
        self.publisher.ledger().refuse_changes(true);
        let runs = async {
            // A command has a client of the running edge, so that the successor cannot continue the command.
            if let Some(runner) = &self.runner {
                runner.end_runs(self.run_time_max).await;
            }
        };
        let pushes_and_schedules = async {
            self.publisher.settle(self.settle_time_max).await;
            self.publisher.environments().schedules.end_schedules(self.settle_time_max).await;
            self.publisher.webhooks().end().await;
        };
        tokio::join!(pushes_and_schedules, runs);
        self.credentials.write_last_uses().await;
        self.publisher.uploads().write_sent().await;
        let no_collection = self.publisher.retention().pause().await;
        self.catalog.hand_over().await?;
        Ok(no_collection)
    }

    async fn take_back(&self) -> Result<(), catalog::Error> {
        let until = Instant::now() + TAKE_BACK_TIME_MAX;
        loop {
            if !matches!(self.catalog.check_in_place(), Err(catalog::Error::HandedOver)) {
                return Ok(());
            }
            match self.catalog.take_back().await {
                Err(catalog::Error::Locked { .. }) if Instant::now() < until => sleep(TAKE_BACK_PAUSE).await,
                taken => return taken,
            }
        }
    }
}
