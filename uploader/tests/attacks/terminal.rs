//! Texts of a project on a terminal.
