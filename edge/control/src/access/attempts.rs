//! Rate limit of logins: sliding windows by account and by address, in bounded tables.
//!
//! Each attempt counts in two windows, of its address and of the account. All addresses without an earlier login of the
//! account share one window of the account, so that many addresses gain nothing together. Each address with an earlier
//! login has its own window: repeated attempts lock out strangers, but not the owner at a usual address. From
//! elsewhere, the owner waits until the oldest attempt leaves the window; refused attempts do not count, so that no
//! attacker can prolong the wait.
//!
//! Visitors' passwords have separate tables, so that visitors and accounts do not lock out each other. Many people
//! enter the same visitors' password, for the first time and from anywhere. Each address has its own window there, and
//! all addresses without an earlier success share a larger window: one stranger locks out no other visitor. An IPv6
//! customer may have a /48, equal to 65,536 such addresses: the addresses of one /48 without a success also share a
//! window.
//!
//! Cluster nodes report checked attempts to each other after a short delay, and count attempts of other nodes as their
//! own. The limits therefore hold for the cluster, with a few more attempts within the delay.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use devanture_config::limits::Limits;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::cluster::AttemptNote;
use devanture_base::fair::{RateLimit, Windows, ms_since};

/// Delay in which attempts are gathered for a report to other nodes.
pub(super) const REPORT_PAUSE: Duration = Duration::from_millis(200);
/// Log lines about refused tokens and logins …
const LINES_MAX: usize = 20;
/// … per window in milliseconds.
const LINES_WINDOW_MS: u64 = 10_000;

/// Distinguished origin of an attempt: providers assign a whole /64 of IPv6 to a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Network {
    Local,
    V4(Ipv4Addr),
    V6([u16; 4]),
}

impl Network {
    fn of(from: Option<IpAddr>) -> Self {
        match from.map(|address| address.to_canonical()) {
            None => Self::Local,
            Some(IpAddr::V4(address)) => Self::V4(address),
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }

    /// Returns the enclosing /48.
    fn block(self) -> Option<Block> {
        match self {
            Self::Local | Self::V4(_) => None,
            Self::V6([a, b, c, _]) => Some([a, b, c]),
        }
    }

    /// Returns the first address, which identifies the network.
    fn address(self) -> Option<IpAddr> {
        match self {
            Self::Local => None,
            Self::V4(address) => Some(address.into()),
            Self::V6([a, b, c, d]) => Some(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()),
        }
    }
}

/// A /48 of IPv6, the usual maximum of a customer (RFC 6177, section 2).
type Block = [u16; 3];

/// Hash of a typed login, of constant size.
type Login = [u8; 32];

/// Attempts at logins, or at visitors' passwords.
pub(super) struct Attempts {
    began: Instant,
    of_visitors: bool,
    tables: Mutex<Tables>,
    /// Queue of reports to other nodes, in a cluster. Overflow is dropped.
    notes: OnceLock<mpsc::Sender<AttemptNote>>,
}

struct Tables {
    by_account: Windows<(Login, Option<Network>)>,
    by_address: Windows<Network>,
    /// Only for visitors: attempts at a password from all addresses without a success.
    by_password: Windows<Login>,
    /// As `by_password`, from the addresses of one /48.
    by_block: Windows<(Login, Block)>,
    /// Origins of earlier logins: windows of one attempt each.
    known: Windows<(Login, Network)>,
}

impl Tables {
    /// Returns the wait for another attempt from an address without a success.
    fn strangers_wait_ms(&mut self, attempt: &Attempt, now_ms: u64) -> Option<u64> {
        let login = attempt.account.0;
        let of_block = attempt.network.block().and_then(|block| self.by_block.wait_ms(&(login, block), now_ms));
        self.by_password.wait_ms(&login, now_ms).max(of_block)
    }

    fn add_stranger(&mut self, attempt: &Attempt, now_ms: u64) {
        let login = attempt.account.0;
        self.by_password.add(&login, now_ms);
        if let Some(block) = attempt.network.block() {
            self.by_block.add(&(login, block), now_ms);
        }
    }

    fn take_back_stranger(&mut self, attempt: &Attempt) {
        let login = attempt.account.0;
        self.by_password.take_back(&login);
        if let Some(block) = attempt.network.block() {
            self.by_block.take_back(&(login, block));
        }
    }
}

/// Admitted attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    account: (Login, Option<Network>),
    network: Network,
    is_known: bool,
}

/// Admitted attempt to exchange an identity token.
#[derive(Debug)]
pub(super) struct IdentityAttempt(Network);

impl Attempts {
    /// Attempts at logins.
    pub(super) fn new(limits: &Limits) -> Self {
        Self::with(limits, false)
    }

    /// Attempts at visitors' passwords.
    pub(super) fn of_visitors(limits: &Limits) -> Self {
        Self::with(limits, true)
    }

    fn with(limits: &Limits, of_visitors: bool) -> Self {
        let size = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        let (keys_max, window_ms) = (size(limits.login_keys_max), limits.login_window_ms);
        let per_address = size(limits.login_attempts_per_address_max);
        let per_account = size(limits.login_attempts_per_account_max);
        let tables = Tables {
            by_account: Windows::new(per_account, keys_max, window_ms),
            by_address: Windows::new(per_address, keys_max, window_ms),
            by_password: Windows::new(per_address, keys_max, window_ms),
            by_block: Windows::new(per_account, keys_max, window_ms),
            known: Windows::new(1, keys_max, limits.refresh_token_ms_max),
        };
        Self { began: Instant::now(), of_visitors, tables: Mutex::new(tables), notes: OnceLock::new() }
    }

    /// Counts an attempt before its check, so that concurrent attempts are limited like sequential attempts.
    ///
    /// # Errors
    /// The wait after too many attempts.
    pub(super) fn begin(&self, login: &str, from: Option<IpAddr>) -> Result<Attempt, Duration> {
        self.begin_at(login, from, ms_since(self.began)).map_err(Duration::from_millis)
    }

    fn begin_at(&self, login: &str, from: Option<IpAddr>, now_ms: u64) -> Result<Attempt, u64> {
        let login: Login = *blake3::hash(login.to_ascii_lowercase().as_bytes()).as_bytes();
        let network = Network::of(from);
        let mut tables = self.tables.lock();
        let is_known = tables.known.wait_ms(&(login, network), now_ms).is_some();
        let attempt = self.attempt(login, network, is_known);
        let waits = [
            tables.by_account.wait_ms(&attempt.account, now_ms),
            tables.by_address.wait_ms(&network, now_ms),
            self.is_shared(&attempt).then(|| tables.strangers_wait_ms(&attempt, now_ms)).flatten(),
        ];
        if let Some(wait_ms) = waits.into_iter().flatten().max() {
            return Err(wait_ms);
        }
        tables.by_account.add(&attempt.account, now_ms);
        tables.by_address.add(&network, now_ms);
        if self.is_shared(&attempt) {
            tables.add_stranger(&attempt, now_ms);
        }
        Ok(attempt)
    }

    fn attempt(&self, login: Login, network: Network, is_known: bool) -> Attempt {
        let has_own_window = is_known || self.of_visitors;
        Attempt { account: (login, has_own_window.then_some(network)), network, is_known }
    }

    /// Returns true if an attempt also counts in the window shared by all strangers.
    const fn is_shared(&self, attempt: &Attempt) -> bool {
        self.of_visitors && !attempt.is_known
    }

    /// Counts an attempt to exchange an identity token, which names no account, before its check.
    ///
    /// # Errors
    /// The wait after too many refused credentials from the address.
    pub(super) fn begin_identity(&self, from: Option<IpAddr>) -> Result<IdentityAttempt, Duration> {
        let (network, now_ms) = (Network::of(from), ms_since(self.began));
        let mut tables = self.tables.lock();
        if let Some(wait_ms) = tables.by_address.wait_ms(&network, now_ms) {
            return Err(Duration::from_millis(wait_ms));
        }
        tables.by_address.add(&network, now_ms);
        Ok(IdentityAttempt(network))
    }

    /// Uncounts a valid or unchecked identity token.
    pub(super) fn take_back_identity(&self, attempt: &IdentityAttempt) {
        self.tables.lock().by_address.take_back(&attempt.0);
    }

    /// Records a correct password: forgets the account's attempts from the address, but not the address's own.
    pub(super) fn succeeded(&self, attempt: &Attempt) {
        let now_ms = ms_since(self.began);
        let mut tables = self.tables.lock();
        tables.by_account.clear(&attempt.account);
        if self.is_shared(attempt) {
            tables.take_back_stranger(attempt);
        }
        let known = (attempt.account.0, attempt.network);
        tables.known.clear(&known);
        tables.known.add(&known, now_ms);
        drop(tables);
        self.note(attempt, true);
    }

    /// Records a wrong password: counted at the beginning, and now reported to other nodes.
    pub(super) fn failed(&self, attempt: &Attempt) {
        self.note(attempt, false);
    }

    /// Sets the queue of reports to other nodes.
    pub(super) fn report_to(&self, sender: mpsc::Sender<AttemptNote>) {
        // Called once.
        self.notes.set(sender).ok();
    }

    fn note(&self, attempt: &Attempt, has_succeeded: bool) {
        let Some(notes) = self.notes.get() else { return };
        let login = hex::encode(attempt.account.0);
        let (network, of_visitor) = (attempt.network.address(), self.of_visitors);
        notes.try_send(AttemptNote { login, network, has_succeeded, of_visitor }).ok();
    }

    /// Counts an attempt on another node.
    pub(super) fn count(&self, note: &AttemptNote) {
        self.count_at(note, ms_since(self.began));
    }

    fn count_at(&self, note: &AttemptNote, now_ms: u64) {
        let (mut login, network): (Login, _) = ([0; 32], Network::of(note.network));
        if hex::decode_to_slice(&note.login, &mut login).is_err() {
            return;
        }
        let mut tables = self.tables.lock();
        let known = (login, network);
        let is_known = tables.known.wait_ms(&known, now_ms).is_some();
        let attempt = self.attempt(login, network, is_known);
        // A full window stays full; the attempt must not prolong the wait.
        if tables.by_address.wait_ms(&network, now_ms).is_none() {
            tables.by_address.add(&network, now_ms);
        }
        if note.has_succeeded {
            tables.by_account.clear(&attempt.account);
            tables.known.clear(&known);
            tables.known.add(&known, now_ms);
            return;
        }
        if tables.by_account.wait_ms(&attempt.account, now_ms).is_none() {
            tables.by_account.add(&attempt.account, now_ms);
        }
        if self.is_shared(&attempt) && tables.strangers_wait_ms(&attempt, now_ms).is_none() {
            tables.add_stranger(&attempt, now_ms);
        }
    }

    /// Uncounts an unchecked password.
    pub(super) fn take_back(&self, attempt: &Attempt) {
        let mut tables = self.tables.lock();
        tables.by_account.take_back(&attempt.account);
        tables.by_address.take_back(&attempt.network);
        if self.is_shared(attempt) {
            tables.take_back_stranger(attempt);
        }
    }
}

/// Limit of log lines caused by strangers, over all origins.
pub(super) fn log_quota() -> RateLimit<()> {
    RateLimit::new(LINES_MAX, 1, LINES_WINDOW_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ATTEMPTS_MAX;

    fn limits(per_account: u64, per_address: u64) -> Limits {
        Limits {
            login_attempts_per_account_max: per_account,
            login_attempts_per_address_max: per_address,
            login_window_ms: 1_000,
            ..Limits::default()
        }
    }

    fn attempts(per_account: u64, per_address: u64) -> Attempts {
        Attempts::new(&limits(per_account, per_address))
    }

    fn noted(attempts: &Attempts) -> mpsc::Receiver<AttemptNote> {
        let (sender, receiver) = mpsc::channel(ATTEMPTS_MAX);
        attempts.report_to(sender);
        receiver
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_account_is_locked_for_strangers_and_not_where_its_owner_logged_in() {
        let attempts = attempts(3, 100);
        let home = attempts.begin_at("ada", address("192.0.2.1"), 0).unwrap();
        attempts.succeeded(&home);
        for number in 0..3 {
            attempts.begin_at("ADA", address(&format!("198.51.100.{number}")), 10).unwrap();
        }
        assert_eq!(attempts.begin_at("ada", address("203.0.113.9"), 510).unwrap_err(), 500);
        attempts.begin_at("ada", address("192.0.2.1"), 510).unwrap();
        attempts.begin_at("bob", address("203.0.113.9"), 510).unwrap();
        // A refused attempt does not count.
        attempts.begin_at("ada", address("203.0.113.9"), 1_010).unwrap();
    }

    #[test]
    fn an_address_is_limited_whatever_it_gets_right_and_a_64_is_one() {
        let attempts = attempts(10, 3);
        for number in 1..=3 {
            let from = address(&format!("2001:db8::{number}"));
            let attempt = attempts.begin_at(&format!("name-{number}"), from, 0).unwrap();
            attempts.succeeded(&attempt);
        }
        assert_eq!(attempts.begin_at("other", address("2001:db8::ffff:1"), 1).unwrap_err(), 999);
        attempts.begin_at("other", address("2001:db8:0:1::1"), 1).unwrap();
        // Both forms of an IPv4 address are equal.
        for from in ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"] {
            attempts.begin_at("other", address(from), 1).unwrap();
        }
        attempts.begin_at("other", address("::ffff:192.0.2.1"), 1).unwrap_err();
    }

    #[test]
    fn attempts_on_other_nodes_count_as_own_ones_and_fill_no_window_beyond_its_limit() {
        let (one, other) = (attempts(3, 100), attempts(3, 100));
        let mut noted = noted(&one);
        for number in 0..3 {
            let attempt = one.begin_at("ada", address(&format!("2001:db8:0:{number}::1")), 0).unwrap();
            one.failed(&attempt);
        }
        for _ in 0..3 {
            let note = noted.try_recv().unwrap();
            for _ in 0..10 {
                other.count_at(&note, 10);
            }
        }
        assert_eq!(other.begin_at("ada", address("192.0.2.1"), 510).unwrap_err(), 500);
        other.begin_at("bob", address("2001:db8:0:1::2"), 510).unwrap();
        // An address with a login on one node is known to all nodes.
        let home = one.begin_at("cy", address("192.0.2.9"), 20).unwrap();
        one.succeeded(&home);
        other.count_at(&noted.try_recv().unwrap(), 20);
        for _ in 0..3 {
            other.begin_at("cy", address("198.51.100.1"), 30).unwrap();
        }
        other.begin_at("cy", address("198.51.100.1"), 30).unwrap_err();
        other.begin_at("cy", address("192.0.2.9"), 30).unwrap();
        let login = "no hash".to_owned();
        other.count(&AttemptNote { login, network: None, has_succeeded: true, of_visitor: false });
    }

    #[test]
    fn a_stranger_at_a_visitors_password_locks_out_nobody_else_and_many_lock_out_each_other() {
        let (one, other) = (Attempts::of_visitors(&limits(3, 5)), Attempts::of_visitors(&limits(3, 5)));
        let mut noted = noted(&one);
        let home = one.begin_at("visitor shop preview", address("192.0.2.1"), 0).unwrap();
        one.succeeded(&home);
        other.count_at(&noted.try_recv().unwrap(), 0);
        for _ in 0..3 {
            let attempt = one.begin_at("visitor shop preview", address("198.51.100.1"), 10).unwrap();
            one.failed(&attempt);
            other.count_at(&noted.try_recv().unwrap(), 10);
        }
        for node in [&one, &other] {
            assert_eq!(node.begin_at("visitor shop preview", address("198.51.100.1"), 510).unwrap_err(), 500);
            node.begin_at("visitor shop preview", address("203.0.113.9"), 510).unwrap();
            node.begin_at("visitor shop preview", address("203.0.113.10"), 510).unwrap();
            assert_eq!(node.begin_at("visitor shop preview", address("203.0.113.11"), 510).unwrap_err(), 500);
            node.begin_at("visitor shop staging", address("203.0.113.11"), 510).unwrap();
            node.begin_at("visitor shop preview", address("192.0.2.1"), 510).unwrap();
        }
    }

    #[test]
    fn addresses_of_one_48_are_one_stranger_at_a_visitors_password() {
        let attempts = Attempts::of_visitors(&limits(3, 100));
        let home = attempts.begin_at("visitor shop preview", address("2001:db8:0:9::1"), 0).unwrap();
        attempts.succeeded(&home);
        for number in 0..3 {
            let from = address(&format!("2001:db8:0:{number}::1"));
            let attempt = attempts.begin_at("visitor shop preview", from, 10).unwrap();
            attempts.failed(&attempt);
        }
        assert_eq!(attempts.begin_at("visitor shop preview", address("2001:db8:0:ffff::1"), 510).unwrap_err(), 500);
        // Neither known visitors, nor visitors elsewhere, nor attempts at another password have to wait.
        attempts.begin_at("visitor shop preview", address("2001:db8:0:9::2"), 510).unwrap();
        attempts.begin_at("visitor shop preview", address("2001:db8:1::1"), 510).unwrap();
        attempts.begin_at("visitor shop staging", address("2001:db8:0:ffff::1"), 510).unwrap();
    }

    #[test]
    fn an_attempt_that_was_not_looked_at_does_not_count() {
        let attempts = attempts(1, 1);
        let attempt = attempts.begin_at("ada", None, 0).unwrap();
        attempts.begin_at("ada", None, 0).unwrap_err();
        attempts.take_back(&attempt);
        attempts.begin_at("ada", None, 0).unwrap();
    }
}
