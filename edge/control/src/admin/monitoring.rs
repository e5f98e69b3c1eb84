//! Operations for monitoring: health, metrics, API description.

use std::net::IpAddr;

use http::{Request, Response, StatusCode};

use super::body::RequestBody;
use super::call::{Answer, Call};
use super::state::Admin;
use super::{Body, answer};
use devanture_base::telemetry::{self, Gauges};
use devanture_serve::live::{DamagedPlace, MistakenPlace};
use devanture_store::catalog;

/// API description, served verbatim.
const OPENAPI: &str = include_str!("openapi.yaml");

/// Most environments with a damaged version listed by readiness.
const DAMAGED_PLACES_MAX: usize = 100;

/// Readiness line of a damaged catalog page.
pub const CATALOG_DAMAGED_LINE: &str =
    "damaged: a page of the catalog is damaged: what is live is served, and a start may fail\n";

/// Prefix of the readiness line of an unwritable disk.
pub const UNWRITABLE_LINE: &str = "unwritable: ";
/// Readiness line of the UDP port of HTTP/3.
const HTTP3_LINE: &str =
    "http3: its UDP port cannot be listened on: it is tried every few seconds, and HTTP/3 is served once it is free\n";
/// Prefix of the readiness line of lost secrets.
pub const SECRETS_LINE: &str = "secrets: ";

/// Prefix of the readiness line of a stopped backend.
pub const BACKEND_LINE: &str = "backend: ";
/// Prefix of the readiness line of a live version with content refused by current checks.
pub const MISTAKE_LINE: &str = "mistake: ";
/// Prefix of the readiness line of an instance listening on all addresses of the machine.
pub const OPEN_LINE: &str = "open: ";
/// Prefix of the readiness line of a live version or a webhook whose permission for private addresses has ended.
pub const REACH_LINE: &str = "reach: ";

/// Returns the readiness line of a damaged version.
fn damage_line(damaged: &DamagedPlace) -> String {
    let DamagedPlace { app, environment, version, files, error, in_memory } = damaged;
    let what = match (error, files.first()) {
        (Some(_), _) if *in_memory => "is served from memory, and cannot be loaded again".to_owned(),
        (None, _) if *in_memory => {
            format!("serves {} of its files from memory alone: damaged or missing on the disk", files.len())
        }
        (Some(_), Some(rules)) => format!("cannot be loaded: its rule file {rules} is damaged or missing"),
        (Some(_), None) => "cannot be loaded".to_owned(),
        (None, _) => format!("lacks {} of its files, which are damaged or missing", files.len()),
    };
    match version {
        Some(version) => format!("damaged: version {} of {app} in {environment} {what}\n", version.short()),
        None => format!("damaged: what is live of {app} in {environment} {what}\n"),
    }
}

/// Returns the readiness line of a version refused by current checks.
fn mistake_line(mistaken: &MistakenPlace) -> String {
    let MistakenPlace { app, environment, version, mistake } = mistaken;
    format!("{MISTAKE_LINE}version {} of {app} in {environment}: {mistake}\n", version.short())
}

impl Admin {
    pub(super) async fn live(&self, _: Request<RequestBody>, _: Option<IpAddr>) -> Answer {
        Ok(answer::text(StatusCode::OK, "live\n"))
    }

    pub(super) async fn ready(&self, _: Request<RequestBody>, _: Option<IpAddr>) -> Answer {
        Ok(self.readiness())
    }

    pub(super) async fn description(&self, _: Request<RequestBody>, _: Option<IpAddr>) -> Answer {
        Ok(answer::typed(StatusCode::OK, "application/yaml", OPENAPI.into()))
    }

    /// Returns the metrics of the whole edge.
    pub(super) async fn all_metrics(&self, _: Call) -> Answer {
        let mut gauges = Gauges::default();
        self.publisher.add_metrics(&mut gauges);
        telemetry::process_figures(&mut gauges);
        gauges.add("devanture_disk_unwritable", &[], f64::from(u8::from(self.unwritable().is_some())));
        gauges.add("devanture_http3_missing", &[], f64::from(u8::from(self.health.lacks_http3())));
        for source in &self.node.gauges {
            source(&mut gauges);
        }
        let text = self.metrics.render() + &gauges.render();
        Ok(answer::typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text.into()))
    }

    pub(super) async fn nodes(&self, _: Call) -> Answer {
        Ok(answer::json(StatusCode::OK, &self.publisher.nodes().await?))
    }

    /// Returns the reason for an unwritable disk; `None` for a writable disk.
    fn unwritable(&self) -> Option<String> {
        let state = self.publisher.ledger().catalog.state();
        let of_catalog = || state.is_unwritable.then(|| "the catalog cannot be written".to_owned());
        self.health.unwritable().or_else(of_catalog)
    }

    fn readiness(&self) -> Response<Body> {
        if !self.health.is_ready() {
            return answer::text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n");
        }
        // Lack of disk space does not end readiness: another edge could serve no more than the present edge.
        let mut text = match self.health.is_short_of_disk() {
            true => "ready, but the disk is almost full: new files are refused\n".to_owned(),
            false => "ready\n".to_owned(),
        };
        if let Some(why) = self.unwritable() {
            text.push_str(&format!("{UNWRITABLE_LINE}{why}: what is live is served, and nothing can be changed\n"));
        }
        if self.health.lacks_http3() {
            text.push_str(HTTP3_LINE);
        }
        if let Err(fault @ catalog::Error::Replaced { .. }) = self.publisher.ledger().catalog.check_in_place() {
            text.push_str(&format!("damaged: {fault}: what is live is served, and nothing can be changed\n"));
        }
        if self.publisher.ledger().catalog.state().is_damaged {
            text.push_str(CATALOG_DAMAGED_LINE);
        }
        let progress = self.publisher.ledger().live.progress();
        if progress.waiting > 0 {
            text.push_str(&format!("loading: {} of {} live versions\n", progress.waiting, progress.environments));
        }
        text.extend(self.publisher.damaged().iter().take(DAMAGED_PLACES_MAX).map(damage_line));
        let mistaken = self.publisher.ledger().live.mistaken();
        text.extend(mistaken.iter().take(DAMAGED_PLACES_MAX).map(mistake_line));
        let lost = self.publisher.environments().settings.lost_secrets();
        text.extend(lost.iter().take(DAMAGED_PLACES_MAX).map(|lost| format!("{SECRETS_LINE}{}\n", lost.sentence())));
        let idle = self.publisher.environments().instances.idle_backends();
        text.extend(idle.iter().take(DAMAGED_PLACES_MAX).map(|idle| format!("{BACKEND_LINE}{}\n", idle.sentence())));
        let kept = self.publisher.environments().upstreams.all_kept_addresses();
        text.extend(kept.iter().take(DAMAGED_PLACES_MAX).map(|kept| format!("{REACH_LINE}{}\n", kept.sentence())));
        let kept = self.publisher.webhooks().kept_reach();
        text.extend(kept.iter().take(DAMAGED_PLACES_MAX).map(|kept| format!("{REACH_LINE}{}\n", kept.sentence())));
        let open = self.publisher.environments().instances.all_open_ports();
        text.extend(open.iter().take(DAMAGED_PLACES_MAX).map(|open| format!("{OPEN_LINE}{}\n", open.sentence())));
        answer::typed(StatusCode::OK, "text/plain; charset=utf-8", text.into())
    }
}
