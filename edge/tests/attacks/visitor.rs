//! A visitor without any rights, or many of them at once.

mod handshakes;
mod requests;
mod slow_readers;
