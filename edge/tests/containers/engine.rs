//! Edge with podman and a registry, with helpers for images and pushes.

use devanture_config::Manifest;
use devanture_config::api::{BeginDeploy, DeployBegun, DeployReport};
use devanture_config::problem::Problem;
use http::{Method, StatusCode};
use serde_json::Value;

use super::image::{Archive, Image};
pub(crate) use crate::support::podman::{Engine, is_installed};
use crate::support::{RunningEdge, Setup, edge, got};

/// Drain timeout in milliseconds of an edge with containers: podman is slow on a busy machine.
const DRAIN_MS: u64 = 120_000;

impl Engine {
    /// Edge that runs images of the registry below `team`.
    pub(crate) fn edge(&self, more: &str) -> Setup {
        edge().with_runner().with_drain_timeout_ms(DRAIN_MS).with_toml(&self.table(more))
    }

    /// Uploads an image to the registry, with a tag below `team`.
    pub(crate) async fn put(&self, name: &str, tag: &str, image: &Image) {
        image.put(&format!("http://{}/v2/team/{name}", self.address), tag).await;
    }
}

/// Bundle with a page and a backend; `server` is the backend's table.
pub(crate) fn bundle(server: &Value, archive: Option<&Archive>) -> Manifest {
    let mut manifest = crate::support::manifest(&[("index.html", b"page")]);
    manifest.base.server = Some(serde_json::from_value(server.clone()).unwrap());
    manifest.server = archive.map(Archive::folder);
    manifest
}

/// Pushes a bundle as the command line does.
pub(crate) async fn push(
    edge: &RunningEdge,
    environment: &str,
    manifest: Manifest,
    archive: Option<&Archive>,
) -> Result<(DeployReport, DeployBegun), Box<Problem>> {
    let token = edge.admin_token();
    let path = format!("/v1/apps/shop/environments/{environment}/deploys");
    let begin = BeginDeploy { manifest, source: Default::default(), options: Default::default() };
    let begun: DeployBegun = got(edge.ask(Method::POST, &path, token).json(&begin)).await.into_result()?;
    for digest in &begun.missing {
        let path = format!("/v1/apps/shop/blobs/{digest}?deploy={}", begun.deploy);
        let bytes = archive
            .filter(|archive| archive.digest() == *digest)
            .map_or_else(|| b"page".to_vec(), |one| one.bytes.clone());
        let got = got(edge.ask(Method::PUT, &path, token).body(bytes)).await;
        assert_eq!(got.status, StatusCode::NO_CONTENT, "{}", got.text());
    }
    let path = format!("/v1/apps/shop/deploys/{}/finish", begun.deploy);
    let report = got(edge.ask(Method::POST, &path, token)).await.into_result()?;
    Ok((report, begun))
}
