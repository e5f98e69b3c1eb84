//! Handover of running instances to the next edge.
//!
//! First the spawner falls silent; then each instance is paused (`standstill`), after its earlier output was logged,
//! and described (`handed`). The next edge rebuilds the groups (`adopt`), whose instances answer from the start, and
//! resumes the spawner once it serves. If the next edge does not come up, the predecessor resumes the spawner (`give`).

pub(super) mod adopt;
pub(super) mod give;
pub(super) mod handed;
pub(super) mod standstill;
