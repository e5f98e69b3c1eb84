//! Operations on signatures: signatures of versions, signers required by an environment, live log.

use devanture_config::api::SignRequest;
use http::StatusCode;

use super::call::{Answer, Call};
use super::state::Admin;
use super::{answer, body};

/// Default page size of a live log.
const ENTRIES_DEFAULT: usize = 100;

impl Admin {
    pub(super) async fn signers(&self, call: Call) -> Answer {
        let (app, environment) = call.path.place()?;
        Ok(answer::json(StatusCode::OK, &self.publisher.environments().signing.signers(&app, &environment).await?))
    }

    pub(super) async fn set_signers(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let dry_run = body::dry_run(request.uri())?;
        let wanted = self.json(request).await?;
        let environments = self.publisher.environments();
        let report = environments.signing.set_signers(&actor, (&app, &environment), &wanted, dry_run).await?;
        Ok(answer::json(StatusCode::OK, &report))
    }

    pub(super) async fn signatures(&self, call: Call) -> Answer {
        let app = call.path.app()?;
        let version = self.publisher.ledger().resolve_version(&app, call.path.id()).await?;
        Ok(answer::json(StatusCode::OK, &self.publisher.environments().signing.signatures(&app, &version).await?))
    }

    pub(super) async fn sign(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let app = path.app()?;
        let id = path.id().to_owned();
        let SignRequest { signature } = self.json(request).await?;
        let version = self.publisher.ledger().resolve_version(&app, &id).await?;
        let environments = self.publisher.environments();
        environments.signing.add_signatures(&actor, &app, &version, &[signature]).await?;
        Ok(answer::json(StatusCode::OK, &environments.signing.signatures(&app, &version).await?))
    }

    /// Returns the manifest byte for byte: its BLAKE3 hash is the version id.
    pub(super) async fn stored_manifest(&self, call: Call) -> Answer {
        let app = call.path.app()?;
        let version = self.publisher.ledger().resolve_version(&app, call.path.id()).await?;
        let (file, length) = self.publisher.open_manifest(&app, &version).await?;
        Ok(answer::stored("application/json", file, length))
    }

    pub(super) async fn live_log(&self, call: Call) -> Answer {
        let (app, environment) = call.path.place()?;
        let page = body::page(call.uri(), "after", ENTRIES_DEFAULT)?;
        Ok(answer::json(StatusCode::OK, &self.publisher.ledger().live_log(&app, &environment, &page).await?))
    }
}
