//! Requests that try to reach what they should not.

mod bodies;
mod redirects;
mod trailers;
