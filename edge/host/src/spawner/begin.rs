//! The beginning of a conversation with an edge: which users it may have, and the end of what an earlier run of it
//! left.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::geteuid;
use tokio::time::{Instant, sleep};

use super::claims::{self, Claim, ClaimError, Claimant, Wanted};
use super::leftovers::kill_leftovers;
use super::process_users::may_be_ours;
use super::user::end_users;

/// Longest time until the spawner of an earlier run of the same edge ends.
pub(crate) const BUSY_WAIT: Duration = Duration::from_secs(20);
/// Between two looks at whether it has.
const BUSY_LOOK: Duration = Duration::from_millis(50);

/// The users that instances may be started as.
#[derive(Debug, Clone, Default)]
pub enum HostUsers {
    /// Any that the edge names: it has the same privileges.
    #[default]
    Any,
    /// Where the edge has fewer: those of a range that is claimed for it; of this one, where there is one.
    Claimed(Option<RangeInclusive<u32>>),
}

/// Claims the users of an edge, and ends what an earlier run of it left.
///
/// # Errors
/// A sentence for the edge, where no users can be claimed for it.
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
    // Those that got rid of their marker.
    let ranges = left.into_iter().map(|(first, last)| first..=last);
    let ranges: Vec<RangeInclusive<u32>> = claimed.map_or_else(|| ranges.collect(), |claimed| vec![claimed]);
    end_users(&|uid| ranges.iter().any(|uids| uids.contains(&uid)), |_pid| {}).await?;
    Ok(claim)
}

/// Claims a range, once an earlier run of the same edge has ended.
///
/// # Errors
/// [`ClaimError`]; [`ClaimError::Busy`] where it has not ended in time.
pub async fn claim_when_free(claimant: &Claimant, wanted: &Wanted) -> Result<Claim, ClaimError> {
    let until = Instant::now() + BUSY_WAIT;
    loop {
        match claims::claim(claimant, wanted) {
            Err(ClaimError::Busy { .. }) if Instant::now() < until => sleep(BUSY_LOOK).await,
            claimed => return claimed,
        }
    }
}
