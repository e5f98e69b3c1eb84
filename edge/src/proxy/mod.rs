//! Forwards requests to backends: pools of them, any method, bodies streamed both ways, upgrades.
//!
//! [`Client::forward`] is read from top to bottom: check the request, make the head for the backend (`headers`,
//! [`forwarded`], `ids`), let the [`Way`]'s [`Pool`] say who gets it, take a connection that is kept alive or make one
//! (`kept`, `connect`, [`address`] being asked about each), send ([`http1`], or hyper's HTTP/2), wait for the answer's
//! head, and hand back its body as a stream (`body`) or, for an upgrade, a tunnel (`upgrade`).
//!
//! Pools belong to the whole edge ([`Registry`]): what one thread learns of a member, all know. On a thread of their
//! own, [`keep_pools`] asks DNS about names (`names`, `membership`) and members about their `health`.
//!
//! There is one [`Client`] per serving thread, whose connections never move: it must be used inside a
//! [`tokio::task::LocalSet`]. hyper-util's own pooled client is not used, since it wants bodies that are `Send` and
//! does not know members.

pub mod address;
mod body;
mod connect;
mod counts;
mod error;
mod follow;
mod forward;
pub mod forwarded;
mod gauges;
mod headers;
mod health;
pub mod http1;
mod ids;
mod interim;
mod join;
mod keeper;
mod kept;
mod membership;
mod names;
mod outgoing;
mod pool;
mod progress;
mod registry;
mod runs;
pub mod tls;
mod trailers;
mod upgrade;
mod way;
mod websocket;

pub use body::ProxyBody;
pub use counts::Counts;
pub use error::{BadAnswer, Error, Phase};
pub use follow::Following;
pub use forward::{Client, ClientSettings};
pub use forwarded::Chain;
pub use headers::Arrival;
pub use ids::{Ids, REQUEST_ID};
pub use interim::{Interim, Passing};
pub use keeper::{DnsTimes, keep_pools};
pub use names::Names;
pub use pool::{Member, MemberState, Pool, PoolKey};
pub use registry::{Registry, RegistrySettings};
pub use runs::{RunId, RunKey, RunMember, RunNow, RunOrigin, RunState};
pub use way::Way;
