//! Maintains a certificate for every name: checks the served names each second, starts due orders, and stores results.
//! In a cluster, the node with the duty does so for all nodes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use devanture_config::AppName;
use devanture_config::edge_toml::ChallengeKind;
use devanture_config::limits::Limits;
use instant_acme::{CertificateIdentifier, Error as AcmeError};
use metrics::{counter, gauge};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, error, info, warn};

use super::Acme;
use super::account::Accounts;
use super::duty::{Cluster, Ordering, lost, next_step};
use super::failure::Failure;
use super::held::{HeldByName, IssuedCertificate};
use super::order::{OrderRequest, obtain};
use super::schedule::{Books, Ended, ManagedName, Rules, Window, admitted};
use super::store::Store;
use super::store::shared::SharedStore;
use super::trouble::{CertificateTrouble, OnTrouble, Reported};
use devanture_base::clock;

/// Interval of checks of the served names.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time limit of an order.
const ORDER_MAX: Duration = Duration::from_secs(600);
const HOUR_MS: u64 = 3_600_000;
/// Permitted intervals of renewal information requests, whatever the authority's value (RFC 9773 §4.3).
const SUGGESTION_MS: std::ops::RangeInclusive<u64> = HOUR_MS..=24 * HOUR_MS;
/// Default delay until the next request.
const SUGGESTION_AGAIN_MS: u64 = 6 * HOUR_MS;
/// Time after its expiry for which the certificate of an unserved name is kept, for a return of the name.
const EXPIRED_KEPT_MS: u64 = 30 * 24 * HOUR_MS;

/// Longest wait for the duty of ordering, which blocks all other checks.
const TAKE_MAX: Duration = Duration::from_secs(5);

/// Served names.
pub(crate) struct Served {
    /// Returns the names that need a certificate with their apps, the most important names of an app first; `None` for
    /// names of the edge itself.
    pub(crate) names: Box<dyn Fn() -> Vec<(Option<AppName>, String)> + Send + Sync>,
    /// Returns true if a name is served at present.
    pub(crate) serves: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// Receives reports of failed certificates.
    pub(crate) on_trouble: OnTrouble,
}

/// Maintains the certificates.
pub(crate) struct CertificateRenewer {
    acme: Arc<Acme>,
    served: Served,
    rules: Rules,
    /// `None` on a standalone edge.
    cluster: Option<Cluster>,
    /// `None` while another node orders.
    ordering: Option<Arc<Ordering>>,
    books: Books,
    suggestions: HashMap<String, Suggestion>,
    tasks: JoinSet<Done>,
    /// Names of running tasks, for a panic.
    about: HashMap<Id, Subject>,
    tidied_ms: u64,
    too_many: bool,
    /// True if the history of orders could not be stored.
    is_unsaved: bool,
    reported: Reported,
}

/// Renewal window suggested by the authority, and the time of the next request.
#[derive(Debug, Clone, Copy)]
struct Suggestion {
    window: Option<Window>,
    next_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    Order(String),
    Suggestion(String),
}

/// Result of a task.
enum Done {
    Order(Result<IssuedCertificate, Failure>),
    Suggestion(Suggestion),
}

impl CertificateRenewer {
    pub(crate) fn new(acme: Arc<Acme>, served: Served, limits: &Limits, cluster: Option<Cluster>) -> Self {
        Self {
            acme,
            served,
            rules: Rules::new(limits),
            cluster,
            ordering: None,
            books: Books::default(),
            suggestions: HashMap::new(),
            tasks: JoinSet::new(),
            about: HashMap::new(),
            tidied_ms: 0,
            too_many: false,
            is_unsaved: false,
            reported: Reported::default(),
        }
    }

    /// Maintains the certificates; never completes. Dropping aborts running orders, without losing an issued
    /// certificate.
    pub(crate) async fn keep(mut self) {
        if self.cluster.is_none() {
            self.begin(Arc::new(self.acme.folder.clone())).await;
        }
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.look().await,
                Some(ended) = self.tasks.join_next_with_id() => self.take_in(ended).await,
                step = next_step(self.cluster.as_mut()) => {
                    if let Some(cluster) = &mut self.cluster {
                        cluster.follow.take(step, &self.acme).await;
                    }
                }
                () = lost(self.ordering.as_deref()) => {
                    warn!("another node orders certificates from now on: this one was not heard of for a while");
                    self.give_up();
                }
            }
        }
    }

    /// Starts ordering.
    async fn begin(&mut self, store: Arc<dyn Store>) {
        self.books = store.books().await;
        self.ordering = Some(Arc::new(Ordering::new(&self.acme, store)));
    }

    /// Stops ordering, and aborts running orders.
    fn give_up(&mut self) {
        self.tasks = JoinSet::new();
        self.about.clear();
        self.ordering = None;
    }

    /// Takes the duty of ordering for all nodes, if vacant.
    async fn take_over(&mut self) {
        let Some(cluster) = &mut self.cluster else { return };
        cluster.open_locked(&self.acme).await;
        if self.ordering.is_some() {
            return;
        }
        match timeout(TAKE_MAX, cluster.take_duty(&self.acme)).await {
            Ok(Ok(Some(duty))) => {
                info!("this node orders certificates for all");
                let store = SharedStore::new(cluster.follow.shared.clone(), duty);
                self.begin(Arc::new(store)).await;
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => debug!(error, "who orders certificates is not known"),
            Err(_elapsed) => debug!("who orders certificates is not known: etcd does not answer"),
        }
    }

    async fn look(&mut self) {
        self.take_over().await;
        let now_ms = clock::now_ms();
        let held = self.acme.held.load_full();
        let wanted = self.wanted(&held);
        measure(&wanted, &held, now_ms);
        let Some(ordering) = self.ordering.clone() else { return };
        let is_due = |wanted: &&ManagedName| {
            let window = self.window(&wanted.name);
            held.get(wanted.name.as_str()).is_none_or(|held| held.life.is_due(held.spread, window, now_ms))
        };
        if ordering.store.is_paused().await {
            // Results of new orders could not be stored; finished orders wait with their results.
            return;
        }
        let due: Vec<ManagedName> = wanted.iter().filter(is_due).cloned().collect();
        for name in due.iter().filter(|due| due.not_after_ms.is_none()).map(|due| &due.name) {
            // Issued by the predecessor edge after the folder was read.
            if self.books.rests_with_certificate(name, now_ms)
                && let Some(kept) = ordering.store.kept(name).await
            {
                info!(name, "a certificate was issued to the edge before");
                self.acme.hold(name, &Arc::new(kept));
            }
        }
        let before = self.books.clone();
        let begun = self.books.begin(due, &self.rules, now_ms);
        if !begun.is_empty() {
            // Stored before contacting the authority, so that a repeatedly crashing process also counts these orders.
            if !self.save(&ordering).await {
                // An issued certificate could not be stored either, for example on a full disk, and a successor node
                // would order again: the orders are postponed. Running orders continue.
                self.books = before;
                return;
            }
        }
        for begun in begun {
            self.order(&ordering, begun.name, &held);
        }
        self.ask_for_a_suggestion(&ordering, &wanted, &held, now_ms);
        if now_ms.abs_diff(self.tidied_ms) >= HOUR_MS {
            self.tidied_ms = now_ms;
            self.tidy(&ordering, &wanted, &held, now_ms).await;
        }
    }

    /// Returns the names that may be ordered.
    fn wanted(&mut self, held: &HeldByName) -> Vec<ManagedName> {
        let mut names = (self.served.names)();
        names.retain(|(_, name)| can_be_ordered(name));
        let wanted = names.into_iter().map(|(app, name)| {
            let not_after_ms = held.get(name.as_str()).map(|held| held.life.not_after_ms);
            ManagedName { app, name, not_after_ms }
        });
        let (admitted, are_all) = admitted(wanted.collect(), &self.rules);
        if !are_all && !self.too_many {
            warn!("more names than `acme_names_max` or `acme_names_per_app_max` want a certificate: some go without");
        }
        self.too_many = !are_all;
        admitted
    }

    fn window(&self, name: &str) -> Option<Window> {
        self.suggestions.get(name).and_then(|suggestion| suggestion.window)
    }

    fn order(&mut self, ordering: &Arc<Ordering>, name: String, held: &HeldByName) {
        let mut ways = self.acme.ways.clone();
        let first = self.books.way(&name) % ways.len().max(1);
        ways.rotate_left(first);
        // An authority with renewal information supports `replaces`; after a failure, `replaces` is omitted.
        let is_replacement = self.window(&name).is_some() && self.books.failures(&name) == 0;
        let replaces = held.get(name.as_str()).filter(|_| is_replacement).and_then(|held| identifier(held));
        let (acme, serves) = (Arc::clone(&self.acme), Arc::clone(&self.served.serves));
        let ordering = Arc::clone(ordering);
        info!(name, way = ?ways.first(), renewal = held.contains_key(name.as_str()), "a certificate is ordered");
        let subject = Subject::Order(name.clone());
        let task =
            async move { Done::Order(Box::pin(order((&acme, &ordering), &name, ways, replaces, &*serves)).await) };
        self.about.insert(self.tasks.spawn(task).id(), subject);
    }

    /// Requests renewal information for one certificate at a time.
    fn ask_for_a_suggestion(
        &mut self,
        ordering: &Arc<Ordering>,
        wanted: &[ManagedName],
        held: &HeldByName,
        now_ms: u64,
    ) {
        let is_asking = self.about.values().any(|subject| matches!(subject, Subject::Suggestion(_)));
        if is_asking || self.books.authority_rests(now_ms) {
            return;
        }
        let mut names = wanted.iter().map(|wanted| &wanted.name);
        let is_due = |name: &String| self.suggestions.get(name).is_none_or(|known| known.next_ms <= now_ms);
        let next = names.find_map(|name| Some((name, held.get(name.as_str()).filter(|_| is_due(name))?)));
        let Some((name, held)) = next else { return };
        let (ordering, held) = (Arc::clone(ordering), Arc::clone(held));
        let subject = Subject::Suggestion(name.clone());
        let known = self.window(name);
        let task = async move { Done::Suggestion(Box::pin(suggestion(&ordering.accounts, &held, known)).await) };
        self.about.insert(self.tasks.spawn(task).id(), subject);
    }

    async fn take_in(&mut self, ended: Result<(Id, Done), JoinError>) {
        let (id, done) = match ended {
            Ok((id, done)) => (id, Some(done)),
            Err(error) => {
                error!(%error, "a task of ACME ended by itself");
                (error.id(), None)
            }
        };
        match (self.about.remove(&id), done) {
            (Some(Subject::Order(name)), Some(Done::Order(result))) => self.ended(&name, result).await,
            (Some(Subject::Suggestion(name)), Some(Done::Suggestion(suggestion))) => {
                self.suggestions.insert(name, suggestion);
            }
            (Some(Subject::Order(name)), _) => {
                self.ended(&name, Err(Failure::refused("it came to a sudden end".to_owned()))).await;
            }
            (Some(Subject::Suggestion(name)), _) => {
                let next_ms = clock::now_ms().saturating_add(SUGGESTION_AGAIN_MS);
                self.suggestions.insert(name, Suggestion { window: None, next_ms });
            }
            (None, _) => {}
        }
    }

    async fn ended(&mut self, name: &str, result: Result<IssuedCertificate, Failure>) {
        let Some(ordering) = self.ordering.clone() else { return };
        let now_ms = clock::now_ms();
        if let Err(error) = ordering.store.hide_proof(name).await {
            debug!(name, %error, "other nodes go on showing a proof");
        }
        let (ended, outcome) = match result {
            Ok(held) => {
                let life = held.life;
                let days = life.not_after_ms.saturating_sub(now_ms) / (24 * HOUR_MS);
                info!(name, days, "a certificate was issued");
                self.acme.hold(name, &Arc::new(held));
                self.suggestions.remove(name);
                self.reported.forget(name);
                (Ended::Issued { life }, "issued")
            }
            Err(failure) => {
                self.report(name, &failure, now_ms);
                self.report_to_app(name, &failure, now_ms);
                if let Some(source) = failure.source.as_ref().filter(|source| is_to_be_closed(source)) {
                    ordering.accounts.close(source).await;
                }
                (failure.ended, failure.outcome)
            }
        };
        counter!("devanture_acme_orders_total", "outcome" => outcome).increment(1);
        self.books.end(name, ended, &self.rules, now_ms);
        self.save(&ordering).await;
    }

    fn report(&self, name: &str, failure: &Failure, now_ms: u64) {
        let reason = &failure.reason;
        match self.acme.held.load().get(name) {
            _ if failure.ended == Ended::Dropped => debug!(name, reason, "an order was given up"),
            None => {
                warn!(name, reason, "a certificate could not be obtained; the local authority answers for the name");
            }
            Some(held) if held.life.is_over(now_ms) => {
                error!(name, reason, "a certificate has expired and could not be renewed; it is still served");
            }
            Some(held) => {
                let hours = held.life.not_after_ms.saturating_sub(now_ms) / HOUR_MS;
                warn!(
                    name,
                    reason, hours, "a certificate could not be renewed; it is served, and valid for some hours"
                );
            }
        }
    }

    /// Reports a missing certificate to the app of its name.
    fn report_to_app(&mut self, name: &str, failure: &Failure, now_ms: u64) {
        if failure.ended == Ended::Dropped || !self.reported.is_new(name, now_ms) {
            return;
        }
        let owner = (self.served.names)().into_iter().find(|(_, served)| served == name);
        let Some((Some(app), _)) = owner else { return };
        let expires_ms = self.acme.held.load().get(name).map(|held| held.life.not_after_ms);
        let (name, reason) = (name.to_owned(), failure.reason.clone());
        (self.served.on_trouble)(CertificateTrouble { app, name, reason, expires_ms });
    }

    /// Stores the history of orders; false on failure, logged once until the next success.
    async fn save(&mut self, ordering: &Ordering) -> bool {
        let saved = ordering.store.keep_books(&self.books).await;
        let was_unsaved = std::mem::replace(&mut self.is_unsaved, saved.is_err());
        if let Some(error) = saved.as_ref().err().filter(|_| !was_unsaved) {
            warn!(%error, "what is known of orders could not be kept: none begins until it can");
        }
        saved.is_ok()
    }

    /// Removes state that no name needs any more.
    async fn tidy(&mut self, ordering: &Ordering, wanted: &[ManagedName], held: &HeldByName, now_ms: u64) {
        let wanted: HashSet<&str> = wanted.iter().map(|wanted| wanted.name.as_str()).collect();
        self.books.forget(|name| wanted.contains(name), now_ms);
        self.suggestions.retain(|name, _| wanted.contains(name.as_str()));
        let is_gone = |held: &IssuedCertificate| now_ms.saturating_sub(held.life.not_after_ms) > EXPIRED_KEPT_MS;
        let gone = held.iter().filter(|(name, held)| !wanted.contains(&***name) && is_gone(held));
        let gone: Vec<Box<str>> = gone.map(|(name, _)| name.clone()).collect();
        if gone.is_empty() {
            return;
        }
        self.acme.change(|held| held.retain(|name, _| !gone.contains(name)));
        for name in gone {
            if let Err(error) = ordering.store.remove_certificate(&name).await {
                warn!(name, %error, "an expired certificate could not be removed");
            }
        }
    }
}

/// Returns true if an authority could issue for a name: a public name without a wildcard.
fn can_be_ordered(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    // RFC 6761 §6.3. A numeric last label denotes an address. Hosts have no `_` (CA/Browser Forum, BR 7.1.2.7.12).
    name.contains('.')
        && !name.contains(['*', '_'])
        && last != "localhost"
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

fn measure(wanted: &[ManagedName], held: &HeldByName, now_ms: u64) {
    let (mut valid, mut expired, mut first_ms) = (0_u32, 0_u32, u64::MAX);
    for held in wanted.iter().filter_map(|wanted| held.get(wanted.name.as_str())) {
        first_ms = first_ms.min(held.life.not_after_ms);
        if held.life.is_over(now_ms) { expired += 1 } else { valid += 1 }
    }
    let missing = u32::try_from(wanted.len()).unwrap_or(u32::MAX).saturating_sub(valid + expired);
    for (state, count) in [("valid", valid), ("expired", expired), ("missing", missing)] {
        gauge!("devanture_acme_names", "state" => state).set(f64::from(count));
    }
    if valid + expired > 0 {
        let left = Duration::from_millis(first_ms.saturating_sub(now_ms)).as_secs_f64();
        let over = Duration::from_millis(now_ms.saturating_sub(first_ms)).as_secs_f64();
        gauge!("devanture_acme_expires_seconds").set(left - over);
    }
}

/// Returns true if directory and account must be fetched again before the next order.
fn is_to_be_closed(error: &AcmeError) -> bool {
    match error {
        AcmeError::Api(problem) => super::account::is_unknown(problem),
        _ => true,
    }
}

fn identifier(held: &IssuedCertificate) -> Option<CertificateIdentifier<'static>> {
    Some(CertificateIdentifier::try_from(held.leaf()?).ok()?.into_owned())
}

/// Runs an order including account set-up and storage of the result.
pub(super) async fn order(
    (acme, ordering): (&Acme, &Ordering),
    name: &str,
    ways: Vec<ChallengeKind>,
    replaces: Option<CertificateIdentifier<'static>>,
    serves: &(dyn Fn(&str) -> bool + Send + Sync),
) -> Result<IssuedCertificate, Failure> {
    let known = acme.held.load().get(name).map_or(0, |held| held.life.not_after_ms);
    // The draining predecessor edge may have been faster.
    let kept = ordering.store.kept(name).await;
    if let Some(kept) = kept.filter(|kept| kept.life.not_after_ms > known && kept.life.is_valid(clock::now_ms())) {
        return Ok(kept);
    }
    let obtained = async {
        let account = ordering.accounts.account().await?;
        // The account set-up may have taken long.
        if !serves(name) {
            return Err(Failure::dropped());
        }
        let request = OrderRequest { name, ways, replaces };
        let shown = (&**acme.challenges(), &*ordering.store);
        obtain(&account, shown, request).await.map_err(|failure| failure.about(name))
    };
    let late = || Failure::refused("it took too long".to_owned());
    let pem = timeout(ORDER_MAX, obtained).await.unwrap_or_else(|_elapsed| Err(late()))?;
    let replaced = acme.held.load().get(name).map(|held| held.life);
    let held = IssuedCertificate::issued(name, &pem, replaced, clock::now_ms(), &acme.provider)?;
    // Without a time limit: a pause of changes may outlast an order.
    ordering.store.keep_certificate(name, &pem).await?;
    Ok(held)
}

/// Requests the renewal window of a certificate. The earlier window holds until changed by the authority.
async fn suggestion(accounts: &Accounts, held: &IssuedCertificate, known: Option<Window>) -> Suggestion {
    let answers = async {
        let identifier = identifier(held)?;
        let account = accounts.account().await.ok()?;
        let (info, wait) = account.renewal_info(&identifier).await.inspect_err(|error| debug!(%error)).ok()?;
        let ms = |time: time::OffsetDateTime| u64::try_from(time.unix_timestamp()).unwrap_or_default() * 1_000;
        let window = Window { start_ms: ms(info.suggested_window.start), end_ms: ms(info.suggested_window.end) };
        Some((window, u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    };
    let now_ms = clock::now_ms();
    match answers.await {
        Some((window, wait_ms)) => {
            let wait_ms = wait_ms.clamp(*SUGGESTION_MS.start(), *SUGGESTION_MS.end());
            Suggestion { window: Some(window), next_ms: now_ms.saturating_add(wait_ms) }
        }
        None => Suggestion { window: known, next_ms: now_ms.saturating_add(SUGGESTION_AGAIN_MS) },
    }
}

#[cfg(test)]
mod tests;
