//! Instance: a sequence of processes, each restarted after its end with growing delays.

use std::sync::Arc;
use std::time::Duration;

use devanture_config::api::InstanceState;

use super::backoff::Backoff;
use super::data::hold::{DataUser, Use};
use super::error::Error;
use super::group::{Group, SetUp};
use super::instance_handle::Slot;
use super::life::{Adopted, Ended, Life};
use super::persisted::Place;
use super::shared::{Shared, ms};
use devanture_base::telemetry;
use devanture_host::spawner::Exit;

/// Pause between attempts to recover the data.
const DATA_PAUSE: Duration = Duration::from_secs(1);

/// Runs an instance until stopped, beginning with a process of the predecessor edge, if any.
pub(super) async fn keep(shared: Arc<Shared>, group: Arc<Group>, slot: Arc<Slot>, mut adopted: Option<Adopted>) {
    let limits = &shared.limits;
    let mut backoff = Backoff::new(ms(limits.instance_restart_ms_min), ms(limits.instance_restart_ms_max));
    let log = shared.logs.of(&group.id.app, &group.id.place).await;
    while adopted.is_some() || slot.is_wanted() {
        let life = Life::new(&shared, &group, &slot, &log);
        let ended = match adopted.take() {
            Some(adopted) => {
                let _user = shared.data_use.enter(data_of(&group), Use::Running).ok();
                life.go_on(adopted).await
            }
            None => {
                // No process starts during a handover.
                shared.standstill.ended().await;
                let Some(set_up) = may_begin(&shared, &group, &slot).await else { continue };
                let Some(regained) = regain_image(&shared, &group, &slot, &set_up).await else { continue };
                let Some(_user) = use_data(&shared, &group, &slot).await else { continue };
                slot.is(InstanceState::Starting, None);
                group.notify();
                shared.publish(&group.id);
                match regained {
                    Ok(()) => life.begin(&set_up).await,
                    Err(why) => Ended::refused(why),
                }
            }
        };
        shared.publish(&group.id);
        if !slot.is_wanted() {
            break;
        }
        if let Err(error) = shared.may_begin(&group) {
            life.note(format!("{} is not started again for now: {error}", slot.name)).await;
            continue;
        }
        let wait = backoff.ended(ended.healthy.map(|since| since.elapsed()));
        let reason = ended.because.clone().unwrap_or_else(|| ended.exit.to_string());
        let is_missing = matches!(ended.exit, Exit::Missing(_) | Exit::NotExecutable(_));
        let failed = failure(&shared, &group, &slot, &ended, &reason, backoff.ends);
        let is_looping = is_missing || backoff.ends >= limits.instance_crashes_max;
        // A missing command cannot appear in an immutable folder, but may appear on the system.
        let wait = if is_missing { ms(limits.instance_restart_ms_max) } else { wait };
        {
            let mut seen = slot.seen();
            seen.restarts = seen.restarts.saturating_add(1);
            if failed.is_some() {
                seen.failed = failed;
            }
        }
        slot.is(if is_looping { InstanceState::CrashLoop } else { InstanceState::Waiting }, Some(reason.clone()));
        group.notify();
        shared.publish(&group.id);
        let place = (group.id.app.as_str(), group.id.place.as_str());
        let process = slot.process.name.to_string();
        telemetry::count_in_place("devanture_instance_restarts_total", place, &[("process", &process)], 1);
        let (environment, instance) = (&group.id.place, &slot.name);
        tracing::warn!(app = %group.id.app, environment, instance, reason, "an instance ended, and is started again");
        life.note(format!("{} {reason}; it is started again in {} ms", slot.name, wait.as_millis())).await;
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = slot.kick.notified() => backoff.reset(),
            () = slot.stop.cancelled() => {}
        }
    }
    slot.seen().is_over = true;
    group.remove(&slot);
    shared.sole_ended(&group, &slot);
    group.notify();
    shared.publish(&group.id);
}

/// Returns the environment whose data a group's processes use.
fn data_of(group: &Group) -> Place {
    (group.id.app.clone(), group.settings_place.clone())
}

/// Registers a use of the data. `None` to try again later.
async fn use_data(shared: &Arc<Shared>, group: &Group, slot: &Slot) -> Option<DataUser> {
    let error = match shared.use_data(data_of(group), Use::Instance).await {
        Ok(user) => return Some(user),
        Err(Error::DataReplaced) => return None,
        Err(error) => error,
    };
    tracing::warn!(app = %group.id.app, instance = slot.name, %error, "the data is not whole yet");
    slot.is(InstanceState::Waiting, Some(error.to_string()));
    shared.publish(&group.id);
    tokio::select! {
        () = tokio::time::sleep(DATA_PAUSE) => {}
        () = slot.stop.cancelled() => {}
    }
    None
}

/// Waits until an instance may start, and returns its start parameters. `None` to try again later.
async fn may_begin(shared: &Shared, group: &Group, slot: &Slot) -> Option<Arc<SetUp>> {
    let Err(error) = shared.may_begin(group) else {
        return tokio::select! {
            set_up = group.set_up() => Some(set_up),
            () = slot.stop.cancelled() => None,
        };
    };
    // Waiting callers are released.
    slot.is(InstanceState::Waiting, Some(error.to_string()));
    slot.seen().failed = Some(error);
    group.notify();
    shared.publish(&group.id);
    tokio::select! {
        () = tokio::time::sleep(ms(shared.limits.instance_restart_ms_max)) => {}
        () = slot.kick.notified() => {}
        () = slot.stop.cancelled() => {}
    }
    None
}

/// Pulls a missing image before a start, and returns the reason of a failure; each start makes one attempt, with
/// growing delays after failures. `None` to try again later.
async fn regain_image(shared: &Shared, group: &Group, slot: &Slot, set_up: &SetUp) -> Option<Result<(), Error>> {
    tokio::select! {
        regained = shared.regain_image(group, set_up) => Some(regained),
        () = slot.stop.cancelled() => None,
        // The next edge pulls the image.
        () = shared.standstill.begun() => None,
    }
}

/// Returns the failure to report to callers waiting for the instance.
fn failure(shared: &Shared, group: &Group, slot: &Slot, ended: &Ended, reason: &str, times: u64) -> Option<Error> {
    let (instance, lines) = (slot.name.clone(), slot.lines());
    let reason = reason.to_owned();
    if let Some(refused) = &ended.refused {
        return Some(refused.clone());
    }
    if matches!(ended.exit, Exit::Missing(_) | Exit::NotExecutable(_) | Exit::CannotStart(_)) {
        return Some(Error::Missing { instance, reason, lines });
    }
    if ended.is_late {
        return Some(Error::NotHealthy { instance, after_ms: shared.start_ms(&group.managed.server), reason, lines });
    }
    // Otherwise callers would wait forever for an instance that repeatedly ends soon after becoming healthy.
    let is_loop = times >= shared.limits.instance_crashes_max;
    let was_healthy = slot.seen().healthy_ms.is_some();
    let when = if was_healthy { "without staying healthy" } else { "before it was healthy" };
    is_loop.then_some(Error::CrashLoop { instance, times, when, reason, lines })
}
