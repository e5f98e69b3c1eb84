//! Orders for instances that are attached: their input, the size of their terminal, signals.

use bytes::Bytes;

use crate::spawner::session::Session;
use crate::spawner::wire::{self, Order};
use crate::spawner::{PassedSignal, WindowSize};

/// An order for an attached instance.
#[derive(Debug)]
pub(in crate::spawner) enum AttachedOrder {
    /// Input; empty at its end.
    Input(Bytes),
    Resize(WindowSize),
    Signal(PassedSignal),
}

/// Passes an order on. Input is cut where it is longer than one frame may be.
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
