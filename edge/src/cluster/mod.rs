//! The other nodes of a cluster: who they are, connections to them by mutual TLS, and what nodes ask of each other.
//!
//! Nodes are equal. Each has a certificate of the cluster's CA ([`authority`]), by which it is known to the others, and a
//! record in the catalog for as long as it lives ([`crate::ledger::Members`]). A node that has a request connects to the
//! address in that record ([`peer`]), and the other one answers ([`listener`]) by its [`Service`]. Requests of the API that
//! belong to another node are passed on to it ([`forward`]).

mod authority;
mod error;
mod forward;
mod gates;
mod identity;
mod lines;
mod listener;
mod messages;
mod nodes;
mod peer;

pub use authority::{CA_FILE, CA_KEY_FILE, CERTIFICATE_FILE, KEY_FILE, init, join};
pub use error::Error;
pub use forward::Api;
pub use gates::{GATE_MAX, GatesClosed};
pub use identity::Identity;
pub use listener::{Answers, Listener, Service};
pub use messages::{GateHeld, GateRequest, Hold, Placed, PrepareRequest, Progress};
pub use nodes::{Nodes, Prepared};
