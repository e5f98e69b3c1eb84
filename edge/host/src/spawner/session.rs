//! Connection to one spawner, from start to end.

use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::Stdio;
use std::time::Duration;

use devanture_config::edge_toml::ControlGroups;
use tokio::io::{AsyncWriteExt as _, BufReader, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::handover::connection;
use super::wire::{self, Event, Frame, Order, PROTOCOL};
use super::{Means, SpawnError, SpawnerSettings};

/// Longest time until a spawner is ready, which includes killing leftovers of an earlier run.
const READY_WAIT: Duration = Duration::from_secs(30);
/// Longest time of the end before a kill.
const END_WAIT: Duration = Duration::from_secs(20);
/// Maximum received frames waiting to be handled.
const FRAMES_WAITING: usize = 16;

/// One spawner, from start to end.
pub(super) struct Session {
    /// Child process; `None` behind a socket, or if an earlier edge started the spawner.
    child: Option<Child>,
    /// Copy of the connection for the next edge.
    socket: OwnedFd,
    /// Users claimed by the spawner.
    pub(super) uids: Option<RangeInclusive<u32>>,
    pub(super) frames: mpsc::Receiver<Frame<Event>>,
    pub(super) out: mpsc::UnboundedSender<Vec<u8>>,
    reader: JoinHandle<Option<Reader>>,
    writer: JoinHandle<WriteHalf<UnixStream>>,
}

/// Reads frames and passes them on.
struct Reader {
    from: BufReader<ReadHalf<UnixStream>>,
    to: mpsc::Sender<Frame<Event>>,
}

impl Reader {
    /// Reads to the end, or until the spawner pauses: then returns itself, with later bytes unread.
    async fn read_on(mut self) -> Option<Self> {
        loop {
            match wire::read(&mut self.from).await {
                Ok(Some(frame)) => {
                    let is_last = matches!(frame, Frame::Message(Event::Paused));
                    self.to.send(frame).await.ok()?;
                    if is_last {
                        return Some(self);
                    }
                }
                Ok(None) => return None,
                Err(error) => {
                    tracing::debug!(%error, "the spawner cannot be heard any more");
                    return None;
                }
            }
        }
    }
}

impl Session {
    /// Creates a session over a connection.
    fn over(child: Option<Child>, socket: UnixStream, is_paused: bool) -> io::Result<Self> {
        let copy = socket.as_fd().try_clone_to_owned()?;
        // Halves without a shutdown on drop: the connection may continue with the next edge.
        let (from, mut to) = tokio::io::split(socket);
        let (out, mut waiting) = mpsc::unbounded_channel::<Vec<u8>>();
        let writer = tokio::spawn(async move {
            while let Some(frame) = waiting.recv().await {
                if to.write_all(&frame).await.is_err() {
                    break;
                }
            }
            to
        });
        let (sender, frames) = mpsc::channel(FRAMES_WAITING);
        let reader = Reader { from: BufReader::with_capacity(4 * wire::CHUNK_BYTES, from), to: sender };
        let reader = match is_paused {
            true => tokio::spawn(async move { Some(reader) }),
            false => tokio::spawn(reader.read_on()),
        };
        Ok(Self { child, socket: copy, uids: None, frames, out, reader, writer })
    }

    /// Adopts the paused connection of an earlier edge.
    ///
    /// # Errors
    /// Errors of the socket.
    pub(super) fn adopt(socket: OwnedFd, uids: Option<RangeInclusive<u32>>) -> io::Result<Self> {
        let mut session = Self::over(None, connection(socket)?, true)?;
        session.uids = uids;
        Ok(session)
    }

    /// Copies the connection for the next edge.
    ///
    /// # Errors
    /// Fails if no descriptors are left.
    pub(super) fn copy(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    /// Resumes after a pause.
    ///
    /// # Errors
    /// Fails if the connection was lost before the pause.
    pub(super) async fn resume(&mut self) -> io::Result<()> {
        let reader = (&mut self.reader).await.ok().flatten().ok_or(io::ErrorKind::BrokenPipe)?;
        self.reader = tokio::spawn(reader.read_on());
        self.say(&Order::Resume)
    }

    pub(super) async fn open(settings: &SpawnerSettings, means: &watch::Sender<Means>) -> Result<Self, SpawnError> {
        let (child, socket) = match &settings.socket {
            Some(path) => (None, UnixStream::connect(path).await.map_err(SpawnError::Start)?),
            None => own_spawner(settings).map_err(SpawnError::Start)?,
        };
        let mut session = Self::over(child, socket, false).map_err(SpawnError::Start)?;
        let left = settings.uids.iter().map(|uids| (*uids.start(), *uids.end())).collect();
        let (edge_id, folder) = (settings.edge_id.clone(), settings.folder.display().to_string());
        session.say(&Order::Begin { protocol: PROTOCOL, edge_id, folder, left }).ok();
        let error = match timeout(READY_WAIT, session.frames.recv()).await {
            Ok(Some(Frame::Message(Event::Ready { protocol: PROTOCOL, no_groups, no_folders, uids }))) => {
                log_means(settings, no_groups.as_deref(), no_folders.as_deref());
                let control_groups = no_groups.is_none() && settings.cgroup != ControlGroups::Off;
                means.send_replace(Means { control_groups, private_folders: no_folders.is_none() });
                session.uids = uids.map(|(first, last)| first..=last);
                return Ok(session);
            }
            Ok(Some(Frame::Message(Event::Unready { reason }))) => SpawnError::Start(io::Error::other(reason)),
            Ok(Some(_)) => SpawnError::Protocol,
            Ok(None) => SpawnError::Start(io::ErrorKind::BrokenPipe.into()),
            Err(_) => SpawnError::Start(io::ErrorKind::TimedOut.into()),
        };
        // A dropped connection stays open as long as a reader exists.
        tokio::spawn(session.close());
        Err(error)
    }

    pub(super) fn say(&self, order: &Order) -> io::Result<()> {
        let frame = wire::message(order)?;
        // A lost connection is noticed by the reader.
        self.out.send(frame).ok();
        Ok(())
    }

    /// Writes a frame.
    pub(super) fn put(&self, frame: Vec<u8>) {
        self.out.send(frame).ok();
    }

    /// Closes the sending side, upon which the spawner kills all instances, and waits until the spawner is gone.
    pub(super) async fn close(self) {
        let Self { child, mut frames, out, writer, .. } = self;
        drop(out);
        let gone = async {
            if let Ok(mut to) = writer.await {
                to.shutdown().await.ok();
            }
            while frames.recv().await.is_some() {}
        };
        let is_gone = timeout(END_WAIT, gone).await.is_ok();
        if let Some(mut child) = child {
            if !is_gone {
                child.start_kill().ok();
            }
            child.wait().await.ok();
        }
    }

    /// Cleans up after the connection to a spawner is lost.
    pub(super) async fn bury(self) {
        if let Some(mut child) = self.child {
            child.start_kill().ok();
            child.wait().await.ok();
        }
    }
}

fn log_means(settings: &SpawnerSettings, no_groups: Option<&str>, no_folders: Option<&str>) {
    match no_groups {
        // Control groups were not requested.
        Some(reason) if settings.cgroup == ControlGroups::Auto => {
            tracing::info!(reason, "instances have no control groups: what they use is measured");
        }
        Some(reason) => tracing::warn!(reason, "instances have no control groups: what they use is measured"),
        None => {}
    }
    if let Some(reason) = no_folders {
        tracing::info!(
            reason,
            "instances have no private folders for temporary files: these count as what an environment keeps"
        );
    }
}

/// Starts a spawner as a child with the socket as standard input. The child has no environment of the edge, and a
/// separate process group, so that Ctrl-C in a terminal only reaches the edge.
fn own_spawner(settings: &SpawnerSettings) -> io::Result<(Option<Child>, UnixStream)> {
    let (own, its) = StdUnixStream::pair()?;
    own.set_nonblocking(true)?;
    let mut command = Command::new(&settings.program);
    command.arg("spawner").env_clear().process_group(0);
    command.arg("--cgroup").arg(settings.cgroup.to_string());
    let child = command.stdin(OwnedFd::from(its)).stdout(Stdio::null()).spawn()?;
    Ok((Some(child), UnixStream::from_std(own)?))
}
