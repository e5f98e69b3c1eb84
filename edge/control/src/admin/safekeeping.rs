//! Operations on stored files: verification, repair, backups.

use devanture_config::api::{BackupRequest, RepairRequest, Scope};
use devanture_config::problem::{Code, Problem};
use http::StatusCode;

use super::call::{Answer, Call, parsed};
use super::state::Admin;
use super::{answer, body};
use crate::ledger::{Actor, Credential, Error, Task, task_done};
use crate::safekeeping::{self, BackupSource, Location, VerifyOptions};

/// Lowest rate of a check, in bytes per second, whatever `scrub_bytes_per_second_max`: a slower check would not end.
const BYTES_PER_SECOND_MIN: usize = 65_536;

impl Admin {
    pub(super) async fn verify(&self, call: Call) -> Answer {
        let Call { request, .. } = call;
        let app = body::parameter(request.uri(), "app").map(|app| parsed(&app)).transpose()?;
        let default = usize::try_from(self.rate()).unwrap_or(usize::MAX);
        let rate = body::number(request.uri(), "bytes_per_second_max", default)?;
        if rate < BYTES_PER_SECOND_MIN {
            let detail = format!("`bytes_per_second_max` is at least {BYTES_PER_SECOND_MIN}, not {rate}.");
            return Err(Problem::new(Code::BadRequest, detail).into());
        }
        let read_bucket = body::flag(request.uri(), "read_bucket")?;
        let options = VerifyOptions { app, bytes_per_second_max: u64::try_from(rate).unwrap_or(u64::MAX), read_bucket };
        let ledger = self.publisher.ledger();
        let report = safekeeping::verify(&*ledger.catalog, &**self.publisher.blobs(), &options).await?;
        if report.derived > 0 {
            self.publisher.make_derived_again(options.app.as_ref());
        }
        // After the response, readiness and `status` show the same result.
        ledger.live.look_and_wait().await;
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn repair(&self, call: Call) -> Answer {
        let Call { actor, request, .. } = call;
        let wanted: RepairRequest = self.json_or_default(request).await?;
        if wanted.from.is_some() {
            must_be_local(&actor)?;
        }
        let options = VerifyOptions {
            app: wanted.app.clone(),
            bytes_per_second_max: self.rate(),
            read_bucket: wanted.read_bucket,
        };
        let ledger = self.publisher.ledger();
        let from = wanted.from.as_deref().map(Location::of);
        let from = from.as_ref().map(|from| (from, &wanted.variables));
        let report = safekeeping::repair(&*ledger.catalog, &**self.publisher.blobs(), &options, from).await?;
        self.publisher.make_derived_again(wanted.app.as_ref());
        ledger.live.look_and_wait().await;
        tracing::info!(
            who = actor.name,
            repaired = report.repaired,
            damaged = report.damaged.len(),
            derived = report.derived,
            "a repair was asked for"
        );
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn back_up(&self, call: Call) -> Answer {
        let Call { actor, request, .. } = call;
        actor.may_in_every_app(Scope::Admin)?;
        let wanted: BackupRequest = self.json(request).await?;
        must_be_local(&actor)?;
        // Keeps all files until the backup reads their references.
        let _no_collection = self.publisher.retention().pause_everywhere().await?;
        let catalog = &*self.publisher.ledger().catalog;
        let source = BackupSource {
            catalog,
            blobs: &**self.publisher.blobs(),
            data_dir: &self.node.data_dir,
            key_file: self.node.key_file.as_deref(),
        };
        let report = safekeeping::back_up(&source, &wanted).await?;
        if !report.catalog.is_damaged() {
            task_done(catalog, Task::Backup).await;
        }
        Ok(answer::json(StatusCode::OK, &report))
    }

    /// Bytes read per second by a check.
    fn rate(&self) -> u64 {
        self.publisher.limits().scrub_bytes_per_second_max
    }
}

/// Checks that the actor has access to the edge's folders anyway.
pub(super) fn must_be_local(actor: &Actor) -> Result<(), Error> {
    actor.may_in_every_app(Scope::Admin)?;
    match actor.credential {
        Credential::Local => Ok(()),
        Credential::Login(_) | Credential::Session(..) | Credential::Token(_) => {
            let detail = "This is for the socket in the data folder alone.";
            Err(Problem::new(Code::Forbidden, detail).hint("use `devanture-edge` on the machine of the edge").into())
        }
    }
}
