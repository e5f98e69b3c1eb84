//! Asks members whether they are well, each at its own pace, and tells their pool.

use std::cell::RefCell;
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
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::connect;
use super::error::Error;
use super::outgoing::Outgoing;
use super::pool::{Member, Pool};
use super::request_body::Original;

/// The questions that go on, by the number of the member.
type Checked = Rc<RefCell<HashMap<u64, Question>>>;

/// A question that goes on until it is dropped.
pub(super) struct Question(AbortHandle);

impl Drop for Question {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sees to it that every member of `pool` is asked, if the pool says how.
pub(super) fn watch(pool: &Arc<Pool>, checked: &Checked) {
    let Some(check) = &pool.key.declared.health else { return };
    let members = pool.members();
    let mut checked = checked.borrow_mut();
    checked.retain(|id, _| members.iter().any(|member| member.id == *id));
    for member in members.iter() {
        checked.entry(member.id).or_insert_with(|| {
            let asking = ask_on(Arc::downgrade(pool), Arc::clone(member), check.clone());
            Question(tokio::task::spawn_local(asking).abort_handle())
        });
    }
}

/// Asks `member` again and again, until its pool is gone.
async fn ask_on(pool: Weak<Pool>, member: Arc<Member>, check: HealthCheck) {
    let mut ticks = interval(Duration::from_millis(check.interval_ms.unwrap_or(HEALTH_INTERVAL_MS)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let limit = Duration::from_millis(check.timeout_ms.unwrap_or(HEALTH_TIMEOUT_MS));
    let (healthy, unhealthy) =
        (check.healthy_after.unwrap_or(HEALTHY_AFTER), check.unhealthy_after.unwrap_or(UNHEALTHY_AFTER));
    let (mut row, mut is_well) = (0, member.is_well());
    loop {
        ticks.tick().await;
        let Some(pool) = pool.upgrade() else { return };
        let answered = timeout(limit, ask(&pool, &member, &check, limit)).await;
        let why = match answered {
            Ok(Ok(status)) if check.status.unwrap_or(StatusRange::OK).holds(status) => None,
            Ok(Ok(status)) => Some(format!("it answered {status}")),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_elapsed) => Some("it did not answer in time".to_owned()),
        };
        // A result that agrees with the known state resets the row.
        row = if why.is_none() == is_well { 0 } else { row + 1 };
        if row < if is_well { unhealthy } else { healthy } {
            continue;
        }
        (row, is_well) = (0, !is_well);
        member.set_well(is_well);
        let (app, environment, upstream) = (&pool.key.app, &pool.key.place, &pool.key.name);
        match why {
            Some(why) => {
                tracing::warn!(%app, environment, upstream, member = %member.endpoint, why, "a backend is not well");
            }
            None => {
                tracing::info!(%app, environment, upstream, member = %member.endpoint, "a backend is well again");
                pool.wake_all();
            }
        }
    }
}

/// Asks once, on a connection of its own: a member that takes no new connection is not well.
async fn ask(pool: &Arc<Pool>, member: &Arc<Member>, check: &HealthCheck, limit: Duration) -> Result<u16, Error> {
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
