//! Why this end gives up what it answers, for what is dropped with it.

use std::cell::Cell;

thread_local! {
    static CAUSE: Cell<Option<Cause>> = const { Cell::new(None) };
}

/// Why this end gives up an answer before its last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The time that a drain leaves it is over.
    Drain,
    /// What is held for a peer that takes nothing is needed for others.
    Memory,
}

impl Cause {
    /// That of what is dropped on this thread now: `None` if a peer ends it.
    #[must_use]
    pub fn now() -> Option<Self> {
        CAUSE.get()
    }

    /// It is that of all that is dropped on this thread as long as the value lives.
    #[must_use]
    pub fn begin(self) -> Ending {
        Ending { before: CAUSE.replace(Some(self)) }
    }
}

/// The time in which a [`Cause`] is that of what is dropped.
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
