//! Browser reports of all nodes about files that pages of an environment load without a hash.

use devanture_config::api::{IntegrityReport, IntegrityReports, LiveIntegrity};
use devanture_config::site_toml::Integrity;
use devanture_config::{AppName, PlaceName};

use super::publisher::Publisher;
use crate::cluster::{EnvironmentQuery, QuerySubject};
use crate::ledger::Error;
use devanture_base::telemetry;
use devanture_store::records::{self, LivePointer, VersionRecord};

impl Publisher {
    /// Returns the live version's hashes and the latest distinct reports, newest first. Reports from before the
    /// creation of the app belong to a previous owner and are omitted.
    ///
    /// # Errors
    /// `not_found`; errors of the catalog.
    pub async fn integrity_reports(&self, app: &AppName, environment: &PlaceName) -> Result<IntegrityReports, Error> {
        let made_ms = self.ledger.app_made_ms(app).await?;
        let subject = QuerySubject::Integrity;
        let query = EnvironmentQuery { app: app.clone(), environment: environment.clone(), subject };
        let (found, missing) = self.query_environment(&query).await?;
        let reports = latest_first(found.into_iter().flat_map(|report| report.integrity), made_ms);
        let live = self.live_integrity(app, environment).await?;
        Ok(IntegrityReports { app: app.clone(), environment: environment.clone(), live, reports, missing })
    }

    /// Returns the hashes of the live version. A status marks an unreadable manifest or record.
    async fn live_integrity(&self, app: &AppName, environment: &PlaceName) -> Result<Option<LiveIntegrity>, Error> {
        let pointer = self.ledger.live_pointer(app, environment).await?.map(|(_, pointer)| pointer);
        let Some(version) = pointer.filter(LivePointer::is_known).map(|pointer| pointer.version) else {
            return Ok(None);
        };
        let key = records::version_key(app, &version);
        let record = self.ledger.catalog.get(&key).await?;
        let record = record.and_then(|record| records::read::<VersionRecord>(&key, &record).ok());
        let manifest = self.ledger.manifest(&*self.blobs, app, version).await;
        let (Some(record), Ok(manifest)) = (record, manifest) else {
            return Ok(None);
        };
        let mode = manifest.serving_for(environment.as_str()).integrity.unwrap_or(Integrity::Off);
        let pages = match mode {
            Integrity::Off => 0,
            Integrity::Report | Integrity::Enforce => record.integrity_in(&manifest, environment.as_str()).pages.len(),
        };
        Ok(Some(LiveIntegrity { version, mode, pages: u64::try_from(pages).unwrap_or(u64::MAX) }))
    }
}

/// Merges the reports of all nodes, newest first, without reports from before `made_ms`.
fn latest_first(all: impl Iterator<Item = IntegrityReport>, made_ms: u64) -> Vec<IntegrityReport> {
    let mut reports: Vec<IntegrityReport> = Vec::new();
    for report in all.filter(|report| report.first_ms >= made_ms) {
        telemetry::add_integrity_report(&mut reports, report);
    }
    reports.sort_by(|a, b| b.last_ms.cmp(&a.last_ms).then_with(|| a.blocked.cmp(&b.blocked)));
    reports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(blocked: &str, first_ms: u64, last_ms: u64) -> IntegrityReport {
        IntegrityReport {
            blocked: blocked.to_owned(),
            destination: "script".to_owned(),
            page: "/".to_owned(),
            enforced: true,
            count: 1,
            first_ms,
            last_ms,
        }
    }

    #[test]
    fn reports_of_all_nodes_are_one_list_with_the_latest_first() {
        let of_one = [report("/c.js", 5, 7), report("/a.js", 5, 6)];
        let of_another = [report("/b.js", 6, 7), report("/a.js", 6, 9)];
        let reports = latest_first(of_one.into_iter().chain(of_another), 0);
        let seen: Vec<_> = reports.iter().map(|one| (one.blocked.as_str(), one.count, one.last_ms)).collect();
        assert_eq!(seen, [("/a.js", 2, 9), ("/b.js", 1, 7), ("/c.js", 1, 7)]);
    }

    #[test]
    fn law_11_reports_from_before_an_app_was_made_are_another_owners() {
        let all = [report("/before.js", 4, 9), report("/at-once.js", 5, 8), report("/later.js", 6, 7)];
        let reports = latest_first(all.into_iter(), 5);
        let seen: Vec<&str> = reports.iter().map(|one| one.blocked.as_str()).collect();
        assert_eq!(seen, ["/at-once.js", "/later.js"]);
    }
}
