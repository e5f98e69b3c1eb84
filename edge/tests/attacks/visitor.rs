//! A visitor without any rights, or many of them at once.

mod handshakes;
mod pages;
mod requests;
mod slow_readers;
mod websockets;
