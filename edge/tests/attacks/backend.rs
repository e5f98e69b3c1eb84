//! A hostile backend, or a hostile service that the edge asks.

mod instances;
mod requests;
