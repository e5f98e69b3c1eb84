//! Capacity for instances: total, share of an app, and spare instances of an app ended before a refusal.

use std::sync::Arc;
use std::time::Duration;

use devanture_config::AppName;
use tokio::time::{Instant, sleep};

use super::error::Error;
use super::group::{Fate, Group, Inner};
use super::instance_handle::Slot;
use super::shared::Shared;
use super::supervise::LOOK;

/// Longest wait for the capacity of ending instances.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(10);
/// Largest multiple of the free instances that an app may have.
const SHARE: u64 = 3;
/// The last of all instances, one part in so many, is reserved for apps …
const LAST: u64 = 16;
/// … with no more instances than this number, open to any app.
const FEW: u64 = 5;

/// Purpose of new instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Additional instances.
    More,
    /// Replacement of an instance. One instance more is permitted meanwhile, also beyond the app's share: otherwise a
    /// full edge could restart no instance.
    Replacement,
}

impl Shared {
    /// Adds instances to a group, or begins to end some, by `change`, which returns the new instances. If ending and
    /// warm instances would exceed the limit, the app's spare instances end first.
    pub(super) async fn with_room<T>(
        &self,
        group: &Group,
        need: Need,
        mut change: impl FnMut(&[Arc<Group>], &mut Inner) -> (Vec<Arc<Slot>>, T),
    ) -> Result<(Vec<Arc<Slot>>, T), Error> {
        let until = Instant::now() + ROOM_WAIT_MAX;
        let mut has_asked = false;
        loop {
            {
                // The lock makes concurrent calls count the same instances.
                let groups = self.groups.lock();
                let slots = |is_own: bool| -> usize {
                    let others = groups.iter().filter(|other| !std::ptr::eq(other.as_ref(), group));
                    let others = others.filter(|other| (other.id.app == group.id.app) == is_own);
                    others.map(|other| other.inner().slots.len()).sum()
                };
                let (own, others) = (slots(true), slots(false));
                let mut inner = group.inner();
                if inner.is_stopping {
                    return Err(Error::Ended);
                }
                let (made, more) = change(groups.as_slice(), &mut inner);
                let own = own.saturating_add(inner.slots.len()).saturating_add(made.len());
                let checked = check(&group.id.app, (own, others), need, self.limits.instances_total_max);
                let Some(refused) = checked.err().filter(|_| !made.is_empty()) else {
                    inner.slots.extend(made.iter().cloned());
                    return Ok((made, more));
                };
                if Instant::now() >= until || (has_asked && !has_spare(&groups, &group.id.app, &inner, group)) {
                    return Err(refused);
                }
            }
            self.spare(group);
            has_asked = true;
            sleep(LOOK).await;
        }
    }

    /// Ends the app's warm instances, and kills its already ending instances.
    fn spare(&self, group: &Group) {
        for other in self.all_groups().into_iter().filter(|other| other.id.app == group.id.app) {
            let is_warm = {
                let mut inner = other.inner();
                let is_ending = |slot: &&Arc<Slot>| !slot.is_wanted();
                inner.slots.iter().filter(is_ending).for_each(|slot| slot.kill.cancel());
                let is_warm = inner.reasons.is_warm() && !inner.is_stopping;
                if is_warm {
                    (inner.reasons.warm_until, inner.reasons.lingers_until) = (None, None);
                }
                is_warm
            };
            if is_warm {
                other.notify();
            }
        }
    }
}

/// Checks the number of an app's own instances besides those of others, within `max` in total.
fn check(app: &AppName, (own, others): (usize, usize), need: Need, max: u64) -> Result<(), Error> {
    let [own, others] = [own, others].map(|count| u64::try_from(count).unwrap_or(u64::MAX));
    let wanted = own.saturating_add(others);
    let most = max.saturating_add(u64::from(need == Need::Replacement));
    if wanted > most {
        return Err(Error::TooMany { wanted, max: most, setting: "instances_total_max" });
    }
    let share = share(max, others);
    if need == Need::More && own > share {
        return Err(Error::BeyondShare { app: app.to_string(), wanted: own, share });
    }
    Ok(())
}

/// Returns the share of an app over all its environments, with `others` of `max` in use elsewhere: at most [`SHARE`]
/// times the number left free. A single app gets three quarters of all, and some instances always stay free for later
/// apps. The last sixteenth is reserved for apps with few instances.
fn share(max: u64, others: u64) -> u64 {
    let room = max.saturating_sub(others);
    let share = room.saturating_mul(SHARE).div_ceil(SHARE + 1);
    share.min(room.saturating_sub(max / LAST)).max(room.min(FEW))
}

/// Returns true if instances of the app are about to end.
fn has_spare(groups: &[Arc<Group>], app: &AppName, own: &Inner, group: &Group) -> bool {
    let ends = |inner: &Inner| inner.is_stopping || inner.slots.iter().any(|slot| !slot.is_wanted());
    let others = groups.iter().filter(|other| other.id.app == *app && !std::ptr::eq(other.as_ref(), group));
    let mut others = others.map(|other| other.inner());
    // An instance just no longer warm may not have been noticed by its supervisor.
    ends(own) || others.any(|inner| ends(&inner) || inner.reasons.fate(Instant::now()) == Fate::Ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the number of instances that an app obtains one by one besides those of others.
    fn gets(max: u64, others: usize) -> usize {
        let app: AppName = "shop".parse().unwrap();
        (1..).take_while(|own| check(&app, (*own, others), Need::More, max).is_ok()).count()
    }

    #[test]
    fn law_11_an_app_leaves_instances_to_those_who_come_after_it() {
        let first = gets(512, 0);
        let second = gets(512, first);
        assert_eq!((first, second, gets(512, first + second)), (384, 96, 5));
        // The last of all are reserved for apps with few.
        assert_eq!((gets(16, 0), gets(16, 12), gets(16, 15), gets(16, 16)), (12, 4, 1, 0));
    }

    #[test]
    fn a_few_instances_are_no_matter_of_shares() {
        assert_eq!([1, 2, 3, 4, 5, 6].map(|max| gets(max, 0)), [1, 2, 3, 4, 5, 5]);
        assert_eq!((gets(0, 0), gets(1_000_000, 0)), (0, 750_000));
    }

    #[test]
    fn an_app_beyond_its_share_has_instances_replaced_and_gets_no_more() {
        let app: AppName = "shop".parse().unwrap();
        // Other apps have grown since.
        let (own, others) = (12, 4);
        assert!(check(&app, (own + 1, others), Need::Replacement, 16).is_ok());
        let refused = check(&app, (own + 1, others - 1), Need::More, 16).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "shop would have 13 instances, and its share of what other apps leave is 10: `instances_total_max` in \
             edge.toml is the limit"
        );
        let refused = check(&app, (own + 2, others), Need::Replacement, 16).unwrap_err();
        assert!(matches!(refused, Error::TooMany { wanted: 18, max: 17, .. }), "{refused}");
    }
}
