//! Signatures of versions: signers of environments, signatures of versions, and changes without a signature.
//!
//! `signers.rs` stores the required signers and checks the signatures of versions. `unsigned.rs` guards changes to the
//! responses of an environment outside a version, if the environment requires signatures.

mod signers;
mod unsigned;

use std::sync::Arc;

use crate::ledger::Ledger;
use crate::places::Places;

/// Signers and their signatures.
pub struct Signing {
    ledger: Arc<Ledger>,
    places: Arc<Places>,
}

impl Signing {
    pub(crate) const fn new(ledger: Arc<Ledger>, places: Arc<Places>) -> Self {
        Self { ledger, places }
    }
}
