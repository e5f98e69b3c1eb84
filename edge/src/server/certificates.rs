//! The certificates of the edge: opened before any bind, then kept current.

use std::path::Path;
use std::sync::Arc;

use devanture_config::AppName;
use devanture_config::api::{WebhookData, WebhookEvent};
use devanture_config::edge_toml::{EdgeFile, Tls};
use devanture_config::text::rfc3339;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::cluster::{self, Cluster};
use devanture_control::acme::{Acme, CertificateTrouble, OnTrouble};
use devanture_control::ledger::Announcement;
use devanture_control::publish::Publisher;
use devanture_control::settings::KeyFile;
use devanture_serve::live::Live;
use devanture_serve::tls::{self, Certificates, IssuedCertificates, Knows, PatternOf};
use devanture_store::catalog::Catalog;

/// Maximum number of queued certificate failures.
const TROUBLES_MAX: usize = 1_024;

/// Checks the configured files without a data folder, and returns all errors.
pub(super) fn check(tls: &Tls, base: &Path) -> Vec<tls::Error> {
    let mut found = Certificates::check(tls, base).err().unwrap_or_default();
    if let Tls::Acme { authority, .. } = tls {
        found.extend(Acme::check(authority, base));
    }
    found
}

/// Opens the configured certificates for the served hostnames, and the certificates of the configured authority.
pub(super) fn open(
    file: &EdgeFile,
    base: &Path,
    data_dir: &Path,
    live: &Live,
) -> Result<(Certificates, Option<Arc<Acme>>), tls::Error> {
    let naming = live.clone();
    let pattern_of: PatternOf = Arc::new(move |host: &str| naming.pattern_of(host));
    let acme = match &file.tls {
        Tls::Acme { authority, .. } => Some(Acme::open(authority, base, data_dir)?),
        Tls::Files(_) | Tls::SelfSigned => None,
    };
    let dns_servers: Vec<_> = file.dns_servers.iter().map(|server| server.0).collect();
    acme.iter().for_each(|acme| acme.set_dns_servers(&dns_servers));
    let issued = acme.clone().map(|acme| -> Arc<dyn IssuedCertificates> { acme });
    let certificates = Certificates::open(&file.tls, base, data_dir, knows(live), pattern_of, issued)?;
    certificates.set_profile(file.tls_profile);
    let keys = file.ticket_keys.as_ref().map(|keys| base.join(keys));
    let certificates = match keys.or_else(|| cluster::ticket_keys(file, base)) {
        Some(keys) => certificates.with_ticket_keys(&keys)?,
        None => certificates,
    };
    Ok((certificates, acme))
}

/// Returns the predicate for served hostnames.
fn knows(live: &Live) -> Knows {
    let live = live.clone();
    Arc::new(move |host: &str| live.serves(host))
}

/// Returns the names that need a certificate, with their apps, by priority: the login host, which belongs to no app;
/// custom names; then names derived from apps and branches. A version's own hostname gets no certificate: versions are
/// too many.
fn certified_names(live: &Live) -> impl Fn() -> Vec<(Option<AppName>, String)> + Send + Sync + use<> {
    let live = live.clone();
    move || {
        let login = live.domains().login().filter(|login| !live.is_an_apps(login));
        let of_apps = live.custom_names().into_iter().chain(live.place_names()).map(|(app, name)| (Some(app), name));
        login.map(|login| (None, login.to_owned())).into_iter().chain(of_apps).collect()
    }
}

/// Reloads changed certificate files. Returns the task that has ACME certificates issued, in a cluster by one node for
/// all: the task must begin once the edge serves, because the authority fetches its proofs from the edge.
pub(super) fn keep(
    (file, base): (&EdgeFile, &Path),
    control: &Runtime,
    (certificates, acme, live): (&Certificates, Option<Arc<Acme>>, &Live),
    (catalog, cluster): (&Arc<dyn Catalog>, Option<&Cluster>),
) -> Result<(Keeping, Troubles), tls::Error> {
    let shared = match (cluster, &acme) {
        (Some(cluster), Some(acme)) => {
            let keys = KeyFile::new(file.secrets_key_file().map(|path| base.join(path)));
            // Before any request is served.
            Some(control.block_on(acme.share(Arc::clone(catalog), cluster.nodes(), keys))?)
        }
        _ => None,
    };
    control.spawn(certificates.clone().watch_files());
    let (troubled, troubles) = mpsc::channel(TROUBLES_MAX);
    // A failure without room in the queue is still in the log.
    let on_trouble: OnTrouble = Box::new(move |trouble| drop(troubled.try_send(trouble)));
    let keeping = match acme {
        Some(acme) => {
            let (names, limits) = (certified_names(live), file.limits.clone());
            acme.keep_issued(certificates.clone(), names, knows(live), limits, shared, on_trouble).boxed()
        }
        None => std::future::pending().boxed(),
    };
    Ok((keeping, Troubles(troubles)))
}

/// A task that has certificates issued while polled.
pub(super) type Keeping = BoxFuture<'static, ()>;

/// Certificate failures not yet reported to webhooks.
pub(super) struct Troubles(mpsc::Receiver<CertificateTrouble>);

impl Troubles {
    /// Notifies the webhooks of the names' apps, as long as certificates are renewed.
    pub(super) async fn announce(mut self, publisher: Arc<Publisher>) {
        while let Some(CertificateTrouble { app, name, reason, expires_ms }) = self.0.recv().await {
            let expires = expires_ms.map(rfc3339);
            let data = WebhookData { hostname: Some(name), reason: Some(reason), expires, ..WebhookData::of(&app) };
            publisher.ledger().announce(&Announcement { event: WebhookEvent::CertificateFailed, data }).await;
        }
    }
}
