//! Scheduling of orders: pure decisions on times read by the caller, testable without a clock.

use std::collections::{BTreeMap, HashMap, VecDeque};

use devanture_config::AppName;
use devanture_config::limits::Limits;
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

const HOUR_MS: u64 = 3_600_000;
/// Longest pause of orders after a failure of the authority itself, which is likely repaired sooner than a name's wrong
/// DNS.
const AUTHORITY_RETRY_MS_MAX: u64 = HOUR_MS;
/// Part of a certificate's life over which renewals are spread, so that certificates of one day are not due at once.
const SPREAD_OF_LIFE: u64 = 24;
/// Pause after a rate limit without a time.
pub(crate) const LIMITED_WAIT_MS: u64 = HOUR_MS;
/// Longest accepted pause requested by an authority.
pub(crate) const WAIT_MS_MAX: u64 = 7 * 24 * HOUR_MS;

/// Longest rest of a name whose new certificates are already due.
const EARLY_MS_MAX: u64 = 24 * HOUR_MS;

/// Validity of a certificate, in milliseconds since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) not_before_ms: u64,
    pub(crate) not_after_ms: u64,
}

impl Life {
    /// Returns the renewal time: at two thirds of the life, or up to a 24th of the life earlier by `spread`, constant
    /// per certificate.
    pub(crate) fn renewal_ms(&self, spread: u32) -> u64 {
        let span = self.not_after_ms.saturating_sub(self.not_before_ms);
        let latest = self.not_before_ms.saturating_add(span / 3 * 2);
        latest.saturating_sub(part(span / SPREAD_OF_LIFE, spread))
    }

    /// Returns true if the renewal is due. The authority's `window` (RFC 9773) can only advance the renewal.
    pub(crate) fn is_due(&self, spread: u32, window: Option<Window>, now_ms: u64) -> bool {
        let suggested = window.map_or(u64::MAX, |window| window.moment_ms(spread));
        now_ms >= self.renewal_ms(spread).min(suggested)
    }

    pub(crate) const fn is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.not_after_ms
    }

    /// Returns true within the validity, with tolerance for clock differences at its beginning.
    pub(crate) const fn is_valid(&self, now_ms: u64) -> bool {
        self.not_before_ms <= now_ms.saturating_add(HOUR_MS) && !self.is_over(now_ms)
    }

    /// Returns the middle of the validity.
    pub(crate) const fn middle_ms(&self) -> u64 {
        self.not_before_ms.saturating_add(self.not_after_ms.saturating_sub(self.not_before_ms) / 2)
    }

    /// Returns the minimum time before a renewal, whatever the clock or the authority: an hour, or a third of a short
    /// life.
    fn kept_ms(&self) -> u64 {
        HOUR_MS.min(self.not_after_ms.saturating_sub(self.not_before_ms) / 3)
    }
}

/// Renewal window of the authority (RFC 9773 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) start_ms: u64,
    pub(crate) end_ms: u64,
}

impl Window {
    const fn moment_ms(self, spread: u32) -> u64 {
        self.start_ms.saturating_add(part(self.end_ms.saturating_sub(self.start_ms), spread))
    }
}

/// Returns `spread / 2³²` of `span`.
const fn part(span: u64, spread: u32) -> u64 {
    // Uses the upper bits, whose product with a `u32` cannot overflow; spans below 50 days lose nothing relevant.
    (span >> 16).saturating_mul(spread as u64) >> 16
}

/// Rest before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Rest {
    /// Consecutive failures.
    failures: u32,
    since_ms: u64,
    wait_ms: u64,
}

impl Rest {
    /// Returns true after the rest; a clock set back does not prolong the wait.
    const fn is_over(&self, now_ms: u64) -> bool {
        now_ms < self.since_ms || now_ms - self.since_ms >= self.wait_ms
    }

    fn failed(&mut self, now_ms: u64, least_ms: u64, most_ms: u64, retry_after_ms: u64) {
        self.failures = self.failures.saturating_add(1);
        self.since_ms = now_ms;
        self.wait_ms = backed_off_ms(self.failures, least_ms, most_ms).max(retry_after_ms.min(WAIT_MS_MAX));
    }
}

/// Returns the delay after consecutive failures: `least_ms`, doubled each time, at most `most_ms`.
fn backed_off_ms(failures: u32, least_ms: u64, most_ms: u64) -> u64 {
    let doubled = 1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
    least_ms.saturating_mul(doubled).min(most_ms)
}

/// Limits of orders.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    names_max: usize,
    names_per_app_max: usize,
    orders_max: usize,
    orders_per_hour_max: usize,
    orders_per_hour_per_app_max: usize,
    retry_ms_min: u64,
    retry_ms_max: u64,
}

impl Rules {
    pub(crate) fn new(limits: &Limits) -> Self {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        Self {
            names_max: size(limits.acme_names_max),
            names_per_app_max: size(limits.acme_names_per_app_max),
            orders_max: size(limits.acme_orders_max),
            orders_per_hour_max: size(limits.acme_orders_per_hour_max),
            orders_per_hour_per_app_max: size(limits.acme_orders_per_hour_per_app_max),
            retry_ms_min: limits.acme_retry_ms_min,
            retry_ms_max: limits.acme_retry_ms_max.max(limits.acme_retry_ms_min),
        }
    }
}

/// Name that needs a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ManagedName {
    /// App of the name; `None` for the edge itself.
    pub(crate) app: Option<AppName>,
    pub(crate) name: String,
    /// End of the present certificate.
    pub(crate) not_after_ms: Option<u64>,
}

/// Selects the managed names: all with a certificate, and others within the limits, favouring apps with the fewest
/// names (law 11). Within an app, earlier names have priority. Also returns true if all names are selected.
pub(crate) fn admitted(names: Vec<ManagedName>, rules: &Rules) -> (Vec<ManagedName>, bool) {
    let count = names.len();
    let (mut admitted, fresh): (Vec<ManagedName>, Vec<ManagedName>) =
        names.into_iter().partition(|n| n.not_after_ms.is_some());
    let mut of_app: HashMap<Option<AppName>, usize> = HashMap::new();
    for held in &admitted {
        *of_app.entry(held.app.clone()).or_default() += 1;
    }
    let mut turns: Vec<(usize, ManagedName)> = Vec::new();
    for name in fresh {
        let turn = of_app.entry(name.app.clone()).or_default();
        *turn += 1;
        if *turn <= rules.names_per_app_max {
            turns.push((*turn, name));
        }
    }
    turns.sort_by_key(|(turn, _)| *turn);
    turns.truncate(rules.names_max.saturating_sub(admitted.len()));
    admitted.extend(turns.into_iter().map(|(_, name)| name));
    let are_all = admitted.len() == count;
    (admitted, are_all)
}

/// Result of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Issued, with the certificate's life.
    Issued { life: Life },
    /// Refused for the name. `retry_after_ms` is the requested pause for the name; `unproven` is true if the authority
    /// did not find the proof, so that another challenge kind may succeed.
    Failed { retry_after_ms: u64, unproven: bool },
    /// The authority pauses all orders, of the account or of everyone.
    Limited { retry_after_ms: u64 },
    /// The authority could not be contacted; the name is not at fault.
    Unanswered { retry_after_ms: u64 },
    /// Abandoned before any request.
    Dropped,
}

/// History of orders, kept across restarts: repeated restarts must not exhaust the authority's limits.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Books {
    names: BTreeMap<String, Note>,
    authority: Rest,
    /// Times and apps of the orders of the last hour.
    #[serde(default)]
    begun: VecDeque<(u64, Option<AppName>)>,
    #[serde(skip)]
    under_way: BTreeMap<String, Option<AppName>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    #[serde(flatten)]
    rest: Rest,
    /// Next challenge kind: another after a failure, the same after a success.
    way: usize,
    /// Consecutive certificates already due when issued, by a fast clock or an implausible life.
    #[serde(default)]
    early: u32,
}

impl Note {
    /// Records an issued certificate. A new certificate is not renewed at once, whatever the clock, with growing rests
    /// if the next is due again.
    fn issued(&mut self, life: Life, now_ms: u64) {
        let is_early = life.is_due(u32::MAX, None, now_ms);
        self.early = if is_early { self.early.saturating_add(1) } else { 0 };
        let wait_ms = backed_off_ms(self.early.max(1), life.kept_ms(), EARLY_MS_MAX);
        self.rest = Rest { failures: 0, since_ms: now_ms, wait_ms };
    }

    const fn says_something(&self, now_ms: u64) -> bool {
        self.rest.failures > 0 || self.way > 0 || self.early > 0 || !self.rest.is_over(now_ms)
    }
}

impl Books {
    /// Selects the orders to start now among `due`; selected orders count as running until [`Books::end`].
    ///
    /// Renewals precede first orders, sorted by expiry; failed names come last, so that failures cannot use up the
    /// hour. Among first orders, apps with more orders within the hour come later.
    pub(crate) fn begin(&mut self, due: Vec<ManagedName>, rules: &Rules, now_ms: u64) -> Vec<ManagedName> {
        self.begun.retain(|(begun_ms, _)| *begun_ms <= now_ms && now_ms - begun_ms < HOUR_MS);
        let free = rules.orders_max.saturating_sub(self.under_way.len());
        let room = free.min(rules.orders_per_hour_max.saturating_sub(self.begun.len()));
        if room == 0 || self.authority_rests(now_ms) {
            return Vec::new();
        }
        // After a failure of the authority, a single order probes its recovery.
        let room = match (self.authority.failures, self.under_way.len()) {
            (0, _) => room,
            (_, 0) => 1,
            (_, _) => return Vec::new(),
        };
        let in_turn = self.in_turn(due, now_ms);
        let mut begun = Vec::new();
        for name in in_turn {
            if begun.len() < room && self.has_room(name.app.as_ref(), rules) {
                self.begun.push_back((now_ms, name.app.clone()));
                self.under_way.insert(name.name.clone(), name.app.clone());
                begun.push(name);
            }
        }
        begun
    }

    /// Returns those of `due` that may be ordered now, in turn.
    fn in_turn(&self, due: Vec<ManagedName>, now_ms: u64) -> Vec<ManagedName> {
        let is_ready = |wanted: &ManagedName| {
            let note = self.names.get(&wanted.name);
            !self.under_way.contains_key(&wanted.name) && note.is_none_or(|note| note.rest.is_over(now_ms))
        };
        let mut of_app: HashMap<Option<AppName>, u64> = HashMap::new();
        for (_, app) in &self.begun {
            *of_app.entry(app.clone()).or_default() += 1;
        }
        let mut in_turn: Vec<((bool, u32, u64), ManagedName)> = Vec::new();
        for wanted in due.into_iter().filter(is_ready) {
            let turn = match wanted.not_after_ms {
                Some(not_after_ms) => not_after_ms,
                None => {
                    let turn = of_app.entry(wanted.app.clone()).or_default();
                    *turn += 1;
                    *turn
                }
            };
            in_turn.push(((wanted.not_after_ms.is_none(), self.failures(&wanted.name), turn), wanted));
        }
        in_turn.sort_by_key(|(turn, _)| *turn);
        in_turn.into_iter().map(|(_, wanted)| wanted).collect()
    }

    /// Returns true if another order is within an app's share: of the hour, and of running orders, with room left for
    /// others.
    fn has_room(&self, app: Option<&AppName>, rules: &Rules) -> bool {
        let in_hour = self.begun.iter().filter(|(_, other)| other.as_ref() == app).count();
        let under_way = self.under_way.values().filter(|other| other.as_ref() == app).count();
        in_hour < rules.orders_per_hour_per_app_max && under_way < rules.orders_max.div_ceil(2)
    }

    /// Returns true during a pause of the authority.
    pub(crate) const fn authority_rests(&self, now_ms: u64) -> bool {
        !self.authority.is_over(now_ms)
    }

    /// Returns the challenge kind for `name`.
    pub(crate) fn way(&self, name: &str) -> usize {
        self.names.get(name).map_or(0, |note| note.way)
    }

    /// Returns true if `name` rests after an issued certificate.
    pub(crate) fn rests_with_certificate(&self, name: &str, now_ms: u64) -> bool {
        self.names.get(name).is_some_and(|note| note.rest.failures == 0 && !note.rest.is_over(now_ms))
    }

    /// Returns the consecutive failures of `name`.
    pub(crate) fn failures(&self, name: &str) -> u32 {
        self.names.get(name).map_or(0, |note| note.rest.failures)
    }

    pub(crate) fn end(&mut self, name: &str, ended: Ended, rules: &Rules, now_ms: u64) {
        self.under_way.remove(name);
        match ended {
            Ended::Issued { life } => {
                self.authority = Rest::default();
                self.names.entry(name.to_owned()).or_default().issued(life, now_ms);
            }
            Ended::Failed { retry_after_ms, unproven } => {
                self.authority = Rest::default();
                let note = self.names.entry(name.to_owned()).or_default();
                note.rest.failed(now_ms, rules.retry_ms_min, rules.retry_ms_max, retry_after_ms);
                note.way = note.way.wrapping_add(usize::from(unproven));
            }
            Ended::Limited { retry_after_ms } => {
                // The name is deferred for a while, in case the failure concerned the name after all; the short rest
                // also lets one order probe the authority.
                let note = self.names.entry(name.to_owned()).or_default();
                note.rest.failed(now_ms, rules.retry_ms_min, rules.retry_ms_max, 0);
                self.rest_authority(rules, retry_after_ms.min(AUTHORITY_RETRY_MS_MAX), now_ms);
            }
            Ended::Unanswered { retry_after_ms } => self.rest_authority(rules, retry_after_ms, now_ms),
            Ended::Dropped => {}
        }
    }

    fn rest_authority(&mut self, rules: &Rules, retry_after_ms: u64, now_ms: u64) {
        let most_ms = rules.retry_ms_max.min(AUTHORITY_RETRY_MS_MAX.max(rules.retry_ms_min));
        // Simultaneous orders fail together, and count as one failure.
        if self.authority.is_over(now_ms) {
            self.authority.failed(now_ms, rules.retry_ms_min, most_ms, retry_after_ms);
        }
    }

    /// Forgets unneeded names after their rest, and empty entries.
    pub(crate) fn forget(&mut self, is_wanted: impl Fn(&str) -> bool, now_ms: u64) {
        self.names.retain(|name, note| !note.rest.is_over(now_ms) || (is_wanted(name) && note.says_something(now_ms)));
    }
}
