//! Paths of a project that lead out of its folder.
