//! How much is looked up for the pages of a version: what one push may cost, however its pages are written.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a script whose addresses are found in one step.
const BYTES_PER_STEP: u64 = 1_024;

/// A page reaches more modules than its import map may hold, or more is to be looked up than may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

/// Steps that are left, for all pages and environments of a version together.
#[derive(Debug)]
pub struct Steps(AtomicU64);

impl Steps {
    /// So many: one for each address that is looked up, and for each KiB of a script.
    #[must_use]
    pub const fn new(most: u64) -> Self {
        Self(AtomicU64::new(most))
    }

    /// Ends every look at once, as where nobody waits for it any more.
    pub fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Whether a look may go on.
    #[must_use]
    pub fn are_left(&self) -> bool {
        self.left() > 0
    }

    /// How many are left.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes some.
    ///
    /// # Errors
    /// [`TooMany`] where there are not so many: then there is none for what follows either.
    pub fn take(&self, count: u64) -> Result<(), TooMany> {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(count));
        if taken.is_err() {
            self.end();
            return Err(TooMany);
        }
        Ok(())
    }

    /// Takes those that a script of this length costs.
    pub(super) fn take_script(&self, bytes: u64) -> Result<(), TooMany> {
        self.take(1_u64.saturating_add(bytes / BYTES_PER_STEP))
    }
}

/// The length of a list, as steps.
pub(super) fn steps(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
