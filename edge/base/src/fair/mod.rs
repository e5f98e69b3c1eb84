//! Fair use of scarce resources: equal shares, turns, and rates, by app or another key (law 11).

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

/// Returns true if an app that holds `own` places may take another while `free` are free. Also applies to the
/// environments of an app.
///
/// The first place is any free place; each further place requires more free places than held. So an app, or the holder
/// of a token for a single app, takes at most half of the places, and the remaining apps find some, however many apps
/// exist.
#[must_use]
pub const fn may_take_another(own: usize, free: usize) -> bool {
    own < free
}
