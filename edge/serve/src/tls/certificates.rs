//! The edge's certificates: from files, from an authority by ACME, or from the local authority, depending on `[tls]`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use devanture_config::api::{CertificateSource, HostnameCertificate};
use devanture_config::edge_toml::{CertificateFiles, Tls, TlsProfile};
use devanture_config::{HostPattern, Hostname};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::Error;
use super::authority::{self, Authority, ForAdmin, ForVisitors};
use super::files::{self, Files, Pair};
use super::secret::Secret;
use super::server_tls::{ServerTls, provider};
use super::source::IssuedCertificates;
use super::tickets::{TicketFile, Tickets};
use devanture_base::telemetry::Gauges;

/// Interval at which [`Certificates::watch_files`] checks the files.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum number of certificates of one source whose expiry is in the metrics.
const ENDS_SHOWN_MAX: usize = 100;
/// The folder of the local authority, and of certificates issued by an authority, in the data folder.
pub const AUTHORITY_FOLDER: &str = "tls";
/// A name that every self-signed edge serves.
const LOCALHOST: &str = "localhost";

/// Predicate of served names, given in lower case. Called in every handshake, and must be fast.
pub type Knows = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Function that returns the wildcard, such as `*.example.org`, that stands for a served name.
pub type PatternOf = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The certificates of the edge, for all listeners. Clones share the certificates.
#[derive(Debug, Clone)]
pub struct Certificates {
    visitors: ServerTls,
    admin: ServerTls,
    source: Source,
    tickets: Option<Arc<TicketFile>>,
}

#[derive(Debug, Clone)]
enum Source {
    Authority { issued: Option<Arc<dyn IssuedCertificates>>, files: Option<Arc<Files>> },
    Files(Arc<Files>),
    SelfSigned,
}

impl Certificates {
    /// Reads the certificates of `tls`, with paths relative to `base_dir`; or opens or creates the local authority in
    /// `data_dir`. If `tls` names an authority, its certificates are `issued`.
    ///
    /// `knows` and `pattern_of` only matter for a local authority and for ACME: certificates from files alone serve
    /// every name.
    ///
    /// # Errors
    /// All of [`Error`].
    /// All of [`Error`].
    pub fn open(
        tls: &Tls,
        base_dir: &Path,
        data_dir: &Path,
        knows: Knows,
        pattern_of: PatternOf,
        issued: Option<Arc<dyn IssuedCertificates>>,
    ) -> Result<Self, Error> {
        let folder = data_dir.join(AUTHORITY_FOLDER);
        let opened = Self::open_in(&folder, tls, base_dir, (knows, pattern_of), issued)?;
        let key = match tls {
            Tls::Files(named) => named.first().map(|first| base_dir.join(&first.key)),
            Tls::Acme { .. } | Tls::SelfSigned => Some(folder.join(authority::KEY_FILE)),
        };
        let secret = key.and_then(|key| files::read(&key).ok()).map(|key| Secret::of(key.as_ref()));
        Ok(match secret {
            Some(secret) => Self { visitors: opened.visitors.with_secret(secret), ..opened },
            None => opened,
        })
    }

    fn open_in(
        folder: &Path,
        tls: &Tls,
        base_dir: &Path,
        (knows, pattern_of): (Knows, PatternOf),
        issued: Option<Arc<dyn IssuedCertificates>>,
    ) -> Result<Self, Error> {
        match tls {
            Tls::Acme { files, .. } => {
                let files = if files.is_empty() { None } else { Some(open_files(files, base_dir)?) };
                Self::by_authority(files, folder, (knows, pattern_of), issued)
            }
            Tls::Files(named) => {
                let files = open_files(named, base_dir)?;
                files.report();
                // Each listener has separate tickets: a session of one listener never resumes on another listener.
                let listener = || {
                    let held = Arc::clone(&files);
                    let covers = move |sni: &str, host: &str| held.covers(sni, host);
                    ServerTls::new(Arc::<Files>::clone(&files), Arc::new(|_| true), Arc::new(covers))
                };
                Ok(Self { visitors: listener()?, admin: listener()?, source: Source::Files(files), tickets: None })
            }
            Tls::SelfSigned => {
                let authority = Arc::new(Authority::open(folder, provider())?);
                let serves: Knows = Arc::new(move |name| name == LOCALHOST || knows(name));
                let for_visitors =
                    ForVisitors { authority: Arc::clone(&authority), serves: Arc::clone(&serves), pattern_of };
                // Each name has its own leaf; the admin listener's leaf serves every name.
                let visitors = ServerTls::new(Arc::new(for_visitors), serves, Arc::new(|_, _| false))?;
                let admin = ServerTls::new(Arc::new(ForAdmin(authority)), Arc::new(|_| true), Arc::new(|_, _| true))?;
                Ok(Self { visitors, admin, source: Source::SelfSigned, tickets: None })
            }
        }
    }

    fn by_authority(
        files: Option<Arc<Files>>,
        folder: &Path,
        (knows, pattern_of): (Knows, PatternOf),
        issued: Option<Arc<dyn IssuedCertificates>>,
    ) -> Result<Self, Error> {
        files.iter().for_each(|files| files.report());
        let authority = Arc::new(Authority::open(folder, provider())?);
        let fits = {
            let files = files.clone();
            move |name: &str| files.as_ref().is_some_and(|files| files.fits(name))
        };
        let serves: Knows = { Arc::new(move |name| name == LOCALHOST || knows(name) || fits(name)) };
        // A certificate issued by an authority, local or not, covers only one name.
        let covers = {
            let files = files.clone();
            let of_files = move |files: &Arc<Files>, sni: &str, host: &str| files.fits(sni) && files.covers(sni, host);
            move |sni: &str, host: &str| files.as_ref().is_some_and(|files| of_files(files, sni, host))
        };
        let resolver = FilesResolver {
            files: files.clone(),
            rest: Issued {
                issued: issued.clone(),
                rest: ForVisitors { authority: Arc::clone(&authority), serves: Arc::clone(&serves), pattern_of },
            },
        };
        let own = FilesResolver { files: files.clone(), rest: ForAdmin(authority) };
        let visitors = ServerTls::new(Arc::new(resolver), serves, Arc::new(covers))?;
        let visitors = match &issued {
            Some(issued) => visitors.with_proofs(Arc::clone(issued)),
            None => visitors,
        };
        let admin = ServerTls::new(Arc::new(own), Arc::new(|_| true), Arc::new(|_, _| true))?;
        Ok(Self { visitors, admin, source: Source::Authority { issued, files }, tickets: None })
    }

    /// Adds the expiry times of certificates; beyond the maximum, only the earliest.
    pub fn add_metrics(&self, gauges: &mut Gauges) {
        let (files, issued) = match &self.source {
            Source::Authority { issued, files } => (files.as_ref(), issued.as_ref()),
            Source::Files(files) => (Some(files), None),
            Source::SelfSigned => (None, None),
        };
        let of_files = files.map(|files| files.ends()).unwrap_or_default();
        let of_acme = issued.map(|issued| issued.ends()).unwrap_or_default();
        for (source, mut ends) in [("file", of_files), ("acme", of_acme)] {
            ends.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
            // Several files may have one name: the earliest expiry counts.
            let mut seen = HashSet::new();
            ends.retain(|(name, _)| seen.insert(name.clone()));
            for (name, end_s) in ends.iter().take(ENDS_SHOWN_MAX) {
                add_end(gauges, (name, source), *end_s);
            }
        }
    }

    /// Checks the files of `tls` as far as possible without a data folder.
    ///
    /// # Errors
    /// All errors of the files, not only the first.
    pub fn check(tls: &Tls, base_dir: &Path) -> Result<(), Vec<Error>> {
        let (Tls::Acme { files, .. } | Tls::Files(files)) = tls else { return Ok(()) };
        let errors: Vec<Error> = files.iter().flat_map(|named| check_files(named, base_dir)).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Returns the certificate of the local authority in `data_dir`, in PEM.
    ///
    /// # Errors
    /// [`Error::NoAuthority`] before the first start, and [`Error::Read`].
    pub fn authority(data_dir: &Path) -> Result<String, Error> {
        authority::certificate(&data_dir.join(AUTHORITY_FOLDER))
    }

    /// Restricts the local authority in `data_dir` to `domains`, their subdomains and the machine; replaces an
    /// authority with another scope.
    ///
    /// # Errors
    /// [`Error::Authority`], [`Error::Read`], and errors of writing.
    pub fn confine_authority(data_dir: &Path, domains: &[&Hostname]) -> Result<(), Error> {
        let named = domains.iter().copied().map(Hostname::as_str);
        let mut domains: Vec<String> = named.chain([LOCALHOST]).map(str::to_owned).collect();
        domains.sort_unstable();
        domains.dedup();
        authority::confine(&data_dir.join(AUTHORITY_FOLDER), &domains)
    }

    /// Returns the file of the local authority's certificate.
    #[must_use]
    pub fn authority_file(data_dir: &Path) -> PathBuf {
        data_dir.join(AUTHORITY_FOLDER).join(authority::CERTIFICATE_FILE)
    }

    /// Lists readable certificates that clients refuse now, as sentences.
    #[must_use]
    pub fn outdated(tls: &Tls, base_dir: &Path) -> Vec<String> {
        let (Tls::Acme { files, .. } | Tls::Files(files)) = tls else { return Vec::new() };
        open_files(files, base_dir).map_or_else(|_error| Vec::new(), |files| files.outdated())
    }

    /// Uses the ticket keys in the file at `path`, which other nodes may share.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::TicketKeys`].
    pub fn with_ticket_keys(self, path: &Path) -> Result<Self, Error> {
        let file = Arc::new(TicketFile::open(path.to_path_buf())?);
        // As with random keys, a session of one listener never resumes on another listener.
        let tickets = |purpose: &'static str| Tickets::new(Arc::clone(&file), purpose);
        let visitors = self.visitors.with_tickets(tickets("visitors")?);
        let admin = self.admin.with_tickets(tickets("admin")?);
        Ok(Self { visitors, admin, source: self.source, tickets: Some(file) })
    }

    /// Checks the file of ticket keys at `path`.
    ///
    /// # Errors
    /// As [`Certificates::with_ticket_keys`].
    pub fn check_ticket_keys(path: &Path) -> Result<(), Error> {
        TicketFile::open(path.to_path_buf()).map(drop)
    }

    /// Sets the TLS profile of all listeners, for new handshakes. The initial profile is `intermediate`.
    pub fn set_profile(&self, profile: TlsProfile) {
        self.visitors.set_profile(profile);
        self.admin.set_profile(profile);
    }

    /// Returns the TLS configuration of the visitor listener.
    #[must_use]
    pub fn server_config(&self) -> ServerTls {
        self.visitors.clone()
    }

    /// Returns the TLS configuration of the admin listener.
    #[must_use]
    pub fn admin_server_config(&self) -> ServerTls {
        self.admin.clone()
    }

    /// Returns true if the certificate for `host` is publicly trusted, rather than from the local authority. Takes no
    /// lock.
    #[must_use]
    pub fn are_trusted_for(&self, host: &str) -> bool {
        match &self.source {
            Source::Authority { issued, .. } => {
                self.have_file_for(host) || issued.as_ref().is_some_and(|issued| issued.expires_ms(host).is_some())
            }
            Source::Files(_) => true,
            Source::SelfSigned => false,
        }
    }

    /// Returns the certificate for visitors of `host`, or of the names of a wildcard; `None` if only the local
    /// authority has a certificate.
    #[must_use]
    pub fn certificate_of(&self, host: &HostPattern) -> Option<HostnameCertificate> {
        let of_file = |files: &Arc<Files>| {
            let expires_ms = files.expires_ms(host.as_str())?;
            Some(HostnameCertificate { source: CertificateSource::File, expires_ms })
        };
        match &self.source {
            Source::Authority { issued, files } => files.as_ref().and_then(of_file).or_else(|| {
                let expires_ms = issued.as_ref()?.expires_ms(host.as_str())?;
                Some(HostnameCertificate { source: CertificateSource::Acme, expires_ms })
            }),
            Source::Files(files) => of_file(files),
            Source::SelfSigned => None,
        }
    }

    /// Returns the proof for an authority that requests `path` of `host` over plain HTTP; `None` unless a proof is
    /// pending, in a cluster on any node.
    pub async fn http_proof(&self, host: &str, path: &str) -> Option<String> {
        match &self.source {
            Source::Authority { issued: Some(issued), .. } => issued.http_proof(host, path).await,
            Source::Authority { .. } | Source::Files(_) | Source::SelfSigned => None,
        }
    }

    /// Reads the files again. New handshakes get the new certificates only if all certificates are valid, and the new
    /// ticket keys only if all keys are valid.
    ///
    /// # Errors
    /// Errors of the files; the earlier certificates, or keys, stay.
    pub fn reload(&self) -> Result<(), Error> {
        let tickets = self.tickets.as_ref().map_or(Ok(()), |tickets| tickets.reload());
        self.files().map_or(Ok(()), |files| files.reload()).and(tickets)
    }

    /// Checks the files every [`WATCH_INTERVAL`] and reads changed files again; never ends. Stops on drop; must run
    /// inside a tokio runtime.
    pub async fn watch_files(self) {
        let (files, tickets) = (self.files().cloned(), self.tickets.clone());
        if files.is_none() && tickets.is_none() {
            return std::future::pending().await;
        }
        let mut interval = tokio::time::interval(WATCH_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let (files, tickets) = (files.clone(), tickets.clone());
            let look = move || {
                if let Some(files) = files {
                    files.look();
                }
                if let Some(tickets) = tickets {
                    tickets.look();
                }
            };
            // The disk may be slow. A panic in the blocking task leaves the certificates unchanged.
            drop(tokio::task::spawn_blocking(look).await);
        }
    }

    /// Returns true if one of the files is for a name.
    #[must_use]
    pub fn have_file_for(&self, name: &str) -> bool {
        self.files().is_some_and(|files| files.fits(name))
    }

    const fn files(&self) -> Option<&Arc<Files>> {
        match &self.source {
            Source::Authority { files, .. } => files.as_ref(),
            Source::Files(files) => Some(files),
            Source::SelfSigned => None,
        }
    }
}

/// Adds the expiry of a certificate, in seconds since 1970 UTC, by name and source.
#[allow(clippy::cast_precision_loss, reason = "exact for 285 million years")]
pub fn add_end(gauges: &mut Gauges, (name, source): (&str, &str), end_s: i64) {
    let labels = [("name", name), ("source", source)];
    gauges.add("devanture_certificate_expiry_timestamp_seconds", &labels, end_s as f64);
}

fn open_files(named: &[CertificateFiles], base_dir: &Path) -> Result<Arc<Files>, Error> {
    let pair =
        |pair: &CertificateFiles| Pair { certificate: base_dir.join(&pair.certificate), key: base_dir.join(&pair.key) };
    Ok(Arc::new(Files::open(named.iter().map(pair).collect(), provider())?))
}

/// Returns the errors of a certificate and its key: both, if both are unreadable.
fn check_files(named: &CertificateFiles, base_dir: &Path) -> Vec<Error> {
    let unread = [&named.certificate, &named.key].map(|path| files::read(&base_dir.join(path)).err());
    let unread: Vec<Error> = unread.into_iter().flatten().collect();
    match unread.is_empty() {
        true => open_files(std::slice::from_ref(named), base_dir).err().into_iter().collect(),
        false => unread,
    }
}

/// Resolver from files if a file has the name, and otherwise from `rest`.
#[derive(Debug)]
struct FilesResolver<R> {
    files: Option<Arc<Files>>,
    rest: R,
}

impl<R: ResolvesServerCert> ResolvesServerCert for FilesResolver<R> {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match &self.files {
            Some(files) if hello.server_name().is_some_and(|name| files.fits(name)) => files.resolve(hello),
            _ => self.rest.resolve(hello),
        }
    }
}

/// Resolver of certificates issued by an authority; until then, of the local authority's leaf, so that no visitor
/// waits for an authority.
#[derive(Debug)]
struct Issued {
    issued: Option<Arc<dyn IssuedCertificates>>,
    rest: ForVisitors,
}

impl ResolvesServerCert for Issued {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().filter(|name| (self.rest.serves)(name));
        let issued = name.and_then(|name| self.issued.as_ref()?.certificate(name));
        issued.or_else(|| self.rest.resolve(hello))
    }
}
