//! Client of the spawner: passes commands on, distributes events, and restarts a dead spawner after all its processes
//! are gone.

mod attached;
mod hand_over;

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, geteuid, getpid, set_child_subreaper, waitpid};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::spawner::attaching::{Attached, AttachedOrder};
use crate::spawner::children::reap;
use crate::spawner::handover::{HandedProcess, SpawnerConnection};
use crate::spawner::leftovers::kill_leftovers;
use crate::spawner::measure::{Measured, MeasuredFolder};
use crate::spawner::process_users::{may_be_ours, owner_of, users_of};
use crate::spawner::processes::{BETWEEN_PASSES, KILL_WAIT, Table};
use crate::spawner::session::Session;
use crate::spawner::user_task::UserTask;
use crate::spawner::wire::{Event, Frame, Order, Start};
use crate::spawner::{Exit, Happened, Launch, Means, SpawnError, SpawnerSettings, Usage};

/// Delay before retrying to start a spawner: initial and maximum.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Receiver of a command's outcome.
pub(super) type Reply<T> = oneshot::Sender<Result<T, SpawnError>>;

/// Command for the spawner.
#[derive(Debug)]
pub(super) enum SpawnerCommand {
    Launch {
        launch: Box<Launch>,
        attached: Option<Attached>,
        reply: Reply<Launched>,
    },
    Terminate {
        key: u64,
    },
    Attached {
        key: u64,
        order: AttachedOrder,
    },
    Kill {
        key: u64,
    },
    Credit {
        key: u64,
        bytes: usize,
    },
    Measure {
        folders: Vec<MeasuredFolder>,
        keys: Vec<u64>,
        files_max: u64,
        reply: Reply<Measured>,
    },
    Abandon {
        key: u64,
    },
    EndUser {
        uid: u32,
        reply: Reply<()>,
    },
    Task {
        uid: u32,
        task: UserTask,
        reply: Reply<()>,
    },
    /// Pauses the spawner and returns the state for the next edge. Other commands wait until `Resume`.
    Pause {
        reply: Reply<SpawnerConnection>,
    },
    Resume,
    /// The next edge continues with the spawner.
    Leave,
    End {
        reply: oneshot::Sender<()>,
    },
}

/// Started instance.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) key: u64,
    pub(super) pid: u32,
    pub(super) happens: mpsc::UnboundedReceiver<Happened>,
    pub(super) usage: watch::Receiver<Usage>,
    /// Number of consumed input bytes.
    pub(super) input_taken: watch::Receiver<u64>,
}

/// Spawner with its supervising task.
pub(super) struct SupervisedSpawner {
    pub(super) means: watch::Receiver<Means>,
    /// Users claimed by the spawner.
    pub(super) uids: Option<RangeInclusive<u32>>,
}

/// Starts the spawner and the supervising task.
///
/// # Errors
/// [`SpawnError::Start`], [`SpawnError::Protocol`].
pub(super) async fn start(
    settings: SpawnerSettings,
    commands: mpsc::UnboundedReceiver<SpawnerCommand>,
) -> Result<SupervisedSpawner, SpawnError> {
    set_child_subreaper(Some(getpid())).map_err(|error| SpawnError::Start(error.into()))?;
    let (means, receiver) = watch::channel(Means::default());
    let session = Session::open(&settings, &means).await?;
    let uids = session.uids.clone();
    let keeper = SpawnerSupervisor::new(settings, means, uids.clone());
    tokio::spawn(keeper.keep(session, commands));
    Ok(SupervisedSpawner { means: receiver, uids })
}

/// Continues with a spawner of an earlier edge and with the given processes after a resume; all other processes of the
/// spawner are ended then.
///
/// # Errors
/// [`SpawnError::Start`], [`SpawnError::Protocol`].
pub(super) fn adopt(
    settings: SpawnerSettings,
    connection: SpawnerConnection,
    processes: &[HandedProcess],
    commands: mpsc::UnboundedReceiver<SpawnerCommand>,
) -> Result<(SupervisedSpawner, Vec<Launched>), SpawnError> {
    let SpawnerConnection { state, socket } = connection;
    if !state.is_understood() {
        return Err(SpawnError::Protocol);
    }
    set_child_subreaper(Some(getpid())).map_err(|error| SpawnError::Start(error.into()))?;
    let (means, receiver) = watch::channel(state.means);
    let uids = state.claimed.map(|(first, last)| first..=last);
    let session = Session::adopt(socket, uids.clone()).map_err(SpawnError::Start)?;
    let mut keeper = SpawnerSupervisor::new(settings, means, uids.clone());
    (keeper.next, keeper.is_adopted) = (state.next_key, true);
    keeper.uids.extend(state.users);
    let launched = processes.iter().map(|process| keeper.take(*process)).collect();
    let unknown = state.keys.into_iter().filter(|key| !keeper.slots.contains_key(key)).collect();
    tokio::spawn(keeper.go_on(session, commands, unknown));
    Ok((SupervisedSpawner { means: receiver, uids }, launched))
}

/// Running or starting instance.
struct Slot {
    happens: mpsc::UnboundedSender<Happened>,
    usage: watch::Sender<Usage>,
    input_taken: watch::Sender<u64>,
    /// Caller waiting for the start.
    launching: Option<(Reply<Launched>, mpsc::UnboundedReceiver<Happened>)>,
    pid: Option<u32>,
}

struct SpawnerSupervisor {
    settings: SpawnerSettings,
    /// Users claimed by the first spawner.
    claimed: Option<RangeInclusive<u32>>,
    slots: HashMap<u64, Slot>,
    /// Tasks of users, and the waiting callers.
    tasks: HashMap<u64, Reply<()>>,
    next: u64,
    /// Users of started instances.
    uids: HashSet<u32>,
    means: watch::Sender<Means>,
    /// Callers waiting for a measurement.
    measures: HashMap<u64, oneshot::Sender<Result<Measured, SpawnError>>>,
    /// True if an earlier edge started the spawner: orphans of the spawner do not become children of this process.
    is_adopted: bool,
}

/// End of a conversation.
enum Outcome {
    /// The edge ended the conversation; the caller waiting for the end, if any.
    Ended(Option<oneshot::Sender<()>>),
    /// The next edge has the spawner.
    Left(Option<oneshot::Sender<()>>),
    Lost,
}

impl SpawnerSupervisor {
    fn new(settings: SpawnerSettings, means: watch::Sender<Means>, claimed: Option<RangeInclusive<u32>>) -> Self {
        Self {
            settings,
            claimed,
            slots: HashMap::new(),
            tasks: HashMap::new(),
            next: 1,
            uids: HashSet::new(),
            means,
            measures: HashMap::new(),
            is_adopted: false,
        }
    }

    async fn keep(mut self, mut session: Session, mut commands: mpsc::UnboundedReceiver<SpawnerCommand>) {
        loop {
            let outcome = self.converse(&mut session, &mut commands).await;
            let reply = match outcome {
                Outcome::Ended(reply) => {
                    session.close().await;
                    reply
                }
                Outcome::Left(reply) => {
                    commands.close();
                    if let Some(reply) = reply {
                        reply.send(()).ok();
                    }
                    return;
                }
                Outcome::Lost => {
                    tracing::error!(instances = self.slots.len(), "the spawner died, and its instances with it");
                    session.bury().await;
                    self.clean_up().await;
                    let started = self.uids.drain().map(|uid| uid..=uid);
                    self.settings.uids.extend(started);
                    // Before announcing the loss, so that instances can be restarted at once.
                    let first = self.open().await;
                    self.is_adopted = false;
                    self.reap_users();
                    self.tell_all(&Exit::Lost);
                    match self.again(first, &mut commands).await {
                        Ok(again) => {
                            session = again;
                            continue;
                        }
                        Err(reply) => reply,
                    }
                }
            };
            self.tell_all(&Exit::Signal(rustix::process::Signal::KILL.as_raw()));
            commands.close();
            if let Some(reply) = reply {
                reply.send(()).ok();
            }
            return;
        }
    }

    /// Opens a session with any number of attempts; returns the caller waiting for the end if the end is commanded
    /// meanwhile.
    async fn again(
        &self,
        mut opened: Result<Session, SpawnError>,
        commands: &mut mpsc::UnboundedReceiver<SpawnerCommand>,
    ) -> Result<Session, Option<oneshot::Sender<()>>> {
        let mut pause = AGAIN_AFTER.0;
        loop {
            match opened {
                Ok(session) => return Ok(session),
                Err(error) => tracing::error!(%error, "the spawner cannot be started again yet"),
            }
            let until = Instant::now() + pause;
            loop {
                tokio::select! {
                    () = sleep_until(until) => break,
                    command = commands.recv() => match command {
                        None => return Err(None),
                        Some(SpawnerCommand::End { reply }) => return Err(Some(reply)),
                        Some(SpawnerCommand::Launch { reply, .. }) => drop(reply.send(Err(SpawnError::Gone))),
                        Some(SpawnerCommand::EndUser { reply, .. } | SpawnerCommand::Task { reply, .. }) => {
                            reply.send(Err(SpawnError::Gone)).ok();
                        }
                        Some(_) => {}
                    },
                }
            }
            pause = (pause * 2).min(AGAIN_AFTER.1);
            opened = self.open().await;
        }
    }

    /// Opens another session with a spawner for the same users.
    async fn open(&self) -> Result<Session, SpawnError> {
        let session = Session::open(&self.settings, &self.means).await?;
        match session.uids == self.claimed {
            true => Ok(session),
            false => Err(SpawnError::Start(io::Error::other("it has other user ids than before: restart the edge"))),
        }
    }

    async fn converse(
        &mut self,
        session: &mut Session,
        commands: &mut mpsc::UnboundedReceiver<SpawnerCommand>,
    ) -> Outcome {
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    None => return Outcome::Ended(None),
                    Some(SpawnerCommand::End { reply }) => return Outcome::Ended(Some(reply)),
                    Some(SpawnerCommand::Pause { reply }) => {
                        if let Some(outcome) = self.pause(session, commands, reply).await {
                            return outcome;
                        }
                    }
                    Some(command) => self.fulfil(session, command),
                },
                frame = session.frames.recv() => match frame {
                    None => return Outcome::Lost,
                    Some(frame) => self.receive(session, frame),
                },
            }
        }
    }

    fn receive(&mut self, session: &Session, frame: Frame<Event>) {
        match frame {
            Frame::Output { key, stream, bytes } => {
                let count = bytes.len();
                let slot = self.slots.get(&key);
                let is_taken = slot.is_some_and(|slot| slot.happens.send(Happened::Output { stream, bytes }).is_ok());
                if !is_taken {
                    credit(session, key, count);
                }
            }
            Frame::Message(event) => self.hear(session, event),
            Frame::Input { .. } => {}
        }
    }

    fn fulfil(&mut self, session: &Session, command: SpawnerCommand) {
        match command {
            SpawnerCommand::Launch { launch, attached, reply } => self.launch(session, *launch, attached, reply),
            SpawnerCommand::Attached { key, order } => attached::pass_on(session, key, order),
            SpawnerCommand::Terminate { key } => drop(session.say(&Order::Terminate { key })),
            SpawnerCommand::Kill { key } | SpawnerCommand::Abandon { key } => drop(session.say(&Order::Kill { key })),
            SpawnerCommand::Credit { key, bytes } => credit(session, key, bytes),
            SpawnerCommand::Measure { folders, keys, files_max, reply } => {
                let request = self.next;
                self.next += 1;
                match session.say(&Order::Measure { request, folders, keys, files_max }) {
                    Ok(()) => drop(self.measures.insert(request, reply)),
                    Err(error) => drop(reply.send(Err(SpawnError::Order(error.to_string())))),
                }
            }
            SpawnerCommand::EndUser { uid, reply } => {
                self.begin_task(session, reply, |key| Order::EndUser { key, uid });
            }
            SpawnerCommand::Task { uid, task, reply } => {
                self.uids.insert(uid);
                self.begin_task(session, reply, |key| Order::Task { key, uid, task });
            }
            SpawnerCommand::End { .. }
            | SpawnerCommand::Pause { .. }
            | SpawnerCommand::Resume
            | SpawnerCommand::Leave => {}
        }
    }

    fn begin_task(&mut self, session: &Session, reply: Reply<()>, order: impl FnOnce(u64) -> Order) {
        let key = self.next;
        self.next += 1;
        match session.say(&order(key)) {
            Ok(()) => drop(self.tasks.insert(key, reply)),
            Err(error) => drop(reply.send(Err(SpawnError::Order(error.to_string())))),
        }
    }

    fn launch(&mut self, session: &Session, launch: Launch, attached: Option<Attached>, reply: Reply<Launched>) {
        let key = self.next;
        let Some(folder) = launch.folder.to_str().map(str::to_owned) else {
            reply.send(Err(SpawnError::Order("the folder's name is no UTF-8".to_owned()))).ok();
            return;
        };
        let Launch { id, command, environment, uid, limits, temporary, keep, .. } = launch;
        let start = Start { key, id, command, folder, environment, uid, limits, temporary, keep, attached };
        if let Err(error) = session.say(&Order::Launch(Box::new(start))) {
            reply.send(Err(SpawnError::Order(error.to_string()))).ok();
            return;
        }
        self.next += 1;
        self.uids.extend(uid);
        let (happens, receiver) = mpsc::unbounded_channel();
        let (usage, input_taken) = (watch::Sender::default(), watch::Sender::default());
        self.slots.insert(key, Slot { happens, usage, input_taken, launching: Some((reply, receiver)), pid: None });
    }

    fn hear(&mut self, session: &Session, event: Event) {
        match event {
            Event::Started { key, pid } => {
                let Some(slot) = self.slots.get_mut(&key) else { return };
                slot.pid = Some(pid);
                let Some((reply, happens)) = slot.launching.take() else { return };
                let (usage, input_taken) = (slot.usage.subscribe(), slot.input_taken.subscribe());
                if reply.send(Ok(Launched { key, pid, happens, usage, input_taken })).is_err() {
                    // The waiting caller is gone.
                    session.say(&Order::Kill { key }).ok();
                }
            }
            Event::Refused { key, refusal } => {
                if let Some((reply, _)) = self.slots.remove(&key).and_then(|slot| slot.launching) {
                    reply.send(Err(refusal.into())).ok();
                }
            }
            Event::Done { key, error } => {
                if let Some(reply) = self.tasks.remove(&key) {
                    reply.send(error.map_or(Ok(()), |error| Err(SpawnError::Refused(error)))).ok();
                }
            }
            Event::Exited { key, exit } => {
                if let Some(slot) = self.slots.remove(&key) {
                    slot.happens.send(Happened::Exited(exit)).ok();
                }
            }
            Event::Used { key, usage } => {
                if let Some(slot) = self.slots.get(&key) {
                    slot.usage.send_replace(usage);
                }
            }
            Event::InputTaken { key, bytes } => {
                if let Some(slot) = self.slots.get(&key) {
                    slot.input_taken.send_modify(|taken| *taken = taken.saturating_add(u64::from(bytes)));
                }
            }
            Event::Measured { request, measured } => {
                if let Some(reply) = self.measures.remove(&request) {
                    reply.send(Ok(measured)).ok();
                }
            }
            Event::Ready { .. } | Event::Unready { .. } | Event::Paused => {}
        }
    }

    fn tell_all(&mut self, exit: &Exit) {
        // Waiting callers learn that no answer will come.
        self.measures.clear();
        for (_, reply) in self.tasks.drain() {
            reply.send(Err(SpawnError::Gone)).ok();
        }
        for (_, slot) in self.slots.drain() {
            match slot.launching {
                Some((reply, _)) => drop(reply.send(Err(SpawnError::Gone))),
                None => drop(slot.happens.send(Happened::Exited(exit.clone()))),
            }
        }
    }

    /// Reaps processes of instance users that the new spawner ended and that became children of this process.
    fn reap_users(&self) {
        let (own, own_uid) = (getpid().as_raw_nonzero().get(), geteuid().as_raw());
        let is_of_instances = |uid: &u32| *uid != own_uid && self.settings.uids.iter().any(|uids| uids.contains(uid));
        let is_theirs = |pid| users_of(pid).is_some_and(|(ids, _)| ids.iter().any(is_of_instances));
        for process in Table::read().all().filter(|process| process.is_dead && process.parent == own) {
            if is_theirs(process.pid) {
                reap(process.pid);
            }
        }
    }

    /// Kills and reaps processes of a dead spawner that became children of this process. Behind a socket, the listening
    /// process does so.
    async fn clean_up(&self) {
        if self.settings.socket.is_some() {
            return;
        }
        let own_uid = geteuid().as_raw();
        let mut known = kill_leftovers(&self.settings.edge_id, move |uid| may_be_ours(uid, own_uid)).await;
        let mains: HashSet<u32> = self.slots.values().filter_map(|slot| slot.pid).collect();
        known.extend(&mains);
        let own = getpid().as_raw_nonzero().get();
        let until = Instant::now() + KILL_WAIT;
        loop {
            let table = Table::read();
            let mut is_done = true;
            let processes = if self.is_adopted { table.all().collect() } else { table.descendants(own) };
            for process in processes {
                let is_in = |ids: &HashSet<u32>, id| u32::try_from(id).is_ok_and(|id| ids.contains(&id));
                // By session: the leader died when its children were killed.
                let is_known = is_in(&known, process.pid) || is_in(&mains, process.session);
                // Processes of a user that only runs instances, including processes without a marker.
                let is_ours = || owner_of(process.pid).is_some_and(|uid| uid != own_uid && self.uids.contains(&uid));
                // Dead children of an earlier edge are reaped by another process.
                let is_reaped_elsewhere = process.is_dead && self.is_adopted && process.parent != own;
                if is_reaped_elsewhere || (!is_known && !is_ours()) {
                    continue;
                }
                is_done = false;
                process.kill();
                if process.parent == own {
                    waitpid(Pid::from_raw(process.pid), WaitOptions::NOHANG).ok();
                }
            }
            if is_done || Instant::now() > until {
                return;
            }
            sleep(BETWEEN_PASSES).await;
        }
    }
}

fn credit(session: &Session, key: u64, bytes: usize) {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    session.say(&Order::Credit { key, bytes }).ok();
}
