//! Makes stored versions live: the checks before it, the one compare-and-swap, and what is watched after it.
//!
//! A push ends here, and every switch, rollback, promotion and canary is here alone: [`Switcher`] prepares a version,
//! asks it the questions of its smoke gate, and moves the live pointer in `swap.rs`. Whatever fails before that, or
//! however the process ends, the version that was live stays live (laws 2 and 3). What goes live is an [`Intent`]; how
//! it goes is reported as [`Steps`] and kept in [`Deploys`].

mod announcements;
mod backend;
mod canary;
mod checks;
mod deploys;
mod fingerprints;
mod intent;
mod nodes;
mod pins;
mod reach;
mod rise;
mod rollout;
mod rules;
mod signed;
mod smoke;
mod smoke_run;
mod steps;
mod stored;
mod swap;
mod switcher;
mod trial;
mod watch;
mod watcher;

pub(crate) use announcements::with_source;
#[cfg(test)]
pub(crate) use canary::Windows;
pub(crate) use canary::check_no_canary;
pub use checks::check_if_live;
pub(crate) use checks::{check_reason, check_typed};
pub(crate) use deploys::{Deploys, Origin, Watched, begun_of, started_ms};
pub(crate) use fingerprints::Fingerprints;
#[cfg(test)]
pub(crate) use intent::Undone;
pub(crate) use intent::{CanaryMove, Intent, Move, Passes, Preconditions};
pub(crate) use rules::Tolerance;
pub use smoke::{PendingAnswer, Smoke};
pub use steps::EventSink;
pub(crate) use steps::{StepReporter, Steps};
pub use stored::Switching;
#[cfg(test)]
pub(crate) use swap::Running;
pub(crate) use swap::{Moved, check_expected};
pub(crate) use switcher::Switcher;
pub(crate) use watch::Caution;
pub(crate) use watcher::Watcher;
