//! The serving plane: a request comes in by [`listen`], with the handshake of [`tls`]; [`handler`] asks [`live`] which
//! version answers and the crate `devanture-site` for the meaning, and answers from [`version`] or by [`proxy`]. It
//! follows the catalog and never writes it.

pub mod version;

pub mod live;

pub mod proxy;

pub mod handler;

pub mod tls;

pub mod listen;
