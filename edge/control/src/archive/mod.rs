//! Bundles in one request: archives, unpacked file by file into the store, and converted to a manifest.
//!
//! Bytes of the request pass through [`mod@feed`] to a blocking thread. A tar, packed or not, is unpacked while
//! received ([`mod@untar`]); a zip has its directory at the end, and is first spooled to a bounded temporary file
//! ([`mod@unzip`]). [`gate`] admits entries before any byte is stored; [`store`] passes each file to the store, which
//! computes its hash; [`bundle`] builds the manifest. `publish` drives these steps, and finishes the push like any
//! other. Memory is bounded for any input: a few chunks, and the names of the files.
//!
//! The `tar` crate uses blocking readers. Blocking readers are suitable here: decompression occupies a whole core,
//! which threads of the API must not provide, and the asynchronous forks of the crate are younger copies of the same
//! parser.

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
