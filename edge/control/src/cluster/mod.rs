//! Nodes of a cluster: membership, connections by mutual TLS, requests between nodes.
//!
//! All nodes are equal. Each has a certificate of the cluster's CA ([`authority`]), which authenticates the node, and a
//! record in the catalog for its lifetime ([`crate::ledger::Members`]). A node connects to the address in the record of
//! another node ([`peer`]), whose [`listener`] answers by its [`Service`]. API requests that belong to another node are
//! forwarded ([`forwarder`]).
//!
//! Each node follows the instances of all other nodes ([`follow_runs`]); requests reach the instances through a
//! [`tunnel`].

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
