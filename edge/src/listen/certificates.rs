//! Who the edge is: certificates from files or from the local authority, as `[tls]` says.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::edge_toml::Tls;

use super::Error;
use super::authority::{Authority, ForAdmin, ForVisitors};
use super::files::{Files, Pair};
use super::tls::{ServerTls, provider};

/// How often [`Certificates::watch_files`] looks at the files.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// The folder of the local authority in the data folder.
const AUTHORITY_FOLDER: &str = "tls";
/// The name that every self-signed edge answers to.
const LOCALHOST: &str = "localhost";

/// The certificates of this edge, for all its listeners. Clones are the same certificates.
#[derive(Debug, Clone)]
pub struct Certificates {
    visitors: ServerTls,
    admin: ServerTls,
    /// Without them, there is a local authority.
    files: Option<Arc<Files>>,
}

impl Certificates {
    /// Reads the certificates that `tls` names, with paths relative to `base_dir`; or opens the local authority in
    /// `data_dir`, and makes it where there is none.
    ///
    /// `knows` says whether the edge serves a name, which comes in lower case; it is asked in every handshake and must
    /// be quick. It only decides where the authority is local: files answer for every name.
    ///
    /// # Errors
    /// All of [`Error`].
    pub fn open(
        tls: &Tls,
        base_dir: &Path,
        data_dir: &Path,
        knows: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    ) -> Result<Self, Error> {
        match tls {
            Tls::Files(named) => {
                let pairs = named
                    .iter()
                    .map(|pair| Pair { certificate: base_dir.join(&pair.certificate), key: base_dir.join(&pair.key) });
                let files = Arc::new(Files::open(pairs.collect(), provider())?);
                // Each listener has tickets of its own: a session begun on one is never resumed on the other.
                let listener = || {
                    let asked = Arc::clone(&files);
                    let covers = move |sni: &str, host: &str| asked.covers(sni, host);
                    ServerTls::new(Arc::<Files>::clone(&files), Arc::new(|_| true), Arc::new(covers))
                };
                Ok(Self { visitors: listener()?, admin: listener()?, files: Some(files) })
            }
            Tls::SelfSigned => {
                let authority = Arc::new(Authority::open(&data_dir.join(AUTHORITY_FOLDER), provider())?);
                let serves: Arc<dyn Fn(&str) -> bool + Send + Sync> =
                    Arc::new(move |name| name == LOCALHOST || knows(name));
                let for_visitors = ForVisitors { authority: Arc::clone(&authority), serves: Arc::clone(&serves) };
                // Each name has a leaf of its own; the admin's one is for every name.
                let visitors = ServerTls::new(Arc::new(for_visitors), serves, Arc::new(|_, _| false))?;
                let admin = ServerTls::new(Arc::new(ForAdmin(authority)), Arc::new(|_| true), Arc::new(|_, _| true))?;
                Ok(Self { visitors, admin, files: None })
            }
        }
    }

    /// What the listener for visitors needs.
    #[must_use]
    pub fn server_config(&self) -> ServerTls {
        self.visitors.clone()
    }

    /// What the admin listener needs.
    #[must_use]
    pub fn admin_server_config(&self) -> ServerTls {
        self.admin.clone()
    }

    /// Whether the certificates come from the local authority, which no stranger trusts.
    #[must_use]
    pub const fn are_local(&self) -> bool {
        self.files.is_none()
    }

    /// Reads the files again. New handshakes get the new certificates only if all of them are good.
    ///
    /// # Errors
    /// What is wrong with the files; the earlier certificates stay.
    pub fn reload(&self) -> Result<(), Error> {
        self.files.as_ref().map_or(Ok(()), |files| files.reload())
    }

    /// Looks at the files every [`WATCH_INTERVAL`] and reads them again when they have changed; never ends. To be
    /// dropped when it is not wanted any more; it must be inside a tokio runtime.
    pub async fn watch_files(self) {
        let Some(files) = self.files else { return std::future::pending().await };
        let mut interval = tokio::time::interval(WATCH_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let files = Arc::clone(&files);
            // The disk may be slow. A panic there would leave the certificates as they are.
            drop(tokio::task::spawn_blocking(move || files.look()).await);
        }
    }
}
