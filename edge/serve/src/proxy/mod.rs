//! Forwards requests to backends: pools of them, any method, bodies streamed both ways, upgrades.
//!
//! [`Client::forward`] is read from top to bottom: check the request, make the head for the backend (`headers`,
//! [`forwarded`], `ids`), let the [`CompiledRoute`]'s [`Pool`] say who gets it, take a connection that is kept alive or
//! make one (`idle_pool`, `connect`, `connection`, [`address`] being asked about each), send ([`http1`], hyper's
//! HTTP/2, or [`fastcgi`]), wait for the answer's head, and hand back its body as a stream (`response_body`) or, for an
//! upgrade, a tunnel (`upgrade`).
//!
//! Pools belong to the whole edge ([`Registry`]): what one thread learns of a member, all know. On a thread of their
//! own, [`keep_pools`] asks DNS about names (`dns`, `membership`) and members about their `health`; apps take
//! `turns`.
//!
//! Of a backend that the nodes of a cluster run together, a pool has the instances of all of them: those of this node
//! go first, and those of others ([`elsewhere`]) are reached through a [`tunnel`], which ends there as one that is
//! [`arriving`].
//!
//! There is one [`Client`] per serving thread, whose connections never move: it must be used inside a
//! [`tokio::task::LocalSet`]. hyper-util's own pooled client is not used, since it wants bodies that are `Send` and
//! does not know members.

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
