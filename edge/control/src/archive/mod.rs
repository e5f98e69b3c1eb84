//! Bundles in one request: archives, unpacked file by file into the store, and made into a manifest at their end.
//!
//! The bytes of a request go through [`mod@feed`] to a blocking thread. A tar, packed or not, is unpacked there as it
//! comes ([`mod@untar`]); a zip has its directory at its end, so it is first spooled to one bounded temporary file
//! ([`mod@unzip`]). [`gate`] decides what of it may be in a bundle, before a byte of it is stored; [`store`] hands each
//! file to the store, which finds its hash; [`bundle`] makes the manifest. `publish` is the way through all of this,
//! and ends where any other push is finished. What is held in memory is bounded, whatever comes: a few chunks, and the
//! names of the files.
//!
//! The `tar` crate reads from blocking readers. That fits: inflating takes a whole core, which the thread of the API
//! must not give, and the asynchronous descendants of the crate are younger copies of the same parser.

mod backend;
mod bounds;
mod bundle;
mod feed;
mod gate;
mod kind;
mod refusal;
mod store;
#[cfg(test)]
mod tests;
mod tree;
mod untar;
mod unzip;

pub(crate) use bounds::archive_bytes_max;
pub(crate) use bundle::manifest;
pub(crate) use feed::{Feed, FeedReader, feed};
pub(crate) use kind::{HEAD_BYTES, Kind};
pub(crate) use refusal::{Refusal, bad, broken_off, damaged, too_large};
pub(crate) use store::{Count, Files, Piece, Sink, unpack_into};
pub(crate) use untar::untar;
pub(crate) use unzip::{SpoolError, spool, unzip};
