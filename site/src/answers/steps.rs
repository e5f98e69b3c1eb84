//! Budget of lookups for the pages of a version: bounds the cost of one push, whatever the pages contain.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a script searched in one step.
const BYTES_PER_STEP: u64 = 1_024;

/// A page reaches more modules than its import map may hold, or the lookups exceed the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

/// Remaining steps, for all pages and environments of a version together.
#[derive(Debug)]
pub struct Steps(AtomicU64);

impl Steps {
    /// A budget of `most` steps: one for each looked-up address, and for each KiB of a script.
    #[must_use]
    pub const fn new(most: u64) -> Self {
        Self(AtomicU64::new(most))
    }

    /// Ends every search at once, for example if its result is no longer awaited.
    pub fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Returns true if a search may continue.
    #[must_use]
    pub fn are_left(&self) -> bool {
        self.left() > 0
    }

    /// The number of remaining steps.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes some steps.
    ///
    /// # Errors
    /// [`TooMany`] if fewer are left: the remaining steps are then lost, too.
    pub fn take(&self, count: u64) -> Result<(), TooMany> {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(count));
        if taken.is_err() {
            self.end();
            return Err(TooMany);
        }
        Ok(())
    }

    /// Takes the steps of a script of the given length.
    pub(super) fn take_script(&self, bytes: u64) -> Result<(), TooMany> {
        self.take(1_u64.saturating_add(bytes / BYTES_PER_STEP))
    }
}

/// The length of a list, as steps.
pub(super) fn steps(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
