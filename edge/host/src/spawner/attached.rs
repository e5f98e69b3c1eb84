//! Instances with input, and possibly a terminal, provided by the edge: one-off commands for an attached client.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use bytes::Bytes;
use rustix::fs::{OFlags, Uid, fchown};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local};
use tokio_util::sync::CancellationToken;

use super::attaching::{Attached, WindowSize};
use super::error::Refusal;
use super::instance::{Instance, pass_on};
use super::wire::{self, Event, WINDOW_BYTES};
use super::{Stream, terminal};

/// Character that ends the input of a terminal (termios(3), `VEOF`).
const END_OF_INPUT: u8 = 4;

/// The spawner's end of a terminal.
struct Terminal {
    /// Descriptor for setting the size.
    file: OwnedFd,
    /// Terminal output, until passed on.
    output: RefCell<Option<pipe::Receiver>>,
}

/// The spawner's end of an instance's input.
pub(super) struct Attachment {
    input: mpsc::UnboundedSender<Bytes>,
    /// Waiting bytes.
    waiting: Rc<Cell<usize>>,
    /// True after the end of the input.
    is_over: Cell<bool>,
    terminal: Option<Terminal>,
}

impl Attachment {
    /// Opens the input of an instance within a [`tokio::task::LocalSet`]; also returns the file for the process.
    ///
    /// # Errors
    /// Fails if the system has no more files or terminals.
    pub(super) fn open(
        attached: Attached,
        (key, uid): (u64, Option<u32>),
        out: &mpsc::Sender<Vec<u8>>,
        is_over: &CancellationToken,
    ) -> Result<(Self, OwnedFd), Refusal> {
        let ends = attached.terminal.map(|size| terminal::open(size, uid)).transpose()?;
        Self::over(ends, (key, uid), out, is_over).map_err(Refusal::unattached)
    }

    /// Creates the input from the ends of a terminal, or from a pipe.
    fn over(
        ends: Option<(OwnedFd, OwnedFd)>,
        (key, uid): (u64, Option<u32>),
        out: &mpsc::Sender<Vec<u8>>,
        is_over: &CancellationToken,
    ) -> io::Result<(Self, OwnedFd)> {
        let (own, its, terminal) = match ends {
            Some((own, its)) => {
                // A terminal is read and written like a pipe, by a copy of the descriptor for each direction.
                let output = pipe::Receiver::from_owned_fd_unchecked(own.try_clone()?)?;
                let terminal = Terminal { file: own.try_clone()?, output: RefCell::new(Some(output)) };
                (own, its, Some(terminal))
            }
            None => {
                let (its, own) = pipe_with(PipeFlags::CLOEXEC)?;
                // Programs reopen `/dev/stdin`, which must belong to their user.
                if let Some(uid) = uid {
                    fchown(&its, Some(Uid::from_raw(uid)), None).ok();
                }
                let flags = rustix::fs::fcntl_getfl(&own)? | OFlags::NONBLOCK;
                rustix::fs::fcntl_setfl(&own, flags)?;
                (own, its, None)
            }
        };
        let own = pipe::Sender::from_owned_fd_unchecked(own)?;
        let (input, incoming) = mpsc::unbounded_channel();
        let waiting = Rc::new(Cell::default());
        let writer = Writer { key, is_terminal: terminal.is_some(), out: out.clone(), waiting: Rc::clone(&waiting) };
        let is_over = is_over.clone();
        spawn_local(async move {
            tokio::select! {
                () = writer.write(own, incoming) => {}
                () = is_over.cancelled() => {}
            }
        });
        Ok((Self { input, waiting, is_over: Cell::new(false), terminal }, its))
    }

    /// Accepts input. Input beyond the window is dropped.
    pub(super) fn take(&self, bytes: Bytes) {
        // The end needs no window, and counts once.
        if bytes.is_empty() && self.is_over.replace(true) {
            return;
        }
        let waiting = self.waiting.get().saturating_add(bytes.len());
        if waiting <= WINDOW_BYTES {
            self.waiting.set(waiting);
            self.input.send(bytes).ok();
        }
    }

    /// Passes on the output of an instance's terminal, if any.
    pub(super) fn pass_on(instance: &Rc<Instance>, out: &mpsc::Sender<Vec<u8>>) -> Option<JoinHandle<()>> {
        let terminal = instance.attachment.as_ref()?.terminal.as_ref()?;
        let output = terminal.output.borrow_mut().take()?;
        // After all output was read, the end of a terminal is the error EIO.
        Some(spawn_local(pass_on(Rc::clone(instance), output, Stream::Stdout, out.clone())))
    }
}

impl Instance {
    /// Adds input; ignored by an instance without attachment.
    pub(super) fn input(&self, bytes: Bytes) {
        if let Some(attachment) = &self.attachment {
            attachment.take(bytes);
        }
    }

    /// Resizes the terminal.
    pub(super) fn resize(&self, size: WindowSize) {
        let terminal = self.attachment.as_ref().and_then(|attachment| attachment.terminal.as_ref());
        if let Some(terminal) = terminal {
            terminal::resize(&terminal.file, size).ok();
        }
    }
}

/// Writes the input of one instance.
struct Writer {
    key: u64,
    is_terminal: bool,
    out: mpsc::Sender<Vec<u8>>,
    waiting: Rc<Cell<usize>>,
}

impl Writer {
    /// Writes incoming bytes to the end. Input no longer read by the instance is consumed as well, so that no sender
    /// waits.
    async fn write(self, to: pipe::Sender, mut incoming: mpsc::UnboundedReceiver<Bytes>) {
        let mut to = Some(to);
        while let Some(bytes) = incoming.recv().await {
            if bytes.is_empty() {
                if let (true, Some(terminal)) = (self.is_terminal, &mut to) {
                    terminal.write_all(&[END_OF_INPUT]).await.ok();
                }
                to = None;
                continue;
            }
            if let Some(file) = &mut to
                && file.write_all(&bytes).await.is_err()
            {
                to = None;
            }
            self.waiting.set(self.waiting.get().saturating_sub(bytes.len()));
            let taken = Event::InputTaken { key: self.key, bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX) };
            let Ok(frame) = wire::message(&taken) else { return };
            if self.out.send(frame).await.is_err() {
                return;
            }
        }
    }
}
