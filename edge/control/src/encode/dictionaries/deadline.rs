//! The deadline of a pass: what has no time before it is left to the next pass.

use tokio::time::Instant;

/// Whether there is no time left.
pub(super) fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}
