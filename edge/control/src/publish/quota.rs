//! Per-app limits on pushes, and their current use.

use std::collections::HashMap;

use devanture_config::api::{AppUsage, LimitUsage};
use devanture_config::limits::{PER_APP, zero_is_no_limit};
use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;
use devanture_config::{AppName, Digest};

use super::publisher::Publisher;
use super::push_rate::Reached;
use crate::ledger::Error;

impl Publisher {
    /// Checks that an app may begin another push.
    ///
    /// # Errors
    /// `too_many_pushes`.
    pub(super) fn check_pushes(&self, app: &AppName) -> Result<(), Error> {
        let max = self.pushes_per_hour_max(app);
        self.uploads.push_rate.check(app, max).map_err(|reached| too_many_pushes(app, max, &reached).into())
    }

    /// Counts a new push.
    ///
    /// # Errors
    /// As [`Publisher::check_pushes`].
    pub(super) fn count_push(&self, app: &AppName) -> Result<(), Error> {
        let max = self.pushes_per_hour_max(app);
        self.uploads.push_rate.count(app, max).map_err(|reached| too_many_pushes(app, max, &reached).into())
    }

    fn pushes_per_hour_max(&self, app: &AppName) -> u64 {
        self.ledger.limits().for_app(app).pushes_per_hour_per_app_max
    }

    /// Checks the app's space for a push, besides its other running pushes.
    ///
    /// # Errors
    /// `storage_full`.
    pub(super) async fn check_stored_bytes(&self, app: &AppName, missing: &HashMap<Digest, u64>) -> Result<(), Error> {
        let max = self.ledger.limits().for_app(app).stored_bytes_per_app_max;
        // A push without new bytes always fits, even after the limit was lowered.
        if max == 0 || missing.is_empty() {
            return Ok(());
        }
        let mut coming = self.uploads.pushes.coming(app);
        let others = coming.iter().filter(|(digest, _)| !missing.contains_key(digest));
        let others: HashMap<Digest, u64> = others.map(|(digest, bytes)| (*digest, *bytes)).collect();
        coming.extend(missing);
        let wanted = self.uploads.owned.bytes_with(app, &coming).await?;
        if wanted <= max {
            return Ok(());
        }
        let used = self.uploads.owned.bytes_with(app, &others).await?;
        let more = counted(wanted.saturating_sub(used), "byte");
        let detail = format!(
            "The app {app} stores {}, and this push brings {more} more; {max} are allowed.",
            counted(used, "byte")
        );
        Err(Problem::new(Code::StorageFull, detail)
            .hint("delete old versions with `devanture delete version ID --purge`, or push fewer bytes")
            .limit("stored_bytes_per_app_max", max, used)
            .into())
    }

    /// Returns the use of every limit that can be set per app.
    ///
    /// # Errors
    /// `not_found` for an unknown app.
    pub async fn usage(&self, app: &AppName) -> Result<AppUsage, Error> {
        self.ledger.must_exist(app).await?;
        let of_all = self.ledger.limits();
        let limits = of_all.for_app(app);
        let counts = self.environments.places.counts(app).await?;
        let stored_bytes = self.uploads.owned.bytes_with(app, &self.uploads.pushes.coming(app)).await?;
        let traffic = self.switcher.loader.traffic(app);
        let used = |name: &str| match name {
            "stored_bytes_per_app_max" => Some(stored_bytes),
            "versions_max" => Some(counts.versions),
            "bundle_files_max" => Some(counts.version_files_most),
            "aliases_max" => Some(counts.aliases),
            "environments_max" => Some(counts.environments),
            "hostnames_per_app_max" => Some(counts.hostnames),
            "pushes_per_hour_per_app_max" => Some(self.uploads.push_rate.begun(app)),
            "requests_per_app_max" => traffic.requests,
            "sent_bytes_per_second_per_app_max" => traffic.bytes_per_second,
            _ => None,
        };
        let usage = |name: &&str| {
            let max = limits.value(name)?;
            let has_limit = max > 0 || !zero_is_no_limit(name);
            Some(LimitUsage {
                name: (*name).to_owned(),
                used: used(name),
                max: has_limit.then_some(max),
                own: of_all.value(name) != Some(max),
            })
        };
        Ok(AppUsage { app: app.clone(), limits: PER_APP.iter().filter_map(usage).collect() })
    }
}

fn too_many_pushes(app: &AppName, max: u64, reached: &Reached) -> Problem {
    let Reached { begun, wait_s } = *reached;
    let detail = format!("The app {app} has begun {} within an hour; {max} are allowed.", counted(begun, "push"));
    Problem::new(Code::TooManyPushes, detail)
        .hint(format!("try again in {}", counted(wait_s.div_ceil(60).min(60), "minute")))
        .limit("pushes_per_hour_per_app_max", max, begun)
        .retry_after(wait_s)
}
