//! The meaning of a request to a version, as pure functions: no I/O, no clock, no async, and in the common case no
//! allocation.
//!
//! A request's path goes through [`target`] to its one normal form, and through [`resolve`] to a file of the version or
//! to a redirect; [`fast_paths`] holds what both say of the paths that are asked for most. [`negotiate`] then picks the
//! variant, [`conditional`] decides whether the client has it already, and [`range`] which part of it is wanted. What a
//! file's name says is in [`media`], [`well_known`] and [`fingerprint`], what its bytes say about their encoding in
//! [`charset`]; these four run when a version is loaded. Time comes in as seconds since the epoch. What the site itself
//! says about its paths, beyond its files, is in [`rules`]. [`decide`](mod@decide) is the order of these questions, for
//! both programs; [`answers`] explains it to the command line, which has no loaded version.
//!
//! Values of header fields come in as bytes, since a field may carry bytes that are not ASCII (RFC 9110 §5.5) and a
//! malformed part must not hide a well-formed one beside it. A field that came in several lines is put together by
//! [`fields::joined`] first.

pub mod answers;
pub mod cache;
pub mod canary;
pub mod charset;
pub mod conditional;
pub mod date;
pub mod decide;
pub mod dictionary;
pub mod fast_paths;
pub mod fields;
pub mod fingerprint;
pub mod integrity;
pub mod media;
pub mod method;
mod name_table;
pub mod navigation;
pub mod negotiate;
pub mod pin;
pub mod precompressed;
pub mod range;
pub mod resolve;
pub mod rules;
pub mod sent_path;
pub mod target;
pub mod well_known;
