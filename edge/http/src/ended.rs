//! Reason for abandoning an answer, readable by values dropped with the answer.

use std::cell::Cell;

thread_local! {
    static CAUSE: Cell<Option<Cause>> = const { Cell::new(None) };
}

/// Reason of this end to abandon an answer before the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The time limit of a drain is over.
    Drain,
    /// Memory is scarce, and the peer does not read.
    Memory,
}

impl Cause {
    /// Returns the reason for values dropped on the current thread: `None` if the peer ended the answer.
    #[must_use]
    pub fn now() -> Option<Self> {
        CAUSE.get()
    }

    /// Sets the reason for all values dropped on the current thread until the guard is dropped.
    #[must_use]
    pub fn begin(self) -> Ending {
        Ending { before: CAUSE.replace(Some(self)) }
    }
}

/// Guard during which a [`Cause`] applies to dropped values.
#[derive(Debug)]
pub struct Ending {
    before: Option<Cause>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        CAUSE.set(self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::Cause;

    #[test]
    fn a_cause_holds_as_long_as_its_value_lives() {
        assert_eq!(Cause::now(), None);
        let drain = Cause::Drain.begin();
        let memory = Cause::Memory.begin();
        assert_eq!(Cause::now(), Some(Cause::Memory));
        drop(memory);
        assert_eq!(Cause::now(), Some(Cause::Drain));
        drop(drain);
        assert_eq!(Cause::now(), None);
    }
}
