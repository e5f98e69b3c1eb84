//! Trust in identity tokens: a JWT that an issuer signed for a job of a CI system is exchanged for a token of the edge.
//!
//! `[[trust]]` of `edge.toml` names issuers by OpenID Connect, the claims that count, and what they give. [`jwt`] reads an
//! identity token, [`jwks`] the keys of an issuer and checks signatures by them, both without I/O; `keys` fetches these
//! keys and holds them; `claims` compares; `exchange` makes the token, in the same commit as the record of the identity
//! token, so that each is exchanged once in a whole cluster.

mod claims;
mod exchange;
mod fetch;
pub mod jwks;
pub mod jwt;
mod keys;

use std::sync::Arc;

use arc_swap::ArcSwap;
use devanture_config::edge_toml::Trust;
use devanture_config::limits::Limits;

use keys::Issuers;

/// All trusts, and the keys of their issuers.
pub(super) struct Trusts {
    all: ArcSwap<Vec<Trust>>,
    issuers: Issuers,
}

impl Trusts {
    /// None yet.
    pub(super) fn new(limits: &Limits) -> Self {
        Self { all: ArcSwap::default(), issuers: Issuers::new(limits) }
    }

    /// Replaces all of them. Keys of issuers that stay are not fetched again.
    pub(super) fn set(&self, trusts: Vec<Trust>) {
        self.issuers.retain(|issuer| trusts.iter().any(|trust| trust.issuer == *issuer));
        self.all.store(Arc::new(trusts));
    }
}
