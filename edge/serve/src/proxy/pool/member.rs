//! One member of a pool: an address, and its state shared by all threads.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use devanture_config::site_toml::UpstreamUrl;
use rustls_pki_types::ServerName;

use crate::proxy::address::Endpoint;
use crate::proxy::clock::now_ms;
use crate::proxy::fastcgi::Backend;

/// Assumed maximum of streams on one connection, the usual limit of servers; further streams use another connection.
pub(crate) const HTTP2_STREAMS_MAX: usize = 100;
/// Maximum number of doublings of a member's ejection time.
const EJECTIONS_DOUBLED_MAX: u32 = 5;

/// A member of a pool. The state counts for the whole edge: all threads share a member.
#[derive(Debug)]
pub struct Member {
    /// A number that is never reused: the key of the member's idle connections.
    pub(crate) id: u64,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The declared address; a name may stand for several members.
    pub declared: UpstreamUrl,
    /// The host and port in requests.
    pub(crate) authority: Box<str>,
    /// The name required in the certificate, for a TLS member.
    pub(crate) tls: Option<Option<ServerName<'static>>>,
    /// The scripts, for a FastCGI member.
    pub(crate) fastcgi: Option<Arc<Backend>>,
    /// The required user of the socket: set for an instance whose app has a user of its own.
    pub(crate) uid: Option<u32>,
    /// True if loopback and private addresses are permitted, see [`Member::is_trusted`].
    is_trusted: AtomicBool,
    in_flight: AtomicUsize,
    is_draining: AtomicBool,
    is_gone: AtomicBool,
    is_well: AtomicBool,
    failures: AtomicU32,
    ejections: AtomicU32,
    /// Number of times that the connections were dropped.
    generation: AtomicU32,
    /// Maximum number of HTTP/2 streams on one connection, as far as known.
    streams_max: AtomicUsize,
    /// End of the ejection, on the clock of [`now_ms`]; 0 without an ejection.
    ejected_until_ms: AtomicU64,
}

/// The current state of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// Accepts requests.
    Up,
    /// Accepts no new requests, on request of the API or the runner.
    Draining,
    /// Accepts no requests for a time, after failed requests.
    Ejected,
    /// Accepts no requests, after failed health checks.
    Unwell,
}

impl MemberState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Up, Self::Draining, Self::Ejected, Self::Unwell];

    /// Returns the state as a word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Ejected => "ejected",
            Self::Unwell => "unwell",
        }
    }
}

impl Member {
    /// Creates the member at `endpoint` for the address `declared`; `server_name` replaces the own name in the check of
    /// the certificate.
    pub(crate) fn new(
        declared: UpstreamUrl,
        endpoint: Endpoint,
        server_name: Option<&str>,
        is_well: bool,
        trusted: bool,
    ) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let url = declared.url();
        let host = url.host_str().unwrap_or_default();
        let authority = match url.port() {
            _ if declared.socket().is_some() => "localhost".to_owned(),
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let tls = (url.scheme() == "https").then(|| server_name.map_or_else(|| name_of(host), name_of));
        Self {
            id: NUMBERS.fetch_add(1, Ordering::Relaxed),
            endpoint,
            authority: authority.into(),
            declared,
            tls,
            fastcgi: None,
            uid: None,
            is_trusted: AtomicBool::new(trusted),
            in_flight: AtomicUsize::new(0),
            is_draining: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
            is_well: AtomicBool::new(is_well),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            generation: AtomicU32::new(0),
            streams_max: AtomicUsize::new(HTTP2_STREAMS_MAX),
            ejected_until_ms: AtomicU64::new(0),
        }
    }

    /// Sets the required user of the socket, for an instance whose app has a user of its own.
    pub(crate) fn run_by(self, uid: Option<u32>) -> Self {
        Self { uid, ..self }
    }

    /// Sets the FastCGI backend.
    pub(crate) fn with_scripts(self, fastcgi: Option<Arc<Backend>>) -> Self {
        Self { fastcgi, ..self }
    }

    /// Returns the number of requests in flight to the member, including upgraded connections.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Reserves a request, unless `max` requests are in flight, or the member accepts no more requests.
    pub(super) fn take(&self, max: usize) -> bool {
        // Never more than `max`, not even for a moment: another request would see a full member and wait for a slot
        // that is free already.
        let more = |in_flight: usize| (in_flight < max).then(|| in_flight.saturating_add(1));
        if self.in_flight.try_update(Ordering::SeqCst, Ordering::SeqCst, more).is_err() {
            return false;
        }
        // The caller's view of the state may be old. The code that ends the member once no request is in flight either
        // sees the reserved request, or is seen by the load of `is_left`.
        let is_left = self.is_left();
        if is_left {
            self.release();
        }
        !is_left
    }

    /// Releases a reserved request.
    pub(super) fn release(&self) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
    }

    /// Returns the maximum of HTTP/2 streams on one connection, as far as known.
    pub(crate) fn streams_max(&self) -> usize {
        self.streams_max.load(Ordering::Relaxed)
    }

    pub(crate) fn note_streams_max(&self, most: usize) {
        if self.streams_max() != most {
            self.streams_max.store(most, Ordering::Relaxed);
        }
    }

    /// Returns the state.
    #[must_use]
    pub fn state(&self) -> MemberState {
        if self.is_draining.load(Ordering::Relaxed) {
            MemberState::Draining
        } else if !self.is_well.load(Ordering::Relaxed) {
            MemberState::Unwell
        } else if self.is_ejected() {
            MemberState::Ejected
        } else {
            MemberState::Up
        }
    }

    /// Returns true for an instance of another node.
    pub(crate) const fn is_elsewhere(&self) -> bool {
        matches!(self.endpoint, Endpoint::Node(_))
    }

    fn is_ejected(&self) -> bool {
        let until_ms = self.ejected_until_ms.load(Ordering::Relaxed);
        // Most members were never ejected, and need no clock.
        until_ms != 0 && now_ms() < until_ms
    }

    /// Returns true if the member may get requests without a better choice: an ejection is a guess, the other states
    /// are not.
    pub(super) fn is_last_resort(&self) -> bool {
        matches!(self.state(), MemberState::Up | MemberState::Ejected)
    }

    pub(crate) fn set_draining(&self, is_draining: bool) {
        self.is_draining.store(is_draining, Ordering::SeqCst);
    }

    /// Returns true if loopback and private addresses are permitted: an `admin` token deployed the declaring version,
    /// or added the member.
    pub(crate) fn is_trusted(&self) -> bool {
        self.is_trusted.load(Ordering::Relaxed)
    }

    pub(crate) fn set_trusted(&self) {
        self.is_trusted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_well(&self) -> bool {
        self.is_well.load(Ordering::Relaxed)
    }

    pub(crate) fn set_well(&self, is_well: bool) {
        self.is_well.store(is_well, Ordering::Relaxed);
    }

    /// Returns true for a removed member; connections are closed as soon as they are idle.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::SeqCst)
    }

    /// Returns true if connections are closed as soon as they are idle: the member is removed, or gets no new requests.
    /// The end of an instance of another node waits for the close of the connections.
    pub(crate) fn is_left(&self) -> bool {
        self.is_gone() || self.is_draining.load(Ordering::SeqCst)
    }

    pub(super) fn set_gone(&self) {
        self.is_gone.store(true, Ordering::SeqCst);
    }

    /// Returns the number of times that the connections were dropped: connections of an earlier generation get no more
    /// requests.
    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Stops the use of all connections for further requests, on all threads, after a connect found no listener or a
    /// foreign listener.
    pub(crate) fn drop_kept(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Records a response.
    pub(super) fn succeeded(&self) {
        // Written only on a change: all threads share the cache line.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.ejections.load(Ordering::Relaxed) != 0 && !self.is_ejected() {
            self.ejections.store(0, Ordering::Relaxed);
            self.ejected_until_ms.store(0, Ordering::Relaxed);
        }
    }

    /// Records a failure; returns true after `after` consecutive failures.
    pub(super) fn failed(&self, after: u32) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        after != 0 && failures >= after && !self.is_ejected()
    }

    /// Ejects the member for `ms`, doubled for each repeated ejection; returns the time.
    pub(super) fn eject(&self, ms: u64, after: u32) -> u64 {
        let times = self.ejections.fetch_add(1, Ordering::Relaxed).min(EJECTIONS_DOUBLED_MAX);
        let for_ms = ms.saturating_mul(1 << times);
        // After the ejection, a single failure is enough.
        self.failures.store(after.saturating_sub(1), Ordering::Relaxed);
        self.ejected_until_ms.store(now_ms().saturating_add(for_ms), Ordering::Relaxed);
        for_ms
    }
}

/// Returns a host in the form of a certificate; a host that is no valid DNS name matches no certificate.
fn name_of(host: &str) -> Option<ServerName<'static>> {
    let plain = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    match plain.parse::<IpAddr>() {
        Ok(address) => Some(ServerName::from(address)),
        Err(_) => ServerName::try_from(plain.to_owned()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(declared: &str) -> Member {
        Member::new(declared.parse().unwrap(), Endpoint::Tcp("127.0.0.1:1".parse().unwrap()), None, true, false)
    }

    #[test]
    fn a_member_knows_its_authority_and_its_certificates_name() {
        assert_eq!(&*member("http://127.0.0.1:3000").authority, "127.0.0.1:3000");
        assert_eq!(&*member("https://API.example.org").authority, "api.example.org");
        assert_eq!(&*member("http://[::1]:8").authority, "[::1]:8");
        assert_eq!(&*member("unix:/run/x").authority, "localhost");
        assert!(member("http://a").tls.is_none());
        let secure = member("https://api.example.org:8443");
        assert_eq!(secure.tls.unwrap().unwrap(), ServerName::try_from("api.example.org").unwrap());
        assert!(member("https://[::1]").tls.unwrap().is_some());
    }

    #[test]
    fn a_member_takes_no_more_than_its_limit() {
        let member = member("http://a");
        assert!(member.take(2) && member.take(2) && !member.take(2));
        member.release();
        assert!(member.take(2));
        assert_eq!(member.in_flight(), 2);
    }

    #[test]
    fn a_member_that_drains_or_is_gone_takes_nothing_even_if_it_was_picked_before() {
        let member = member("http://a");
        member.set_draining(true);
        assert_eq!((member.take(2), member.in_flight()), (false, 0));
        member.set_draining(false);
        assert!(member.take(2));
        member.set_gone();
        assert_eq!((member.take(2), member.in_flight()), (false, 1));
    }

    #[test]
    fn failures_in_a_row_eject_and_each_time_for_longer() {
        let member = member("http://a");
        assert!(!member.failed(3) && !member.failed(3));
        member.succeeded();
        assert!(!member.failed(3) && !member.failed(3) && member.failed(3));
        assert_eq!(member.eject(60_000, 3), 60_000);
        assert_eq!(member.state(), MemberState::Ejected);
        assert!(!member.failed(3), "it is out already");
        assert_eq!(member.eject(60_000, 3), 120_000);
        for _ in 0..20 {
            assert!(member.eject(60_000, 3) <= 60_000 * 32);
        }
        assert!(member.is_last_resort());
        member.set_well(false);
        assert_eq!((member.state(), member.is_last_resort()), (MemberState::Unwell, false));
        assert!(!Member::failed(&self::member("http://b"), 0), "0 never ejects");
    }
}
