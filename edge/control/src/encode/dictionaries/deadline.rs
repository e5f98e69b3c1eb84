//! Deadline of a pass: unfinished work is left to the next pass.

use tokio::time::Instant;

/// Returns true if the deadline has passed.
pub(super) fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}
