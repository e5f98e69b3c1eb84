//! Switches of stored versions: preceding checks, the single compare-and-swap, and the watch afterwards.
//!
//! Every push ends here; switches, rollbacks, promotions and canaries are handled entirely here. [`Switcher`] prepares
//! a version, runs its smoke checks, and moves the live pointer in `swap.rs`. On any earlier failure, or a crash of the
//! process, the live version stays live (laws 2 and 3). An [`Intent`] describes the switch; [`Steps`] report its
//! progress, and [`Deploys`] keep the progress in memory.

mod backend;
mod canary;
mod checks;
mod deploys;
mod intent;
mod nodes;
mod pins;
mod rise;
mod smoke;
mod stored;
mod swap;
mod switcher;
mod watch;

#[cfg(test)]
pub(crate) use canary::Windows;
pub(crate) use canary::check_no_canary;
pub use checks::check_if_live;
pub(crate) use checks::{FingerprintCache, Tolerance, check_reason, check_typed};
pub use deploys::EventSink;
pub(crate) use deploys::{Deploys, Origin, StepReporter, Steps, Watched, begun_of, started_ms};
#[cfg(test)]
pub(crate) use intent::Undone;
pub(crate) use intent::{CanaryMove, Intent, Move, Passes, Preconditions};
pub use smoke::{PendingAnswer, Smoke};
pub use stored::Switching;
pub(crate) use stored::with_source;
#[cfg(test)]
pub(crate) use swap::Running;
pub(crate) use swap::{SwitchOutcome, check_expected};
pub(crate) use switcher::{Switcher, Watcher};
pub(crate) use watch::Caution;
