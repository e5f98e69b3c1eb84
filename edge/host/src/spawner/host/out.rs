//! Output of the spawner to the edge: messages before instance output, and no output during a handover.

use std::rc::Rc;

use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_local;

use crate::spawner::wire::{self, Event};

/// Maximum waiting frames of output, for all instances together.
const FRAMES_WAITING: usize = 8;

/// Queues of messages and output.
pub(super) struct EdgeWriter {
    /// Messages, queued without waiting.
    first: mpsc::UnboundedSender<Item>,
    /// Output, followed by ends.
    pub(super) then: mpsc::Sender<Vec<u8>>,
    resumed: Rc<Notify>,
}

enum Item {
    Frame(Vec<u8>),
    /// Last frame before the edge resumes.
    Last(Vec<u8>),
}

impl EdgeWriter {
    /// Starts the writer within a [`tokio::task::LocalSet`].
    pub(super) fn start(to: OwnedWriteHalf) -> Self {
        let (first, first_out) = mpsc::unbounded_channel();
        let (then, then_out) = mpsc::channel(FRAMES_WAITING);
        let resumed = Rc::new(Notify::new());
        spawn_local(write(to, first_out, then_out, Rc::clone(&resumed)));
        Self { first, then, resumed }
    }

    pub(super) fn send(&self, event: &Event) {
        // Without an edge, the whole spawner ends soon.
        if let Ok(frame) = wire::message(event) {
            self.first.send(Item::Frame(frame)).ok();
        }
    }

    /// Writes [`Event::Paused`] after the queued frames, and no further frame until [`EdgeWriter::resume`].
    pub(super) fn pause(&self) {
        if let Ok(frame) = wire::message(&Event::Paused) {
            self.first.send(Item::Last(frame)).ok();
        }
    }

    /// Resumes writing. Must be called once after each [`EdgeWriter::pause`].
    pub(super) fn resume(&self) {
        self.resumed.notify_one();
    }
}

/// Writes queued frames, messages before output.
async fn write(
    mut to: OwnedWriteHalf,
    mut first: mpsc::UnboundedReceiver<Item>,
    mut then: mpsc::Receiver<Vec<u8>>,
    resumed: Rc<Notify>,
) {
    loop {
        let item = tokio::select! {
            biased;
            item = first.recv() => item,
            frame = then.recv() => frame.map(Item::Frame),
        };
        let (frame, is_last) = match item {
            Some(Item::Frame(frame)) => (frame, false),
            Some(Item::Last(frame)) => (frame, true),
            None => return,
        };
        if to.write_all(&frame).await.is_err() {
            return;
        }
        if is_last {
            resumed.notified().await;
        }
    }
}
