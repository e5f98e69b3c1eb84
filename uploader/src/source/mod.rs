//! Where a bundle comes from: what the repository and the CI system say.

pub(crate) mod ci;
pub(crate) mod git;
