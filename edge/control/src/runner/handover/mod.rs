//! Hands the instances to the next edge, which goes on with them as they are.
//!
//! The spawner falls silent first; then each instance stands still (`standstill`), after what it wrote before was
//! logged, and describes itself (`handed`). The next edge makes groups of that (`adopt`), whose instances answer from
//! the start; it resumes the spawner once it serves. Where it does not come up, the edge before resumes it (`give`).

pub(super) mod adopt;
pub(super) mod give;
pub(super) mod handed;
pub(super) mod standstill;
