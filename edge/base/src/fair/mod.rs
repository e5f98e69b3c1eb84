//! Fair use of what is scarce: equal shares, turns, and rates, by app or by another key (law 11).

mod keyed_semaphore;
mod lanes;
mod shares;
mod turns_by_app;
mod windows;

pub use keyed_semaphore::KeyedSemaphore;
pub use lanes::{Lane, Lanes, Turn, Turns};
pub use shares::{Share, Shares};
pub use turns_by_app::{AppTurn, AppTurns, TurnsByApp};
pub use windows::{RateLimit, Windows, ms_since};

/// Shares places among apps, or those of an app among its environments: whether one that has `own` of them gets another
/// while `free` are free.
///
/// The first place is any free one; another needs more free places than it has. So one of them, and with it the holder
/// of a token for it alone, takes half of them at most, and the others find some, however many there are.
#[must_use]
pub const fn may_take_another(own: usize, free: usize) -> bool {
    own < free
}
