//! The certificates of an authority for as long as the edge runs: shared by the nodes of a cluster, ordered, renewed.

use std::sync::Arc;

use devanture_config::AppName;
use devanture_config::limits::Limits;
use devanture_serve::tls::{Certificates, Error, Knows};
use devanture_store::catalog::Catalog;

use super::Acme;
use super::duty::Cluster;
use super::follow::Follow;
use super::lookup::Lookup;
use super::renewer::{Keeper, Served};
use super::store::shared::SharedRecords;
use super::trouble::OnTrouble;
use crate::cluster::Nodes;
use crate::ledger::AcmeRecords;
use crate::settings::KeyFile;

/// The certificates that nodes share, and the nodes: for [`Acme::keep_issued`].
pub struct SharedCertificates {
    nodes: Nodes,
    follow: Follow,
}

impl Acme {
    /// Has the certificates that the nodes of a cluster share in `catalog`, sealed by `keys`, in place of those in the
    /// data folder.
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

    async fn follow(&self, records: AcmeRecords, keys: Arc<KeyFile>) -> Result<Follow, Error> {
        let shared = SharedRecords { records, keys, provider: Arc::clone(&self.provider) };
        self.challenges.look_elsewhere(Lookup::new(shared.clone()));
        Follow::begin(shared, self).await
    }

    /// Orders a certificate for each of `names` that no file of `certificates` covers, and renews them; each comes with
    /// the app that has it, and of an app those that matter most come first. `serves` says whether the edge still
    /// serves a name. Never ends. To be dropped when it is not wanted any more; it must be inside a tokio runtime.
    /// `names` is asked every second.
    ///
    /// In a cluster, `shared`, one node at a time orders, and all of them take in what it keeps.
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
        Keeper::new(self, served, &limits, cluster).keep().await;
    }
}
