//! The other nodes of a cluster: who they are, connections to them by mutual TLS, and what nodes ask of each other.
//!
//! Nodes are equal. Each has a certificate of the cluster's CA ([`authority`]), by which it is known to the others, and
//! a record in the catalog for as long as it lives ([`crate::ledger::Members`]). A node that has a request connects to
//! the address in that record ([`peer`]), and the other one answers ([`listener`]) by its [`Service`]. Requests of the
//! API that belong to another node are passed on to it ([`forwarder`]).
//!
//! Each follows which instances the others run ([`follow_runs`]), and requests for these go through a [`tunnel`].

mod accept;
mod attempts;
mod authority;
mod environment_messages;
mod environment_queries;
mod error;
mod follow_runs;
mod forward;
mod forwarder;
mod gates;
mod handshakes;
mod identity;
mod instance_messages;
mod instance_service;
mod instances;
mod lines;
mod listener;
mod listeners;
mod logs;
mod messages;
mod nodes;
mod peer;
mod tunnel;

pub use authority::{CA_FILE, CA_KEY_FILE, CERTIFICATE_FILE, KEY_FILE, init, join};
pub use environment_messages::{EnvironmentQuery, EnvironmentReport, QuerySubject};
pub use error::Error;
pub use forward::{Api, ApiBody};
pub use gates::{GATE_MAX, GatesClosed};
pub use identity::Identity;
pub use instance_messages::{InstancesAction, InstancesRequest};
pub use instance_service::InstanceService;
pub use listener::{Answers, Listener, Service};
pub use logs::{FromNode, LogFilters, LogsEvent, LogsHeld, LogsLine, LogsRequest, LogsSender, NodeLog, Silent};
pub use messages::{ATTEMPTS_MAX, AttemptNote, GateHeld, GateRequest, Hold, Placed, PrepareRequest, Progress};
pub use nodes::{Nodes, Prepared};
