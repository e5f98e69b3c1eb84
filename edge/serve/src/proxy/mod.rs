//! Forwards requests to backends: pools, any method, streamed bodies in both directions, upgrades.
//!
//! [`Client::forward`] reads from top to bottom: check the request, build the head for the backend (`headers`,
//! [`forwarded`], `ids`), let the [`Pool`] of the [`CompiledRoute`] choose a member, take an idle connection or open a
//! connection (`idle_pool`, `connect`, `connection`; [`address`] checks each), send ([`http1`], hyper's HTTP/2, or
//! [`fastcgi`]), wait for the response head, and return the body as a stream (`response_body`) or, for an upgrade, a
//! tunnel (`upgrade`).
//!
//! Pools belong to the whole edge ([`Registry`]): all threads share the state of a member. On a separate thread,
//! [`keep_pools`] resolves names (`dns`, `membership`) and checks the `health` of members; apps take `turns`.
//!
//! The pool of a backend that several nodes of a cluster run has the instances of all nodes: instances of the local
//! node are preferred, and instances of other nodes ([`elsewhere`]) are reached through a [`tunnel`], which ends on the
//! other node as an [`arriving`] tunnel.
//!
//! Each serving thread has one [`Client`], whose connections never move: the client must be used inside a
//! [`tokio::task::LocalSet`]. hyper-util's pooled client is not used, because the pooled client requires `Send` bodies
//! and has no notion of members.

pub mod address;
mod arriving;
mod clock;
mod compiled_route;
mod connect;
mod connection;
mod copy_bidirectional;
mod dns;
mod dns_troubles;
mod elsewhere;
mod error;
pub mod fastcgi;
mod follow;
mod forward;
pub mod forwarded;
mod gauges;
mod headers;
mod health;
pub mod http1;
mod idle_pool;
mod ids;
mod interim;
mod maintenance;
mod managed_backends;
mod membership;
mod outgoing;
pub mod peer_owner;
mod permit;
mod pool;
mod progress;
mod registry;
mod request_body;
mod response_body;
mod retry_after;
mod run;
mod sockets;
mod stats;
pub mod tls;
mod trailers;
mod tunnel;
mod upgrade;
mod websocket;

pub use arriving::ArrivedTunnel;
pub use compiled_route::CompiledRoute;
pub use dns::{DnsAnswer, Names};
pub use elsewhere::NodeProcess;
pub use error::{BadAnswer, Error, Phase};
pub use follow::Following;
pub use forward::{Client, ClientSettings};
pub use forwarded::Chain;
pub use headers::{Arrival, question};
pub use health::HealthLimits;
pub use ids::{Ids, REQUEST_ID};
pub use interim::{Interim, Passing};
pub use maintenance::{DnsTimes, keep_pools};
pub use managed_backends::RunOrigin;
pub use pool::{Member, MemberState, Pool, PoolKey};
pub use registry::{Registry, RegistrySettings};
pub use response_body::ProxyBody;
pub use retry_after::retry_after_ms;
pub use run::{RunId, RunKey, RunMember, RunNow, RunState};
pub use stats::Counts;
pub use tunnel::Tunnels;
