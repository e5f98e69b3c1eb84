//! Requests for forbidden targets.

mod addresses;
mod bodies;
mod redirects;
mod trailers;
