//! The stores of the edge: blobs by content hash ([`blobs`]), in a folder or a bucket ([`s3`]), and records with
//! compare-and-swap and a watch ([`catalog`]). [`records`] defines the keys and values of the records.

pub mod s3;

pub mod blobs;

pub mod catalog;

pub mod records;
