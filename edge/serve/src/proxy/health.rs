//! Checks the health of members, each at its own interval with a fair share per app, and reports the results to the
//! pool.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use devanture_config::site_toml::{
    HEALTH_INTERVAL_MS, HEALTH_TIMEOUT_MS, HEALTHY_AFTER, HealthCheck, StatusRange, UNHEALTHY_AFTER,
};
use http::header::{HOST, HeaderMap, USER_AGENT};
use http::{HeaderValue, Method};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::connect;
use super::error::Error;
use super::outgoing::Outgoing;
use super::pool::{Member, Pool};
use super::request_body::Original;
use devanture_base::fair::AppTurns;

/// Minimum time for which a check occupies the share of its app, however quick the result: an app with refusing
/// backends cannot flood the network with connections.
const PACE: Duration = Duration::from_millis(100);

/// Bounds of health checks, regardless of the declarations of pools.
#[derive(Debug, Clone, Copy)]
pub struct HealthLimits {
    /// Maximum number of concurrent checks, of which one app has one eighth: `upstream_checks_max`.
    pub checks_max: usize,
    /// Minimum interval between two checks of a member: `upstream_check_interval_ms_min`.
    pub interval_min: Duration,
    /// Maximum duration of one check: `upstream_check_ms_max`.
    pub time_max: Duration,
}

/// The health checks of one pool.
pub(super) struct Checks {
    limits: HealthLimits,
    turns: AppTurns,
    /// The checks by member id.
    by_member: HashMap<u64, CheckTask>,
    /// Number of running checks, each of which holds the pool.
    under_way: Rc<Cell<usize>>,
}

/// A repeated check, which ends on drop.
struct CheckTask(AbortHandle);

impl Drop for CheckTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Checks {
    /// Creates a set without checks.
    pub(super) fn new(limits: HealthLimits, turns: AppTurns) -> Self {
        Self { limits, turns, by_member: HashMap::new(), under_way: Rc::default() }
    }

    /// Starts a check for every member of `pool`, if the pool declares a health check.
    pub(super) fn watch(&mut self, pool: &Arc<Pool>) {
        if pool.key.declared.health.is_none() {
            return;
        }
        let members = pool.members();
        self.by_member.retain(|id, _| members.iter().any(|member| member.id == *id));
        for member in members.iter() {
            self.by_member.entry(member.id).or_insert_with(|| {
                let check = Check {
                    pool: Arc::downgrade(pool),
                    member: Arc::clone(member),
                    limits: self.limits,
                    turns: self.turns.clone(),
                    under_way: Rc::clone(&self.under_way),
                };
                CheckTask(tokio::task::spawn_local(check.go_on()).abort_handle())
            });
        }
    }

    /// Returns true if only the caller and the pool's own checks hold `pool`; otherwise the checks would keep the pool
    /// alive forever.
    pub(super) fn are_alone_with(&self, pool: &Arc<Pool>) -> bool {
        Arc::strong_count(pool) <= self.under_way.get().saturating_add(1)
    }

    /// Ends all checks, including running checks.
    pub(super) fn end(&mut self) {
        self.by_member.clear();
    }
}

/// The health check of one member.
struct Check {
    pool: Weak<Pool>,
    member: Arc<Member>,
    limits: HealthLimits,
    turns: AppTurns,
    under_way: Rc<Cell<usize>>,
}

/// The pool held by a running check.
struct RunningCheck {
    pool: Arc<Pool>,
    under_way: Rc<Cell<usize>>,
}

impl RunningCheck {
    fn new(pool: Arc<Pool>, under_way: &Rc<Cell<usize>>) -> Self {
        under_way.set(under_way.get().saturating_add(1));
        Self { pool, under_way: Rc::clone(under_way) }
    }
}

impl Drop for RunningCheck {
    fn drop(&mut self) {
        self.under_way.set(self.under_way.get().saturating_sub(1));
    }
}

/// Returns the interval between two checks, and the time limit of a check.
fn times(check: &HealthCheck, limits: &HealthLimits) -> (Duration, Duration) {
    let declared = |ms: Option<u64>, default| Duration::from_millis(ms.unwrap_or(default));
    (
        declared(check.interval_ms, HEALTH_INTERVAL_MS).max(limits.interval_min),
        declared(check.timeout_ms, HEALTH_TIMEOUT_MS).min(limits.time_max),
    )
}

impl Check {
    /// Repeats the check until the pool is dropped. The pool is not held between checks or while waiting for a turn,
    /// and the wait for a turn does not count as the member's time.
    async fn go_on(self) {
        let (mut row, mut is_well) = (0, self.member.is_well());
        let mut due = Instant::now();
        loop {
            sleep_until(due).await;
            let Some(turn) = self.turns.take().await else { return };
            let began = Instant::now();
            let Some(asked) = self.pool.upgrade().map(|pool| RunningCheck::new(pool, &self.under_way)) else { return };
            let Some(check) = &asked.pool.key.declared.health else { return };
            let (interval, time_max) = times(check, &self.limits);
            // On the heap: most checks are idle, and thousands may exist.
            let why = Box::pin(why_unwell(&asked.pool, &self.member, check, time_max)).await;
            // A result equal to the known state resets the row.
            row = if why.is_none() == is_well { 0 } else { row + 1 };
            let (healthy, unhealthy) =
                (check.healthy_after.unwrap_or(HEALTHY_AFTER), check.unhealthy_after.unwrap_or(UNHEALTHY_AFTER));
            if row >= if is_well { unhealthy } else { healthy } {
                (row, is_well) = (0, !is_well);
                turned(&asked.pool, &self.member, why.as_deref());
            }
            drop(asked);
            due = began + interval;
            turn.end_paced(PACE).await;
        }
    }
}

/// Records that a member has recovered, or the reason for its failure.
fn turned(pool: &Pool, member: &Member, why: Option<&str>) {
    member.set_well(why.is_none());
    let (app, environment, upstream) = (&pool.key.app, &pool.key.place, &pool.key.name);
    match why {
        Some(why) => {
            tracing::warn!(%app, environment, upstream, member = %member.endpoint, why, "a backend is not well");
        }
        None => {
            tracing::info!(%app, environment, upstream, member = %member.endpoint, "a backend is well again");
        }
    }
    // Waiting requests get the recovered member, or an immediate error if no member is left.
    pool.wake_first();
}

/// Checks once; returns `None` for a healthy member.
async fn why_unwell(pool: &Pool, member: &Arc<Member>, check: &HealthCheck, time_max: Duration) -> Option<String> {
    match timeout(time_max, ask(pool, member, check, time_max)).await {
        Ok(Ok(status)) if check.status.unwrap_or(StatusRange::OK).holds(status) => None,
        Ok(Ok(status)) => Some(format!("it answered {status}")),
        Ok(Err(error)) => Some(error.to_string()),
        Err(_elapsed) => Some("it did not answer in time".to_owned()),
    }
}

/// Checks once, on a new connection: a member that accepts no new connection is unhealthy.
async fn ask(pool: &Pool, member: &Arc<Member>, check: &HealthCheck, limit: Duration) -> Result<u16, Error> {
    let mut connection = connect::connect_with(None, (pool, member), false, limit).await?;
    let host = check.host.as_deref().unwrap_or(&member.authority);
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(HOST, HeaderValue::from_str(host).map_err(|_invalid| Error::BadRequest("its host is none"))?);
    headers.insert(USER_AGENT, HeaderValue::from_static("devanture"));
    let target = check.path.parse().map_err(|_invalid| Error::BadRequest("its path or host cannot be asked for"))?;
    let question = Outgoing { body: Original::empty(), headers, length: Some(0), method: Method::GET, target };
    let answered = connection.send(&question, question.body.body(), member, None).await;
    Ok(answered.map_err(|failed| failed.error)?.status().as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_asked_no_more_often_and_no_longer_than_the_edge_allows() {
        let ms = Duration::from_millis;
        let limits = HealthLimits { checks_max: 1, interval_min: ms(1_000), time_max: ms(30_000) };
        let times = |interval_ms: Option<u64>, timeout_ms: Option<u64>| {
            let mut check: HealthCheck = serde_json::from_str("{\"path\":\"/\"}").unwrap();
            (check.interval_ms, check.timeout_ms) = (interval_ms, timeout_ms);
            times(&check, &limits)
        };
        assert_eq!(times(None, None), (ms(HEALTH_INTERVAL_MS), ms(HEALTH_TIMEOUT_MS)));
        assert_eq!(times(Some(100), Some(60_000)), (ms(1_000), ms(30_000)));
        assert_eq!(times(Some(60_000), Some(100)), (ms(60_000), ms(100)));
    }
}
