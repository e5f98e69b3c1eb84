//! What browsers reported about what the pages of an environment load without a hash, of all nodes.

use devanture_config::api::{IntegrityReport, IntegrityReports, LiveIntegrity};
use devanture_config::site_toml::Integrity;
use devanture_config::{AppName, PlaceName};

use super::publisher::Publisher;
use crate::cluster::{EnvironmentQuery, QuerySubject};
use crate::ledger::Error;
use crate::records::{self, LivePointer, VersionRecord};
use crate::telemetry;

impl Publisher {
    /// What is live in an environment, and the last distinct reports about it, the latest first. What was reported
    /// before its app was made is another owner's, and is left out.
    ///
    /// # Errors
    /// `not_found`; those of the catalog.
    pub async fn integrity_reports(&self, app: &AppName, environment: &PlaceName) -> Result<IntegrityReports, Error> {
        let made_ms = self.ledger.app_made_ms(app).await?;
        let subject = QuerySubject::Integrity;
        let query = EnvironmentQuery { app: app.clone(), environment: environment.clone(), subject };
        let (found, missing) = self.query_environment(&query).await?;
        let mut reports: Vec<IntegrityReport> = Vec::new();
        let all = found.into_iter().flat_map(|report| report.integrity);
        for report in all.filter(|report| report.first_ms >= made_ms) {
            telemetry::add_integrity_report(&mut reports, report);
        }
        reports.sort_by(|a, b| b.last_ms.cmp(&a.last_ms).then_with(|| a.blocked.cmp(&b.blocked)));
        let live = self.live_integrity(app, environment).await?;
        Ok(IntegrityReports { app: app.clone(), environment: environment.clone(), live, reports, missing })
    }

    /// The hashes of the live version. A status says where its manifest or its record cannot be read.
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
