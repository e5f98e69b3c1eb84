//! Attacks by one visitor without rights, or by many visitors at once.

mod admin_bodies;
mod backend_sockets;
mod descriptors;
mod dictionaries;
mod handshakes;
mod logs;
mod pages;
mod requests;
mod slow_readers;
mod websockets;
