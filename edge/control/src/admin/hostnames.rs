//! Operations on custom hostnames of environments.

use devanture_config::api::{HostnameRequest, HostnameStatus};
use http::StatusCode;

use super::call::{Answer, Call};
use super::state::Admin;
use super::{answer, body};
use crate::hostnames::https_records;

/// Default page size of hostnames.
const PAGE: usize = 1_000;

impl Admin {
    pub(super) async fn hostnames(&self, call: Call) -> Answer {
        let Call { path, request, .. } = call;
        let (app, environment) = path.place()?;
        let page = body::page(request.uri(), "after", PAGE)?;
        let mut list = self.publisher.environments().hostnames.hostnames(&app, &environment, &page).await?;
        list.hostnames.iter_mut().for_each(|status| self.add_certificate(status));
        Ok(answer::json(StatusCode::OK, &list))
    }

    pub(super) async fn add_hostname(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let host = path.host()?;
        let dry_run = body::dry_run(request.uri())?;
        let wanted: HostnameRequest = self.json_or_default(request).await?;
        let mut set = self
            .publisher
            .environments()
            .hostnames
            .set_hostname(&actor, &app, &environment, &host, &wanted, dry_run)
            .await?;
        self.add_certificate(&mut set.hostname);
        Ok(answer::json(StatusCode::OK, &set))
    }

    fn add_certificate(&self, status: &mut HostnameStatus) {
        status.certificate = (self.node.certificate_of)(&status.name);
        if let (Some(_), Some(ports)) = (status.certificate, self.health.http3()) {
            status.https_records = https_records(&status.name, ports);
        }
    }

    pub(super) async fn remove_hostname(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, environment) = path.place()?;
        let host = path.host()?;
        let dry_run = body::dry_run(request.uri())?;
        let removed =
            self.publisher.environments().hostnames.remove_hostname(&actor, &app, &environment, &host, dry_run).await?;
        Ok(answer::json(StatusCode::OK, &removed))
    }
}
