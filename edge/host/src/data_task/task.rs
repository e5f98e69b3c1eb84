//! `devanture-edge data-task`: works on the data of one environment, as the environment's user and within the limits of
//! an instance.
//!
//! The order is an environment variable. The result is written to standard output as JSON, or as an archive; a failure
//! goes to standard error with exit code 1.

use std::io::{self, BufReader, Write};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use devanture_config::api::{DataEntry, DataKind, DataList, DataReport};
use devanture_config::problem::Code;
use rustix::fs::FileType;
use serde::Serialize;

use super::order::{Failure, ORDER, Order, Work};
use super::rest::write_rest;
use super::{archive, files, snapshots, unpack};

/// Line that reports a listening socket.
pub const LISTENING: &str = "listening\n";
/// Bytes read from the socket at once.
const SOCKET_BYTES: usize = 256 * 1024;
/// Maximum bytes of all paths in a listing.
const LIST_PATH_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Runs the task of the order.
///
/// # Errors
/// Fails without an order, or after reporting a failure on standard error.
pub fn run() -> io::Result<()> {
    let order = std::env::var(ORDER).map_err(io::Error::other)?;
    let order: Order = serde_json::from_str(&order)?;
    let output = io::stdout();
    match perform(&order, &output) {
        Ok(()) => Ok(()),
        Err(failure) => {
            serde_json::to_writer(io::stderr(), &failure)?;
            Err(io::Error::other("the work on the data failed"))
        }
    }
}

pub(super) fn perform(order: &Order, output: &io::Stdout) -> Result<(), Failure> {
    if order.work == Work::Recover {
        snapshots::recover(order)?;
        snapshots::discard(order)?;
        return answer(output, &DataReport::default());
    }
    // Instances may be running: their data must not be moved.
    snapshots::check_whole(order)?;
    snapshots::tidy(order)?;
    if matches!(order.work, Work::Replace { .. }) {
        // The remaining draft is needed to finish, even after a failure.
        return work(order, output);
    }
    snapshots::discard(order)?;
    let done = work(order, output);
    if done.is_err() {
        // Partial drafts and archives take space, and are never resumed.
        snapshots::discard(order)?;
        snapshots::tidy(order)?;
    }
    done
}

fn work(order: &Order, output: &io::Stdout) -> Result<(), Failure> {
    match &order.work {
        Work::List { entries_max } => answer(output, &list(order, *entries_max)?),
        Work::Pull { rest } => write_rest(output.lock(), *rest, |to| archive::write(order, to).map(drop)),
        Work::PullSnapshot { name, rest } => {
            let mut file = snapshots::open(&order.snapshots, name)?;
            write_rest(output.lock(), *rest, |to| io::copy(&mut file, to).map(drop).map_err(|error| broken(&error)))
        }
        Work::Snapshot { name, may_replace } => answer(output, &snapshots::make(order, name, *may_replace)?),
        Work::Receive { socket } => answer(output, &receive(order, socket, output)?),
        Work::Unpack { name } => {
            let file = snapshots::open(&order.snapshots, name)?;
            answer(output, &unpack::unpack(file, &snapshots::draft(order)?, &order.bounds)?)
        }
        Work::Replace { before } => {
            let root = files::folder(&order.data)?;
            let is_empty = files::names(root.as_fd(), order.bounds.files_max)
                .map_err(|error| Failure::io("reading", "the folder", &error))?
                .is_empty();
            let report = if is_empty { DataReport::default() } else { snapshots::make(order, before, true)? };
            snapshots::replace(order)?;
            answer(output, &report)
        }
        Work::Recover => Ok(()),
        Work::Remove { name } => {
            snapshots::remove(&order.snapshots, name)?;
            answer(output, &DataReport { removed: vec![name.clone()], ..DataReport::default() })
        }
    }
}

fn list(order: &Order, entries_max: u64) -> Result<DataList, Failure> {
    let root = files::folder(&order.data)?;
    let mut list = DataList {
        node: String::new(),
        files: 0,
        bytes: 0,
        entries: Vec::new(),
        is_partial: false,
        snapshots: snapshots::list(&order.snapshots)?,
    };
    let mut named_bytes = 0_usize;
    let walked = files::walk(&root, order.bounds.files_max, |entry| {
        list.files = list.files.saturating_add(1);
        list.bytes = list.bytes.saturating_add(entry.bytes());
        named_bytes = named_bytes.saturating_add(entry.path.as_os_str().len());
        if list.files > entries_max || named_bytes > LIST_PATH_BYTES_MAX {
            list.is_partial = true;
            return Ok(());
        }
        let kind = match entry.kind {
            FileType::RegularFile => DataKind::File,
            FileType::Directory => DataKind::Folder,
            FileType::Symlink => DataKind::Link,
            _ => DataKind::Special,
        };
        let (path, bytes) = (entry.path.to_string_lossy().into_owned(), entry.bytes());
        list.entries.push(DataEntry { path, kind, bytes, modified_ms: entry.modified_ms() });
        Ok(())
    });
    match walked {
        // A user who must remove files needs the list and the snapshots.
        Err(Failure { code: Code::PersistFull, .. }) => list.is_partial = true,
        walked => walked?,
    }
    Ok(list)
}

/// Unpacks the archive received over one connection.
fn receive(order: &Order, socket: &Path, output: &io::Stdout) -> Result<DataReport, Failure> {
    let draft = snapshots::draft(order)?;
    let failed = |error: io::Error| Failure::io("listening at", "a socket", &error);
    let listener = UnixListener::bind(socket).map_err(failed)?;
    let mut output = output.lock();
    output.write_all(LISTENING.as_bytes()).and_then(|()| output.flush()).map_err(|error| broken(&error))?;
    drop(output);
    let (connection, _) = listener.accept().map_err(failed)?;
    unpack::unpack(BufReader::with_capacity(SOCKET_BYTES, connection), &draft, &order.bounds)
}

fn answer(output: &io::Stdout, value: &impl Serialize) -> Result<(), Failure> {
    let mut output = output.lock();
    serde_json::to_writer(&mut output, value).map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    output.flush().map_err(|error| broken(&error))
}

fn broken(error: &io::Error) -> Failure {
    Failure::io("writing", "the answer", error)
}
