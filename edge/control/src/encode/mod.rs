//! Smaller forms of stored files: compressed variants, deltas from files of earlier versions as dictionaries, and
//! transfer sizes.
//!
//! A push makes quick forms before its switch; [`Background`] makes the best forms afterwards.

mod compress;
mod dictionaries;
mod priority;
mod wire_size;

pub(crate) use compress::delta::sha256;
pub use compress::{Background, BackgroundParts, remade_channel};
pub(crate) use compress::{Given, Pool, Work, best_of_all, quick};
#[cfg(test)]
pub(crate) use compress::{best, delta};
pub use dictionaries::Dictionaries;
#[cfg(test)]
pub(crate) use dictionaries::Pair;
pub(crate) use dictionaries::{Pass, Passed, is_html, kept_in};
pub use priority::Priority;
pub(crate) use wire_size::Siblings;
