//! Forwards requests to backends: any method, bodies streamed both ways, upgrades, a pool of kept-alive connections.
//!
//! [`Client::forward`] is read from top to bottom: check the request, make the head for the backend (`headers`), take a
//! connection that is kept alive or make one (`pool`, `connect`, [`address`] being asked about either), send, wait
//! for the answer's head, and hand back its body as a stream (`body`) or, for an upgrade, a tunnel (`upgrade`).
//!
//! There is one [`Client`] per serving thread, whose connections never move: it must be used inside a
//! [`tokio::task::LocalSet`]. hyper-util's own pooled client is not used, since it wants bodies that are `Send` and
//! cannot be asked for the address that a kept connection leads to.

pub mod address;
mod body;
mod connect;
mod error;
mod forward;
mod headers;
mod pool;
mod progress;
pub mod tls;
mod upgrade;
mod upstream;

pub use body::ProxyBody;
pub use error::{BadAnswer, Error, Phase};
pub use forward::{Client, ClientSettings, Counts};
pub use headers::Arrival;
pub use upstream::Upstream;
