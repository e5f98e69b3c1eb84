//! Schedules: commands of a backend at their times, on request, and through whatever happens to the edge meanwhile.

mod requested;
mod times;
pub(crate) mod world;
