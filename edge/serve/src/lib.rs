//! The serving plane: [`listen`] accepts requests, with the handshake of [`tls`]; [`handler`] asks [`live`] for the
//! version and the crate `devanture-site` for the routing decision, and answers from [`version`] or through [`proxy`].
//! The serving plane follows the catalog and never writes to the catalog.

pub mod version;

pub mod live;

pub mod proxy;

pub mod handler;

pub mod tls;

pub mod listen;
