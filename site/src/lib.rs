//! The meaning of a request to a version, as pure functions: no I/O, no clock, no async, and in the common case no
//! allocation.
//!
//! [`target`] brings a request's path to its normal form, and [`resolve`] maps the normal form to a file of the version
//! or to a redirect; [`fast_paths`] caches both for the most frequent paths. [`negotiate`] then selects the variant,
//! [`conditional`] decides whether the client has the variant already, and [`range`] selects the requested part.
//! [`media`], [`well_known`] and [`fingerprint`] read a file's name, and [`charset`] the encoding of its bytes; these
//! four run when a version is loaded. Time is passed in as seconds since the epoch. [`rules`] holds the site's own
//! settings for its paths, beyond its files. [`decide`](mod@decide) fixes the order of these steps, for both programs;
//! [`answers`] explains the order to the command line, which has no loaded version.
//!
//! Values of header fields are bytes, since a field may carry bytes that are not ASCII (RFC 9110 §5.5) and a malformed
//! part must not hide a well-formed part. A field in several lines is first joined by [`fields::joined`].

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
