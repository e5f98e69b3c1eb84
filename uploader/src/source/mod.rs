//! The origin of a bundle, from the repository and the CI system.

pub(crate) mod ci;
pub(crate) mod git;
