//! The side of the running edge: gives its sockets away, releases the catalog, and knows when to drain.

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
use super::before::Before;
use super::wire::{self, Answer, DESCRIPTORS_AT_ONCE, Held, Listening, PROTOCOL, Request, WantedRun};
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

/// Pause after a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Most new edges that wait for their turn.
const WAITING_MAX: usize = 8;
/// Longest wait for the first message of a connection.
const BEGIN_TIME_MAX: Duration = Duration::from_secs(10);
/// Pauses between the tries to take the catalog back from a process that has just ended …
const TAKE_BACK_PAUSE: Duration = Duration::from_millis(50);
/// … and for how long.
const TAKE_BACK_TIME_MAX: Duration = Duration::from_secs(30);

/// A socket, and what it is for.
type Descriptor = (Listening, OwnedFd);
/// An environment whose live version is served here.
type Served = (AppName, PlaceName);

/// What changes hands.
pub(crate) struct HandoverParts {
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) sockets: SharedCopies,
    /// Where it listens for other nodes of a cluster.
    pub(crate) of_nodes: Option<SocketAddr>,
    /// Longest wait for deploys to end before the catalog is released.
    pub(crate) settle_time_max: Duration,
    /// Time of commands that run once.
    pub(crate) run_time_max: Duration,
    /// What runs backends, where that is on.
    pub(crate) runner: Option<Runner>,
    /// The edge that this one took over from.
    pub(crate) before: Before,
    /// Has this edge end sooner.
    pub(crate) haste: DrainHaste,
}

/// Waits for a new edge. Dropped, it no longer does.
pub(crate) struct Handover {
    socket: Arc<OwnSocket>,
    giver: Arc<Giver>,
    served: watch::Receiver<bool>,
    before: Before,
}

struct Giver {
    catalog: Arc<dyn Catalog>,
    publisher: Arc<Publisher>,
    credentials: Arc<Credentials>,
    /// Empty once this edge drains: a copy of a socket keeps it open.
    sockets: SharedCopies,
    of_nodes: Option<SocketAddr>,
    settle_time_max: Duration,
    run_time_max: Duration,
    runner: Option<Runner>,
    haste: DrainHaste,
    served: watch::Sender<bool>,
    /// Held from the moment on at which a new edge serves: what that one refers to is not known here.
    no_collection: Mutex<Option<OwnedMutexGuard<()>>>,
    /// The process of the edge that takes over; 0 while none does, or where it is not known.
    successor: watch::Sender<u32>,
    /// Whether the new edge shows requests of this one to readers of the log.
    shows_lines: AtomicBool,
    /// Requests that the new edge is to show.
    last_lines: Mutex<Option<LastLines>>,
    has_last_lines: Notify,
}

/// Requests that are answered in the drain, and what is dropped once the new edge has all of them.
struct LastLines(LogReader, oneshot::Sender<()>);

impl Handover {
    /// Opens the socket in the data folder. An edge without it serves all the same, tries again, and until then is
    /// restarted with a gap.
    pub(crate) fn listen(control: &Runtime, data_dir: &Path, parts: HandoverParts) -> Self {
        let socket = OwnSocket::at(data_dir.join(SOCKET_NAME));
        let (sender, served) = watch::channel(false);
        let giver = Arc::new(Giver {
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

    /// Waits until a new edge serves in place of this one.
    pub(crate) async fn served(&self) {
        let mut served = self.served.clone();
        if served.wait_for(|served| *served).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether a new edge serves in place of this one.
    pub(crate) fn has_successor(&self) -> bool {
        *self.served.borrow()
    }

    /// The edge that this one took over from.
    pub(crate) const fn before(&self) -> &Before {
        &self.before
    }

    /// Ends the readers of the log, who come to the new edge, and has that one show them what this one still answers.
    /// What this returns ends when it has all of it, which is after the readers are ended once more.
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

    /// Closes its copies of the sockets, and of the path where no new edge has it.
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

/// Whether a process runs. One that nobody has reaped yet has ended.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Refuses a new edge beside the one that takes over.
async fn refuse_beside(stream: &mut UnixStream, successor: u32) -> io::Result<()> {
    let _first: Request = wire::receive(stream).await?;
    let reason = format!(
        "another edge, process {successor}, is taking over from it: wait until that one serves, then try again"
    );
    tracing::warn!(successor, "a new edge was refused, as another one is taking over");
    stream.write_all(&wire::frame(&Answer::Refused { pid: std::process::id(), reason })?).await
}

impl Giver {
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
            self.publisher.environments().resume_schedules();
            self.publisher.webhooks().resume();
        }
    }

    /// Refuses edges that come while another one takes over, which they would wait for and then lose. Those that come
    /// when that one has ended have their turn. Never ends.
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

    /// One conversation, until the other edge ends or this one.
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
        // As this process sees it, which may be in another container.
        let seen = stream.peer_cred().ok().and_then(|peer| u32::try_from(peer.pid()?).ok());
        self.successor.send_replace(seen.unwrap_or_default());
        self.give_sockets(stream, takes_http3).await?;
        let Request::Release = wire::receive(stream).await? else { return Err(io::ErrorKind::InvalidData.into()) };
        // While it lasts, no collection removes what the new edge may refer to.
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
        // Before this edge drains, which ends the instances that are its own.
        let has_left = self.runner.as_ref().is_some_and(|runner| runner.leave(starts_wanted));
        self.shows_lines.store(shows_lines, Ordering::Release);
        *self.no_collection.lock() = Some(no_collection);
        self.served.send_replace(true);
        let (from, to) = stream.split();
        // A frame is written whole before the other kind has its turn.
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

    /// Follows the new edge for as long as this one drains.
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

    /// Has the new edge start the backends that requests of this one are for, as those of a preview.
    async fn pass_on_wanted(&self, to: &tokio::sync::Mutex<WriteHalf<'_>>) -> io::Result<()> {
        let Some(runner) = &self.runner else { return std::future::pending().await };
        loop {
            let (id, origin) = runner.next_wanted().await;
            let wanted = Answer::Wanted(Box::new(WantedRun::new(id, &origin)));
            to.lock().await.write_all(&wire::frame(&wanted)?).await?;
        }
    }

    /// Has the new edge show its readers of the log the requests that this one answers while it drains.
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

    /// Says, and returns, what of this is served here.
    async fn tell_served(&self, stream: &mut UnixStream, lacking: Vec<Lacking>) -> io::Result<Vec<Served>> {
        let serving = self.publisher.ledger().live.serving(lacking).await;
        stream.write_all(&wire::frame(&Answer::Serves(serving.clone()))?).await?;
        Ok(serving)
    }

    /// What a program learns that only looks.
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

    /// The addresses that it listens on.
    fn held(&self) -> Held {
        let sockets = self.sockets.lock();
        let tcp = sockets.listening.iter().map(|(listening, _)| *listening);
        let listening = tcp.chain(sockets.quic.iter().map(QuicCopy::listening)).collect();
        Held { listening, nodes: self.of_nodes }
    }

    /// Copies of the sockets, and the byte of this process in the connection ids of QUIC.
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

    /// Has the instances stand still and describes them; they go on once the new edge serves, or has failed.
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

    /// Lets deploys end that were accepted, writes what is only in memory, and releases the catalog, or says why not.
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
            // A command has a client of this edge, so that the next one cannot go on with it.
            if let Some(runner) = &self.runner {
                runner.end_runs(self.run_time_max).await;
            }
        };
        let pushes_and_schedules = async {
            self.publisher.settle(self.settle_time_max).await;
            self.publisher.environments().end_schedules(self.settle_time_max).await;
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
