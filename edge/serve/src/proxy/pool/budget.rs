//! A budget of retries: a share of the requests, so that a failing backend is not flooded by retries.

use std::sync::atomic::{AtomicU64, Ordering};

/// The cost of one retry.
const RETRY: u64 = 100;
/// Maximum number of saved retries, and the initial credit of a pool.
const SAVED_MAX: u64 = 10;

/// Tokens that requests earn and retries spend.
#[derive(Debug)]
pub(crate) struct Budget {
    /// The credit of a request, in hundredths of a retry.
    percent: u64,
    tokens: AtomicU64,
}

impl Budget {
    /// Creates a budget in which `percent` of the requests may be retries.
    pub(super) fn new(percent: u64) -> Self {
        let saved = if percent == 0 { 0 } else { RETRY * SAVED_MAX };
        Self { percent, tokens: AtomicU64::new(saved) }
    }

    /// Credits a request.
    pub(crate) fn earn(&self) {
        // Usually full: a full budget writes no memory shared with other threads.
        if self.percent == 0 || self.tokens.load(Ordering::Relaxed) >= RETRY * SAVED_MAX {
            return;
        }
        self.tokens.fetch_add(self.percent, Ordering::Relaxed);
    }

    /// Spends the cost of a retry; returns false if the credit is too low.
    pub(crate) fn spend(&self) -> bool {
        self.tokens.try_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| tokens.checked_sub(RETRY)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_requests_may_be_retries_once_what_was_saved_is_spent() {
        let budget = Budget::new(20);
        assert_eq!((0..20).filter(|_| budget.spend()).count(), 10);
        for _ in 0..100 {
            budget.earn();
        }
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 10, "no more than was saved up");
        for _ in 0..10 {
            budget.earn();
        }
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 2);
    }

    #[test]
    fn no_share_is_no_retry() {
        let budget = Budget::new(0);
        budget.earn();
        assert!(!budget.spend());
    }
}
