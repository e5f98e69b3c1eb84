//! Priorities of threads that serve no visitors.

/// Priority of a thread; serving threads keep the priority of the process, and come first.
///
/// The system divides a core by priority, but interrupts a thread that has just begun only at the next tick, up to four
/// milliseconds later. The frequency of these waits depends on the share of all other threads together. The priorities
/// therefore leave little of a busy core to these threads, and all of an idle core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// A quarter of a busy core: storing, loading and checking. Pushes and rollbacks wait for these, even while other
    /// programs want the whole machine.
    Work,
    /// A tenth of a busy core: compression that a push waits for, in as many threads as cores.
    Low,
    /// The minimum, 1.5 % of a busy core: work without a waiting caller.
    Lowest,
}

impl Priority {
    /// Returns the nice value, where 0 is normal and 19 the lowest.
    pub(super) const fn nice(self) -> i32 {
        match self {
            Self::Work => 5,
            Self::Low => 10,
            Self::Lowest => 19,
        }
    }

    /// Lowers the priority of the calling thread, inherited by its later threads and processes.
    pub fn lower(self) {
        // On Linux, priorities belong to threads, and every thread may lower its own.
        if let Err(error) = rustix::process::setpriority_process(None, self.nice()) {
            tracing::warn!(%error, "a thread runs at the priority of those that serve visitors");
        }
    }
}
