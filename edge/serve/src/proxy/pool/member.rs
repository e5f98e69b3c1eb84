//! One member of a pool: an address, and what is known of it by all threads together.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use devanture_config::site_toml::UpstreamUrl;
use rustls_pki_types::ServerName;

use crate::proxy::address::Endpoint;
use crate::proxy::clock::now_ms;
use crate::proxy::fastcgi::Backend;

/// Streams on one connection, which is what servers commonly allow; then there is a second one.
pub(crate) const HTTP2_STREAMS_MAX: usize = 100;
/// Most doublings of a member's time out.
const EJECTIONS_DOUBLED_MAX: u32 = 5;

/// A member of a pool. What counts here counts for the whole edge: threads share it.
#[derive(Debug)]
pub struct Member {
    /// A number that no other member ever has: what its connections are kept under.
    pub(crate) id: u64,
    /// Where it is.
    pub endpoint: Endpoint,
    /// The address that it was declared by; a name may stand for several members.
    pub declared: UpstreamUrl,
    /// Its host and port as a request names them.
    pub(crate) authority: Box<str>,
    /// The name that its certificate must have, where it speaks TLS.
    pub(crate) tls: Option<Option<ServerName<'static>>>,
    /// Its scripts, where it speaks FastCGI.
    pub(crate) fastcgi: Option<Arc<Backend>>,
    /// The user whose socket it must be: of an instance whose app has one of its own.
    pub(crate) uid: Option<u32>,
    /// Whether it may be loopback or private, see [`Member::is_trusted`].
    is_trusted: AtomicBool,
    in_flight: AtomicUsize,
    is_draining: AtomicBool,
    is_gone: AtomicBool,
    is_well: AtomicBool,
    failures: AtomicU32,
    ejections: AtomicU32,
    /// How often its connections were dropped.
    generation: AtomicU32,
    /// Streams of HTTP/2 that it allows on one connection, as far as is known.
    streams_max: AtomicUsize,
    /// When its time out ends, on the clock of [`now_ms`]; 0 where it has none.
    ejected_until_ms: AtomicU64,
}

/// The current fitness of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// It takes requests.
    Up,
    /// It takes no new requests, since somebody said so.
    Draining,
    /// It takes none for a while, since requests to it failed.
    Ejected,
    /// It takes none, since it does not answer as it should when it is asked whether it is well.
    Unwell,
}

impl MemberState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Up, Self::Draining, Self::Ejected, Self::Unwell];

    /// A word for it.
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
    /// The member at `endpoint` that `declared` stands for; `server_name` is what its certificate must have in place of
    /// its own name.
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

    /// The same for an instance of the edge whose app has this user.
    pub(crate) fn run_by(self, uid: Option<u32>) -> Self {
        Self { uid, ..self }
    }

    /// The same as a backend of FastCGI, if there is one.
    pub(crate) fn with_scripts(self, fastcgi: Option<Arc<Backend>>) -> Self {
        Self { fastcgi, ..self }
    }

    /// Requests under way to it, upgraded ones among them.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Takes one more request, unless there are `max` under way, or it gets none any more.
    pub(super) fn take(&self, max: usize) -> bool {
        // Never more than `max`, not even for a moment: somebody else would find no place, and wait for one that is
        // free.
        let more = |in_flight: usize| (in_flight < max).then(|| in_flight.saturating_add(1));
        if self.in_flight.try_update(Ordering::SeqCst, Ordering::SeqCst, more).is_err() {
            return false;
        }
        // The caller may have looked at its state a while ago: what ends it once nothing is under way has either seen
        // this request, or is seen here.
        let is_left = self.is_left();
        if is_left {
            self.release();
        }
        !is_left
    }

    /// Gives one back.
    pub(super) fn release(&self) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
    }

    /// Streams of HTTP/2 that it allows on one connection, as far as is known.
    pub(crate) fn streams_max(&self) -> usize {
        self.streams_max.load(Ordering::Relaxed)
    }

    pub(crate) fn note_streams_max(&self, most: usize) {
        if self.streams_max() != most {
            self.streams_max.store(most, Ordering::Relaxed);
        }
    }

    /// Its fitness.
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

    /// Whether it is an instance of another node.
    pub(crate) const fn is_elsewhere(&self) -> bool {
        matches!(self.endpoint, Endpoint::Node(_))
    }

    fn is_ejected(&self) -> bool {
        let until_ms = self.ejected_until_ms.load(Ordering::Relaxed);
        // Most never were: no clock is asked for them.
        until_ms != 0 && now_ms() < until_ms
    }

    /// Whether it may get requests where nobody better is left: being ejected is a guess, the rest is not.
    pub(super) fn is_last_resort(&self) -> bool {
        matches!(self.state(), MemberState::Up | MemberState::Ejected)
    }

    pub(crate) fn set_draining(&self, is_draining: bool) {
        self.is_draining.store(is_draining, Ordering::SeqCst);
    }

    /// Whether it may be loopback or private: an `admin` token deployed the version that declares it, or added it.
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

    /// Whether it is no member any more; its connections are closed as they become free.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::SeqCst)
    }

    /// Whether connections to it are closed as they become free: it is none any more, or gets no new requests. An
    /// instance of another node is ended once these are closed.
    pub(crate) fn is_left(&self) -> bool {
        self.is_gone() || self.is_draining.load(Ordering::SeqCst)
    }

    pub(super) fn set_gone(&self) {
        self.is_gone.store(true, Ordering::SeqCst);
    }

    /// How often its connections were dropped: those of an earlier number get no more requests.
    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Has none of its connections used for another request, on any thread: it was found that nobody, or somebody else,
    /// listens in its place.
    pub(crate) fn drop_kept(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that it answered.
    pub(super) fn succeeded(&self) {
        // Written only where it changes something: the line is shared by all threads.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.ejections.load(Ordering::Relaxed) != 0 && !self.is_ejected() {
            self.ejections.store(0, Ordering::Relaxed);
            self.ejected_until_ms.store(0, Ordering::Relaxed);
        }
    }

    /// Notes that it failed; says whether that is `after` times in a row.
    pub(super) fn failed(&self, after: u32) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        after != 0 && failures >= after && !self.is_ejected()
    }

    /// Takes it out for a while: `ms`, doubled for each time that it failed again when it came back.
    pub(super) fn eject(&self, ms: u64, after: u32) -> u64 {
        let times = self.ejections.fetch_add(1, Ordering::Relaxed).min(EJECTIONS_DOUBLED_MAX);
        let for_ms = ms.saturating_mul(1 << times);
        // One more failure when it comes back is enough.
        self.failures.store(after.saturating_sub(1), Ordering::Relaxed);
        self.ejected_until_ms.store(now_ms().saturating_add(for_ms), Ordering::Relaxed);
        for_ms
    }
}

/// A host as a certificate names it; a name that is none of DNS fits no certificate.
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
