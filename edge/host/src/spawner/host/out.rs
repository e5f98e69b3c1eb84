//! What the spawner writes to its edge: messages before output, and nothing while its edge changes.

use std::rc::Rc;

use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_local;

use crate::spawner::wire::{self, Event};

/// Most frames of output that wait to be written, of all instances together.
const FRAMES_WAITING: usize = 8;

/// Where messages and output are put to be written.
pub(super) struct Out {
    /// The state that is accessed without waiting.
    first: mpsc::UnboundedSender<Item>,
    /// Output, and ends, which come after it.
    pub(super) then: mpsc::Sender<Vec<u8>>,
    resumed: Rc<Notify>,
}

enum Item {
    Frame(Vec<u8>),
    /// The last frame until the edge resumes.
    Last(Vec<u8>),
}

impl Out {
    /// Begins to write, in the middle of a [`tokio::task::LocalSet`].
    pub(super) fn start(to: OwnedWriteHalf) -> Self {
        let (first, first_out) = mpsc::unbounded_channel();
        let (then, then_out) = mpsc::channel(FRAMES_WAITING);
        let resumed = Rc::new(Notify::new());
        spawn_local(write(to, first_out, then_out, Rc::clone(&resumed)));
        Self { first, then, resumed }
    }

    pub(super) fn send(&self, event: &Event) {
        // Where the edge is gone, so is everything soon.
        if let Ok(frame) = wire::message(event) {
            self.first.send(Item::Frame(frame)).ok();
        }
    }

    /// Writes [`Event::Paused`] behind what waits, and nothing after it until [`Out::resume`].
    pub(super) fn pause(&self) {
        if let Ok(frame) = wire::message(&Event::Paused) {
            self.first.send(Item::Last(frame)).ok();
        }
    }

    /// Goes on writing. To be called once after each [`Out::pause`].
    pub(super) fn resume(&self) {
        self.resumed.notify_one();
    }
}

/// Writes what there is, messages before output.
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
