//! What browsers reported about what the pages of an environment load without a hash, of all nodes.

use devanture_config::api::{IntegrityReport, IntegrityReports};
use devanture_config::{AppName, PlaceName};

use super::publisher::Publisher;
use crate::cluster::{EnvironmentQuery, QuerySubject};
use crate::ledger::Error;
use crate::telemetry;

impl Publisher {
    /// The last distinct reports of an environment, the latest first. What was reported before its app was made is
    /// another owner's, and is left out.
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
        Ok(IntegrityReports { app: app.clone(), environment: environment.clone(), reports, missing })
    }
}
