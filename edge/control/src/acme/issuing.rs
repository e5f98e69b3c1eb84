//! Lifetime of ACME certificates in a running edge: shared by cluster nodes, ordered, renewed.

use std::sync::Arc;

use devanture_config::AppName;
use devanture_config::limits::Limits;
use devanture_serve::tls::{Certificates, Error, Knows};
use devanture_store::catalog::Catalog;

use super::Acme;
use super::duty::Cluster;
use super::follow::CertificateFollower;
use super::lookup::Lookup;
use super::renewer::{CertificateRenewer, Served};
use super::store::shared::SharedRecords;
use super::trouble::OnTrouble;
use crate::cluster::Nodes;
use crate::ledger::AcmeRecords;
use crate::settings::KeyFile;

/// Shared certificates and the nodes, for [`Acme::keep_issued`].
pub struct SharedCertificates {
    nodes: Nodes,
    follow: CertificateFollower,
}

impl Acme {
    /// Uses the certificates shared by the nodes of a cluster in `catalog`, encrypted with `keys`, in place of those in
    /// the data folder.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub async fn share(
        &self,
        catalog: Arc<dyn Catalog>,
        nodes: Nodes,
        keys: KeyFile,
    ) -> Result<SharedCertificates, Error> {
        let records = AcmeRecords::new(catalog, &self.authority_name());
        let follow = self.follow(records, Arc::new(keys)).await?;
        Ok(SharedCertificates { nodes, follow })
    }

    async fn follow(&self, records: AcmeRecords, keys: Arc<KeyFile>) -> Result<CertificateFollower, Error> {
        let shared = SharedRecords { records, keys, provider: Arc::clone(&self.provider) };
        self.challenges.look_elsewhere(Lookup::new(shared.clone()));
        CertificateFollower::begin(shared, self).await
    }

    /// Orders and renews a certificate for each of `names` not covered by a file of `certificates`. Each name has its
    /// app, the most important names of an app first. `serves` returns true for names served at present. Never
    /// completes; must be polled within a tokio runtime, and may be dropped. `names` is called every second.
    ///
    /// In a cluster, with `shared`, one node at a time orders, and all nodes load the stored certificates.
    pub async fn keep_issued(
        self: Arc<Self>,
        certificates: Certificates,
        names: impl Fn() -> Vec<(Option<AppName>, String)> + Send + Sync + 'static,
        serves: Knows,
        limits: Limits,
        shared: Option<SharedCertificates>,
        on_trouble: OnTrouble,
    ) {
        let names = move || {
            let mut names = names();
            names.retain(|(_, name)| !certificates.have_file_for(name));
            names
        };
        let served = Served { names: Box::new(names), serves, on_trouble };
        let cluster = shared.map(|shared| Cluster::new(shared.nodes, shared.follow, &self));
        CertificateRenewer::new(self, served, &limits, cluster).keep().await;
    }
}
