//! Signatures of versions: signers of environments, signatures of versions, and changes that carry no signature.
//!
//! `signers.rs` keeps who has to sign, and answers whether a version is signed; `unsigned.rs` guards what changes a
//! visitor's view without a version, in environments that want signatures.

mod signers;
mod unsigned;

use std::sync::Arc;

use crate::ledger::Ledger;
use crate::places::Places;

/// Signers, and what they signed.
pub struct Signing {
    ledger: Arc<Ledger>,
    places: Arc<Places>,
}

impl Signing {
    pub(crate) const fn new(ledger: Arc<Ledger>, places: Arc<Places>) -> Self {
        Self { ledger, places }
    }
}
