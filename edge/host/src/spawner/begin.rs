//! Beginning of a conversation with an edge: claims users for the edge, and ends leftovers of an earlier run.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::geteuid;
use tokio::time::{Instant, sleep};

use super::claims::{self, Claim, ClaimError, Claimant, Wanted};
use super::leftovers::kill_leftovers;
use super::process_users::may_be_ours;
use super::user::end_users;

/// Longest wait for the end of the spawner of an earlier run of the same edge.
pub(crate) const BUSY_WAIT: Duration = Duration::from_secs(20);
/// Interval of checks for the end.
const BUSY_LOOK: Duration = Duration::from_millis(50);

/// Users permitted for instances.
#[derive(Debug, Clone, Default)]
pub enum HostUsers {
    /// Any user named by the edge: the edge has the same privileges.
    #[default]
    Any,
    /// Users of a range claimed for an edge with fewer privileges; the given range, if any.
    Claimed(Option<RangeInclusive<u32>>),
}

/// Claims the users of an edge, and ends leftovers of an earlier run.
///
/// # Errors
/// Returns a message for the edge if no users can be claimed.
pub(super) async fn begin(
    users: &HostUsers,
    edge_id: &str,
    folder: String,
    left: Vec<(u32, u32)>,
) -> Result<Option<Claim>, String> {
    let claim = match users {
        HostUsers::Any => None,
        HostUsers::Claimed(uids) => {
            let claimant = Claimant { edge: edge_id.to_owned(), folder: PathBuf::from(folder) };
            let wanted = uids.clone().map_or(Wanted::Any(None), Wanted::Exactly);
            Some(claim_when_free(&claimant, &wanted).await.map_err(|error| error.to_string())?)
        }
    };
    let claimed = claim.as_ref().map(|claim| claim.range.clone());
    let is_allowed = claimed.clone();
    kill_leftovers(edge_id, move |uid| {
        is_allowed.as_ref().map_or_else(|| may_be_ours(uid, geteuid().as_raw()), |uids| uids.contains(&uid))
    })
    .await;
    // Processes that lost their marker.
    let ranges = left.into_iter().map(|(first, last)| first..=last);
    let ranges: Vec<RangeInclusive<u32>> = claimed.map_or_else(|| ranges.collect(), |claimed| vec![claimed]);
    end_users(&|uid| ranges.iter().any(|uids| uids.contains(&uid)), |_pid| {}).await?;
    Ok(claim)
}

/// Claims a range after an earlier run of the same edge has ended.
///
/// # Errors
/// [`ClaimError`]; [`ClaimError::Busy`] if the earlier run does not end in time.
pub async fn claim_when_free(claimant: &Claimant, wanted: &Wanted) -> Result<Claim, ClaimError> {
    let until = Instant::now() + BUSY_WAIT;
    loop {
        match claims::claim(claimant, wanted) {
            Err(ClaimError::Busy { .. }) if Instant::now() < until => sleep(BUSY_LOOK).await,
            claimed => return claimed,
        }
    }
}
