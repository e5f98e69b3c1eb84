//! Switches of stored versions: preceding checks, the single compare-and-swap, and the watch afterwards.
//!
//! Every push ends here; switches, rollbacks, promotions and canaries are handled entirely here. [`Switcher`] prepares
//! a version, runs its smoke checks, and moves the live pointer in `swap.rs`. On any earlier failure, or a crash of the
//! process, the live version stays live (laws 2 and 3). An [`Intent`] describes the switch; [`Steps`] report its
//! progress, and [`Deploys`] keep the progress in memory.

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
pub(crate) use swap::{SwitchOutcome, check_expected};
pub(crate) use switcher::Switcher;
pub(crate) use watch::Caution;
pub(crate) use watcher::Watcher;
