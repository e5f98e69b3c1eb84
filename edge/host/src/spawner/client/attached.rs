//! Orders for attached instances: input, terminal size, signals.

use crate::spawner::attaching::AttachedOrder;
use crate::spawner::session::Session;
use crate::spawner::wire::{self, Order};

/// Passes an order on. Input longer than a frame is split.
pub(super) fn pass_on(session: &Session, key: u64, order: AttachedOrder) {
    match order {
        AttachedOrder::Input(bytes) if bytes.is_empty() => put(session, key, &bytes),
        AttachedOrder::Input(bytes) => bytes.chunks(wire::CHUNK_BYTES).for_each(|chunk| put(session, key, chunk)),
        AttachedOrder::Resize(size) => drop(session.say(&Order::Resize { key, size })),
        AttachedOrder::Signal(signal) => drop(session.say(&Order::Signal { key, signal })),
    }
}

fn put(session: &Session, key: u64, bytes: &[u8]) {
    if let Ok(frame) = wire::input(key, bytes) {
        session.put(frame);
    }
}
