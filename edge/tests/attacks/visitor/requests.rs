//! Requests that try to reach what they should not.

mod addresses;
mod bodies;
mod redirects;
mod trailers;
