//! Attacks by the holder of a leaked or narrow token.

mod accounts;
mod environments;
mod lists;
mod log_readers;
mod media_types;
mod runs;
mod scopes;
mod streams;
mod uploads;
