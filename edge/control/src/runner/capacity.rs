//! Room for instances: how many there may be of all apps together, how many of them one app may have, and what it can
//! spare before it is refused more.

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
/// An app may have so many times as many instances as are free then.
const SHARE: u64 = 3;
/// The last of all instances, one of so many, are for apps …
const LAST: u64 = 16;
/// … that have no more than this; as many may any app have.
const FEW: u64 = 5;

/// What new instances are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// There are to be more than before.
    More,
    /// One takes the place of another. For as long as that takes there may be one more than otherwise, and beyond the
    /// share of its app: else what is full could not be restarted.
    Replacement,
}

impl Shared {
    /// Adds instances to a group, or begins to end some, by `change`, which gives those that are new; where there would
    /// be too many then, those that end and are warm among them, what the app can spare goes first.
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
                // Others count with these.
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

    /// Ends what an app has for a rollback alone, and at once what it has that ends already.
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

/// Checks that an app may have so many instances of its own beside those of others, of `max` of all apps together.
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

/// How many instances an app may have in all of its environments, where others have so many of `max`. At most
/// [`SHARE`] times as many as stay free: alone it gets three quarters of all, and whatever others have, some stay free
/// for those who come next. However many others there are, the last sixteenth is left to apps that have few.
fn share(max: u64, others: u64) -> u64 {
    let room = max.saturating_sub(others);
    let share = room.saturating_mul(SHARE).div_ceil(SHARE + 1);
    share.min(room.saturating_sub(max / LAST)).max(room.min(FEW))
}

/// Whether something of an app is about to make room.
fn has_spare(groups: &[Arc<Group>], app: &AppName, own: &Inner, group: &Group) -> bool {
    let ends = |inner: &Inner| inner.is_stopping || inner.slots.iter().any(|slot| !slot.is_wanted());
    let others = groups.iter().filter(|other| other.id.app == *app && !std::ptr::eq(other.as_ref(), group));
    let mut others = others.map(|other| other.inner());
    // One that was warm until just now has no reason any more, and nobody who looks after it may know yet.
    ends(own) || others.any(|inner| ends(&inner) || inner.reasons.fate(Instant::now()) == Fate::Ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many instances an app gets one by one beside those of others.
    fn gets(max: u64, others: usize) -> usize {
        let app: AppName = "shop".parse().unwrap();
        (1..).take_while(|own| check(&app, (*own, others), Need::More, max).is_ok()).count()
    }

    #[test]
    fn law_11_an_app_leaves_instances_to_those_who_come_after_it() {
        let first = gets(512, 0);
        let second = gets(512, first);
        assert_eq!((first, second, gets(512, first + second)), (384, 96, 5));
        // The last of all are for apps that have few.
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
        // Others have grown since.
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
