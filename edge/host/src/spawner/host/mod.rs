//! `devanture-edge spawner`: parent process of all instances. Follows the orders from standard input, and kills all
//! instances at the end of the input.

mod out;
mod watch;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd as _, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::time::Duration;

use devanture_config::edge_toml::ControlGroups;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, geteuid, getpid, kill_process, kill_process_group,
    set_child_subreaper, wait, waitid, waitpid,
};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep_until};

use self::out::EdgeWriter;
use self::watch::{TICK, WatchPhase};
use super::Exit;
use super::begin::{HostUsers, begin};
use super::cgroup::Groups;
use super::error::Refusal;
use super::instance::{Answer, Instance};
use super::process_users::may_be_ours;
use super::processes::{BETWEEN_PASSES, Identity, InstanceProcesses, Mark, Owner, Process, Table, shares};
use super::tag::mark_of;
use super::wire::{self, Event, Frame, Order, PROTOCOL, Start};

/// Interval of measurements of instances.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Maximum concurrent instances.
const INSTANCES_MAX: usize = 4_096;
/// Maximum waiting orders.
const ORDERS_WAITING: usize = 64;

/// Settings of a spawner.
#[derive(Debug, Clone, Default)]
pub struct HostSettings {
    /// Location of instances' control groups.
    pub cgroup: ControlGroups,
    /// Users permitted for instances.
    pub users: HostUsers,
}

/// Serves the edge at the other end of standard input, a Unix socket; returns after the end of the edge and of every
/// descendant of the process.
///
/// # Errors
/// Fails if the process cannot be set up, or if the other end uses another protocol.
pub fn host(settings: HostSettings) -> io::Result<()> {
    close_inherited()?;
    let socket = StdUnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    set_child_subreaper(Some(getpid()))?;
    socket.set_nonblocking(true)?;
    // A single thread, which starts all processes: the parent-death signal is bound to the parent's thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let (from, to) = UnixStream::from_std(socket)?.into_split();
        serve(settings, from, to).await
    })
}

/// Closes all files except the first three. Must be called before opening files: files already open were inherited from
/// the parent of the edge, and would be open in every instance too.
pub(super) fn close_inherited() -> io::Result<()> {
    let names = std::fs::read_dir("/proc/self/fd")?.flatten().map(|entry| entry.file_name());
    let numbers: Vec<RawFd> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // The list includes the folder being read, which is already closed.
        nix::unistd::close(number).ok();
    }
    Ok(())
}

pub(super) struct Host {
    own: i32,
    /// The only permitted users if the edge has fewer privileges than the process.
    uids: Option<RangeInclusive<u32>>,
    edge_id: String,
    groups: Option<Groups>,
    has_private_folders: bool,
    out: EdgeWriter,
    instances: RefCell<HashMap<u64, Rc<Instance>>>,
    /// Owners of processes at the last check.
    seen: RefCell<HashMap<Identity, u64>>,
    /// Processes without an owner at the last check, and the time since then.
    strays: RefCell<HashMap<Identity, Instant>>,
    /// Users of started processes.
    users: RefCell<BTreeSet<u32>>,
    /// Processes of tasks.
    tasks: RefCell<HashSet<i32>>,
    /// True if a check may be due.
    is_watching: Cell<bool>,
    /// True while the edge is being replaced by the next edge.
    is_paused: Cell<bool>,
    /// True while instances are measured exactly.
    is_measuring: Cell<bool>,
    /// Held while folders are measured.
    measuring: Semaphore,
    /// Notifies the end of any child: the last process of an instance is a child by then.
    pub(super) child_ended: Notify,
}

async fn serve(settings: HostSettings, from: OwnedReadHalf, to: OwnedWriteHalf) -> io::Result<()> {
    // Ctrl-C in a terminal and SIGTERM of a service manager are for the edge, which drains its instances; a spawner
    // that is a separate service ends by the signals, with all started processes.
    let mut told_to_end = signal(SignalKind::terminate())?;
    let _ignored = (signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    let mut children = signal(SignalKind::child())?;
    let mut from = BufReader::with_capacity(wire::CHUNK_BYTES, from);
    let mut to = to;
    let first = wire::read::<Order>(&mut from).await?;
    let Some(Frame::Message(Order::Begin { protocol: PROTOCOL, edge_id, folder, left })) = first else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "this is no edge of this version"));
    };
    let claim = match begin(&settings.users, &edge_id, folder, left).await {
        Ok(claim) => claim,
        Err(reason) => return to.write_all(&wire::message(&Event::Unready { reason })?).await,
    };
    let uids = claim.as_ref().map(|claim| claim.range.clone());
    let groups = Groups::open(&settings.cgroup, &edge_id);
    if let Ok(Some(groups)) = &groups {
        groups.kill_leftovers().await;
    }
    let out = EdgeWriter::start(to);
    let no_folders = super::instance::probe_private_folders(&edge_id).await.err();
    let has_private_folders = no_folders.is_none();
    let claimed = uids.as_ref().map(|uids| (*uids.start(), *uids.end()));
    out.send(&Event::Ready {
        protocol: PROTOCOL,
        no_groups: groups.as_ref().err().cloned(),
        no_folders,
        uids: claimed,
    });
    let mut orders = orders(from);
    let host = Rc::new(Host {
        own: getpid().as_raw_nonzero().get(),
        uids,
        edge_id,
        groups: groups.unwrap_or_default(),
        has_private_folders,
        out,
        instances: RefCell::default(),
        seen: RefCell::default(),
        strays: RefCell::default(),
        users: RefCell::default(),
        tasks: RefCell::default(),
        is_watching: Cell::default(),
        is_paused: Cell::default(),
        is_measuring: Cell::default(),
        measuring: Semaphore::new(1),
        child_ended: Notify::new(),
    });
    let (mut tick, mut turns) = (Instant::now() + TICK, WatchPhase::new());
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => host.carry_out(order),
                None => break,
            },
            _ = children.recv() => host.ended(),
            () = sleep_until(tick), if host.is_watching.get() => {
                host.tick(&mut turns);
                tick = Instant::now() + TICK;
            }
            _ = told_to_end.recv() => if host.uids.is_some() {
                break;
            },
        }
    }
    host.kill_everything().await;
    // No process runs as one of the users any more.
    drop(claim);
    Ok(())
}

/// Returns the orders of the edge, until the edge is gone or sends an invalid order.
fn orders(mut from: BufReader<OwnedReadHalf>) -> mpsc::Receiver<Order> {
    let (sender, receiver) = mpsc::channel(ORDERS_WAITING);
    spawn_local(async move {
        while let Ok(Some(frame)) = wire::read(&mut from).await {
            let order = match frame {
                Frame::Message(order) => order,
                Frame::Input { key, bytes } => Order::Input { key, bytes },
                Frame::Output { .. } => return,
            };
            if sender.send(order).await.is_err() {
                return;
            }
        }
    });
    receiver
}

impl Host {
    fn carry_out(self: &Rc<Self>, order: Order) {
        match order {
            Order::Launch(start) => {
                let key = start.key;
                if let Err(refusal) = self.launch(*start) {
                    self.out.send(&Event::Refused { key, refusal });
                }
            }
            Order::Terminate { key } => self.with(key, |instance| instance.signal(Signal::TERM)),
            Order::Kill { key } => self.with(key, |instance| {
                self.kill_once(instance);
            }),
            Order::Credit { key, bytes } => self.with(key, |instance| instance.credit(bytes)),
            Order::Input { key, bytes } => self.with(key, |instance| instance.input(bytes)),
            Order::Resize { key, size } => self.with(key, |instance| instance.resize(size)),
            Order::Signal { key, signal } => self.with(key, |instance| instance.signal(signal.into())),
            Order::Measure { request, folders, keys, files_max } => {
                self.measure_folders(request, folders, &keys, files_max);
            }
            Order::EndUser { key, uid } => {
                let host = Rc::clone(self);
                spawn_local(async move {
                    let error = host.end_user(uid).await.err();
                    host.out.send(&Event::Done { key, error });
                });
            }
            Order::Task { key, uid, task } => {
                let host = Rc::clone(self);
                spawn_local(async move {
                    let error = host.perform(uid, task).await.err();
                    host.out.send(&Event::Done { key, error });
                });
            }
            Order::Pause => {
                if !self.is_paused.replace(true) {
                    self.out.pause();
                }
            }
            Order::Resume => self.resume(),
            // Reported earlier.
            Order::Begin { .. } => {}
        }
    }

    /// Resumes for the same or the next edge. Output not yet reported as taken by the previous edge counts as taken,
    /// and the usage of instances is reported again.
    fn resume(&self) {
        if !self.is_paused.replace(false) {
            return;
        }
        for instance in self.instances() {
            instance.credit(u32::MAX);
            instance.reported.set(None);
        }
        self.out.resume();
    }

    fn with(&self, key: u64, act: impl FnOnce(&Instance)) {
        let instance = self.instances.borrow().get(&key).cloned();
        if let Some(instance) = instance {
            act(&instance);
        }
    }

    fn launch(self: &Rc<Self>, start: Start) -> Result<(), Refusal> {
        if let Some(uids) = self.uids.as_ref()
            && !start.uid.is_some_and(|uid| uids.contains(&uid))
        {
            let users = format!("{}-{}", uids.start(), uids.end());
            return Err(format!("an instance must have a user of its own, and one of {users}").into());
        }
        if self.instances.borrow().len() >= INSTANCES_MAX || self.instances.borrow().contains_key(&start.key) {
            return Err(format!("there are {INSTANCES_MAX} instances already").into());
        }
        let key = start.key;
        self.users.borrow_mut().extend(start.uid.filter(|uid| *uid != geteuid().as_raw()));
        let started = |main: Pid| {
            self.out.send(&Event::Started { key, pid: main.as_raw_nonzero().get().unsigned_abs() });
        };
        let means = (self.groups.as_ref(), self.has_private_folders);
        let instance = Instance::start(start, &self.edge_id, means, started, &self.out.then)?;
        self.instances.borrow_mut().insert(key, instance);
        self.is_watching.set(true);
        // The process may have ended before being registered.
        self.ended();
        Ok(())
    }

    /// Finds ended main processes. Ended processes are not reaped yet, so that their ids remain reserved.
    fn ended(self: &Rc<Self>) {
        self.is_watching.set(true);
        self.child_ended.notify_waiters();
        for instance in self.instances.borrow().values().filter(|instance| !instance.is_ending.get()) {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            if let Ok(Some(status)) = waitid(WaitId::Pid(instance.main), options) {
                instance.is_ending.set(true);
                spawn_local(Rc::clone(self).end(Rc::clone(instance), status));
            }
        }
    }

    /// Kills the remaining processes of an instance with an ended main process after a grace period, passes on the last
    /// output, and reports the end.
    async fn end(self: Rc<Self>, instance: Rc<Instance>, status: WaitIdStatus) {
        self.wait_for_rest(&instance).await;
        self.end_rest(&instance).await;
        instance.is_over.cancel();
        let Answer { failed, memory } = instance.answer().await;
        if let Some(memory) = memory {
            self.free(&instance, memory).await;
        }
        instance.finished().await;
        let was_out_of_memory = instance.group.as_ref().is_some_and(super::cgroup::Group::was_out_of_memory);
        let verdict = instance.verdict.borrow_mut().take();
        let exit = match (verdict.or(failed), exit_of(&status)) {
            (Some(exit), _) => exit,
            (None, exit) if was_out_of_memory && exit != Exit::Code(0) => Exit::OutOfMemory,
            (None, exit) => exit,
        };
        self.instances.borrow_mut().remove(&instance.key);
        waitpid(Some(instance.main), WaitOptions::NOHANG).ok();
        if let Ok(frame) = wire::message(&Event::Exited { key: instance.key, exit }) {
            self.out.then.send(frame).await.ok();
        }
    }

    /// Assigns processes to instances, and kills processes that stay without an owner: a process that left its family,
    /// group and marker behind would outlive its instance. A single check does not suffice: during `execve` a process
    /// has no variables.
    fn shares<'t>(&self, table: &'t Table) -> InstanceProcesses<'t> {
        let owners: Vec<Owner> = self.instances.borrow().values().map(|instance| instance.owner()).collect();
        let mut shares = shares(table, self.own, &owners, &mut self.seen.borrow_mut(), mark_of);
        shares.strays.retain(|stray| !self.tasks.borrow().contains(&stray.pid));
        let (mut strays, now) = (self.strays.borrow_mut(), Instant::now());
        let before = std::mem::take(&mut *strays);
        for stray in &shares.strays {
            let since = before.get(&stray.identity()).copied().unwrap_or(now);
            if now.duration_since(since) >= BETWEEN_PASSES {
                stray.kill();
            }
            strays.insert(stray.identity(), since);
        }
        shares
    }

    /// Returns the running processes of an instance.
    pub(super) fn running_of(&self, instance: &Instance) -> Vec<Process> {
        let table = Table::read();
        let members = self.shares(&table).of.remove(&instance.key).unwrap_or_default();
        members.into_iter().cloned().collect()
    }

    /// Sends SIGKILL once to all processes of an instance; returns true if no process of the instance, and none
    /// possibly of the instance, was left.
    pub(super) fn kill_once(&self, instance: &Instance) -> bool {
        instance.is_killed.cancel();
        // First, and the whole group at once: a parent that sees a child die may exit with a code before being killed.
        kill_process(instance.main, Signal::KILL).ok();
        kill_process_group(instance.main, Signal::KILL).ok();
        if let Some(group) = &instance.group {
            group.kill();
        }
        let table = Table::read();
        let shares = self.shares(&table);
        let members = shares.of.get(&instance.key).map(Vec::as_slice).unwrap_or_default();
        members.iter().for_each(|process| process.kill());
        self.reap(&table);
        members.is_empty()
            // Strays of another user would make the instances of this user count as resisting.
            && !shares.strays.iter().any(|stray| instance.may_own(stray.pid))
            && instance.group.as_ref().is_none_or(super::cgroup::Group::is_empty)
    }

    /// Reaps dead children except main processes.
    fn reap(&self, table: &Table) {
        let mains: HashSet<i32> =
            self.instances.borrow().values().map(|instance| instance.main.as_raw_nonzero().get()).collect();
        let dead = table.all().filter(|process| process.is_dead && process.parent == self.own);
        for pid in dead.filter(|process| !mains.contains(&process.pid)).filter_map(|dead| Pid::from_raw(dead.pid)) {
            waitpid(Some(pid), WaitOptions::NOHANG).ok();
        }
    }

    /// Sends SIGKILL once to all descendants of the process; returns true if there were none.
    pub(super) fn kill_descendants(&self) -> bool {
        let table = Table::read();
        let descendants = table.descendants(self.own);
        descendants.iter().filter(|process| !process.is_dead).for_each(|process| process.kill());
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        descendants.is_empty()
    }

    pub(super) fn instances(&self) -> Vec<Rc<Instance>> {
        self.instances.borrow().values().cloned().collect()
    }

    /// Returns the users of started processes, except the process's own user.
    pub(super) fn users(&self) -> Vec<u32> {
        self.users.borrow().iter().copied().collect()
    }

    /// Checks that the edge may act as a user.
    ///
    /// # Errors
    /// Returns a message if not permitted.
    pub(super) fn check_user(&self, uid: u32) -> Result<(), String> {
        match &self.uids {
            Some(uids) if !uids.contains(&uid) => {
                Err(format!("{uid} is none of the users {}-{}", uids.start(), uids.end()))
            }
            None if !may_be_ours(uid, geteuid().as_raw()) => Err(format!("{uid} is a user of the system")),
            _ => Ok(()),
        }
    }

    /// Registers the process of a task, which belongs to no instance.
    pub(super) fn note_task(&self, pid: i32) {
        let mut tasks = self.tasks.borrow_mut();
        tasks.retain(|pid| Process::read(*pid).is_some_and(|process| process.parent == self.own));
        tasks.insert(pid);
    }

    /// Returns true for a child that is the main process of an instance, or the process of a task.
    pub(super) fn is_known_child(&self, pid: i32) -> bool {
        let is_main = |instance: &Rc<Instance>| instance.main.as_raw_nonzero().get() == pid;
        self.tasks.borrow().contains(&pid) || self.instances.borrow().values().any(is_main)
    }

    /// Returns true if a mark belongs to an instance other than `instance`.
    pub(super) fn is_of_other_instance(&self, mark: &Mark, instance: &Instance) -> bool {
        let instances = self.instances.borrow();
        instances.values().any(|other| other.key != instance.key && other.has_marked(mark))
    }
}

fn exit_of(status: &WaitIdStatus) -> Exit {
    let code = status.exit_status().map(Exit::Code);
    code.or_else(|| status.terminating_signal().map(Exit::Signal)).unwrap_or(Exit::Lost)
}
