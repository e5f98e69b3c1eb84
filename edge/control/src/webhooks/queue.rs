//! Queue of waiting messages by due time, without I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;

use devanture_config::api::WebhookName;
use devanture_config::{AppName, PlaceName};

use super::outcome::is_due;
use devanture_store::records::webhooks::DeliveryAt;

/// Waiting messages, including messages in progress.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<DeliveryAt, Waiting>,
    by_time: BTreeSet<(u64, DeliveryAt)>,
    sending: HashSet<DeliveryAt>,
    sending_by_app: HashMap<AppName, usize>,
    sending_by_webhook: HashMap<(AppName, WebhookName), usize>,
}

#[derive(Debug)]
struct Waiting {
    due_ms: u64,
    environment: Option<PlaceName>,
    /// True if a change of the app, the environment or the webhook requires a check now: usually, the message is then
    /// dropped.
    is_looked_at: bool,
}

/// Message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClaimedDelivery {
    pub(super) at: DeliveryAt,
    /// True if the message is counted in the rate limit of the app already.
    pub(super) is_counted: bool,
}

impl Queue {
    /// Sets the due time of a message.
    pub(super) fn set(&mut self, at: DeliveryAt, due_ms: u64, environment: Option<PlaceName>) {
        self.remove(&at);
        self.by_time.insert((due_ms, at.clone()));
        self.waiting.insert(at, Waiting { due_ms, environment, is_looked_at: false });
    }

    /// Removes a message.
    pub(super) fn remove(&mut self, at: &DeliveryAt) {
        if let Some(before) = self.waiting.remove(at) {
            self.by_time.remove(&(before.due_ms, at.clone()));
        }
    }

    /// Changes the due time of a waiting message.
    pub(super) fn postpone(&mut self, at: &DeliveryAt, due_ms: u64) {
        if let Some(before) = self.waiting.get(at) {
            let environment = before.environment.clone();
            self.set(at.clone(), due_ms, environment);
        }
    }

    /// Makes the messages of an app selected by `is_meant` due for an immediate check.
    pub(super) fn look_at(&mut self, app: &AppName, is_meant: impl Fn(&DeliveryAt, Option<&PlaceName>) -> bool) {
        let is_meant =
            |at: &DeliveryAt, waiting: &Waiting| at.app == *app && is_meant(at, waiting.environment.as_ref());
        let found = self.waiting.iter().filter(|(at, waiting)| is_meant(at, waiting));
        let found: Vec<DeliveryAt> = found.map(|(at, _)| at.clone()).collect();
        for at in found {
            self.postpone(&at, 0);
            if let Some(waiting) = self.waiting.get_mut(&at) {
                waiting.is_looked_at = true;
            }
        }
    }

    /// Takes the due messages, oldest due time first: up to `sends_max` at once, a quarter per app, and a quarter of
    /// the app's part per webhook. So a slow receiver never delays other apps, and a single slow receiver does not
    /// block its own app. Messages of an app without a permit by `may_send` stay in the queue. Messages to check need
    /// no permit, because most need no attempt.
    pub(super) fn begin_due(
        &mut self,
        now_ms: u64,
        sends_max: usize,
        may_send: impl Fn(&AppName) -> bool,
    ) -> Vec<ClaimedDelivery> {
        let per_app_max = sends_max.div_ceil(4);
        let per_webhook_max = per_app_max.div_ceil(4);
        let mut begun = Vec::new();
        // The reverse iteration includes messages due in time only if no other messages wait, and such messages have
        // been begun already.
        let put_off = self.by_time.iter().rev().take_while(|(due_ms, _)| is_due(*due_ms, now_ms));
        let due = self.by_time.iter().take_while(|(due_ms, _)| *due_ms <= now_ms);
        for (_, at) in due.chain(put_off) {
            if self.sending.len() >= sends_max {
                break;
            }
            let of_app = self.sending_by_app.get(&at.app).copied().unwrap_or(0);
            let webhook = (at.app.clone(), at.webhook.clone());
            let to_webhook = self.sending_by_webhook.get(&webhook).copied().unwrap_or(0);
            if of_app >= per_app_max || to_webhook >= per_webhook_max || self.sending.contains(at) {
                continue;
            }
            let is_looked_at = self.waiting.get(at).is_some_and(|waiting| waiting.is_looked_at);
            if !is_looked_at && !may_send(&at.app) {
                continue;
            }
            self.sending_by_webhook.insert(webhook, to_webhook.saturating_add(1));
            self.sending.insert(at.clone());
            self.sending_by_app.insert(at.app.clone(), of_app.saturating_add(1));
            begun.push(ClaimedDelivery { at: at.clone(), is_counted: !is_looked_at });
        }
        begun
    }

    /// Marks a message as no longer in progress.
    pub(super) fn ended(&mut self, at: &DeliveryAt) {
        if self.sending.remove(at) {
            one_less(&mut self.sending_by_app, &at.app);
            one_less(&mut self.sending_by_webhook, &(at.app.clone(), at.webhook.clone()));
        }
    }

    /// Returns the number of waiting messages.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Removes all waiting messages; messages in progress stay marked.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.by_time.clear();
    }
}

/// Decrements a counter, and removes the entry at zero.
fn one_less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the messages begun.
    fn begin(queue: &mut Queue, now_ms: u64, sends_max: usize) -> Vec<DeliveryAt> {
        queue.begin_due(now_ms, sends_max, |_| true).into_iter().map(|begun| begun.at).collect()
    }

    fn at(app: &str, id: usize) -> DeliveryAt {
        DeliveryAt { app: app.parse().unwrap(), webhook: "chat".parse().unwrap(), id: format!("{id:04}") }
    }

    #[test]
    fn what_is_due_the_longest_goes_first_and_nothing_goes_twice() {
        let mut queue = Queue::default();
        queue.set(at("shop", 1), 20, None);
        queue.set(at("shop", 2), 10, None);
        queue.set(at("shop", 3), 40, None);
        assert_eq!(begin(&mut queue, 30, 32), [at("shop", 2), at("shop", 1)]);
        assert!(begin(&mut queue, 30, 32).is_empty());
        queue.remove(&at("shop", 2));
        queue.ended(&at("shop", 2));
        queue.postpone(&at("shop", 1), 50);
        queue.ended(&at("shop", 1));
        assert_eq!(begin(&mut queue, 50, 32), [at("shop", 3), at("shop", 1)]);
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn what_a_clock_that_was_ahead_has_put_off_is_due() {
        let mut queue = Queue::default();
        let (hour_ms, year_ms) = (3_600_000, 31_536_000_000);
        queue.set(at("shop", 1), year_ms, None);
        queue.set(at("shop", 2), 26 * hour_ms, None);
        queue.set(at("shop", 3), 1, None);
        assert_eq!(begin(&mut queue, 2, 32), [at("shop", 3), at("shop", 1)]);
        assert!(begin(&mut queue, 2, 32).is_empty());
    }

    /// Law 11.
    #[test]
    fn an_app_of_slow_receivers_holds_up_no_other() {
        let mut queue = Queue::default();
        let to = |webhook: &str, id| DeliveryAt { webhook: webhook.parse().unwrap(), ..at("greedy", id) };
        ["one", "two", "three"].iter().for_each(|name| (0..100).for_each(|id| queue.set(to(name, id), 1, None)));
        queue.set(at("shop", 1), 2, None);
        let begun = begin(&mut queue, 10, 8);
        assert_eq!(begun.iter().filter(|at| at.app.as_str() == "greedy").count(), 2);
        assert_eq!(begun.last(), Some(&at("shop", 1)));
        begun.iter().for_each(|at| queue.ended(at));
        assert!(queue.sending_by_app.is_empty() && queue.sending_by_webhook.is_empty());
        assert_eq!(begin(&mut Queue::default(), 10, 1), []);
    }

    #[test]
    fn a_slow_receiver_holds_up_no_other_of_its_app() {
        let mut queue = Queue::default();
        (0..100).for_each(|id| queue.set(at("shop", id), 1, None));
        let pager = DeliveryAt { webhook: "pager".parse().unwrap(), ..at("shop", 1) };
        queue.set(pager.clone(), 2, None);
        assert_eq!(begin(&mut queue, 10, 32), [at("shop", 0), at("shop", 1), pager]);
        queue.ended(&at("shop", 0));
        queue.remove(&at("shop", 0));
        assert_eq!(begin(&mut queue, 10, 32), [at("shop", 2)]);
    }

    #[test]
    fn messages_of_what_was_deleted_are_looked_at_at_once() {
        let mut queue = Queue::default();
        queue.set(at("shop", 1), 90, Some("staging".parse().unwrap()));
        queue.set(at("shop", 2), 90, None);
        queue.set(at("blog", 3), 90, Some("staging".parse().unwrap()));
        let (shop, staging): (AppName, PlaceName) = ("shop".parse().unwrap(), "staging".parse().unwrap());
        queue.look_at(&shop, |_, environment| environment == Some(&staging));
        assert_eq!(begin(&mut queue, 10, 32), [at("shop", 1)]);
        queue.look_at(&shop, |_, _| true);
        assert_eq!(begin(&mut queue, 10, 32), [at("shop", 2)]);
    }

    #[test]
    fn an_app_that_has_sent_as_much_as_it_may_waits_and_the_others_do_not() {
        let mut queue = Queue::default();
        queue.set(at("greedy", 1), 1, None);
        queue.set(at("shop", 1), 2, None);
        let begun = queue.begin_due(10, 32, |app| app.as_str() != "greedy");
        assert_eq!(begun, [ClaimedDelivery { at: at("shop", 1), is_counted: true }]);
        assert_eq!(begin(&mut queue, 10, 32), [at("greedy", 1)]);
    }

    #[test]
    fn what_is_looked_at_waits_for_no_other_attempts_of_its_app() {
        let mut queue = Queue::default();
        queue.set(at("shop", 1), 1, None);
        queue.set(at("shop", 2), 90, None);
        queue.look_at(&"shop".parse().unwrap(), |at, _| at.id.ends_with('2'));
        let begun = queue.begin_due(10, 32, |_| false);
        assert_eq!(begun, [ClaimedDelivery { at: at("shop", 2), is_counted: false }]);
        // A checked message that needs an attempt waits in the queue like all others.
        queue.postpone(&at("shop", 2), 5);
        queue.ended(&at("shop", 2));
        assert_eq!(queue.begin_due(10, 32, |_| false), []);
    }
}
