//! Requests for tests of signatures, with keys generated at runtime.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use devanture_config::VersionId;
use devanture_config::api::{
    BeginDeploy, DeployOptions, DeployReport, LiveLog, SignersReport, Status, VersionSignatures,
};
use devanture_config::problem::Problem;
use devanture_config::signing::{PrivateKey, SignatureText, version_message};
use http::Method;
use serde_json::{Value, json};

use crate::support::{Files, Got, RunningEdge, got, manifest};

pub(crate) const APP: &str = "shop";
pub(crate) const ONE: Files<'static> = &[("index.html", b"one")];
pub(crate) const TWO: Files<'static> = &[("index.html", b"two")];
pub(crate) const THREE: Files<'static> = &[("index.html", b"three")];

fn put(into: &mut Vec<u8>, field: &[u8]) {
    into.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
    into.extend(field);
}

/// Key in the file format of `ssh-keygen`.
pub(crate) fn key(name: &str) -> PrivateKey {
    let seed: [u8; 32] = rand::random();
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let public = pair.public_key().as_ref();
    let mut outer = Vec::new();
    put(&mut outer, b"ssh-ed25519");
    put(&mut outer, public);
    let mut private = [[0; 4], [0; 4]].concat();
    for field in [&b"ssh-ed25519"[..], public, &[&seed[..], public].concat(), name.as_bytes()] {
        put(&mut private, field);
    }
    let mut blob = b"openssh-key-v1\0".to_vec();
    for field in [&b"none"[..], b"none", b""] {
        put(&mut blob, field);
    }
    blob.extend(1_u32.to_be_bytes());
    put(&mut blob, &outer);
    put(&mut blob, &private);
    let kind = "OPENSSH PRIVATE KEY";
    let text = format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", STANDARD.encode(blob));
    PrivateKey::parse(&text).unwrap()
}

/// Signature of a version of the app.
pub(crate) fn signature(key: &PrivateKey, version: VersionId) -> SignatureText {
    SignatureText(key.sign(&version_message(&APP.parse().unwrap(), &version)))
}

/// Pushes to `prod`, signed by the given keys.
pub(crate) async fn push(
    edge: &RunningEdge,
    files: Files<'_>,
    keys: &[&PrivateKey],
) -> Result<DeployReport, Box<Problem>> {
    push_to(edge, "prod", files, keys, DeployOptions::default()).await
}

pub(crate) async fn push_to(
    edge: &RunningEdge,
    environment: &str,
    files: Files<'_>,
    keys: &[&PrivateKey],
    options: DeployOptions,
) -> Result<DeployReport, Box<Problem>> {
    let manifest = manifest(files);
    let signatures = keys.iter().map(|key| signature(key, manifest.id())).collect();
    let options = DeployOptions { signatures, ..options };
    let begin = BeginDeploy { manifest, source: Default::default(), options };
    edge.try_push(APP, environment, begin, files).await
}

/// Requires signatures in `prod`.
pub(crate) async fn want(edge: &RunningEdge, keys: &[&PrivateKey], min: u64) -> SignersReport {
    want_in(edge, "prod", keys, min).await
}

pub(crate) async fn want_in(edge: &RunningEdge, environment: &str, keys: &[&PrivateKey], min: u64) -> SignersReport {
    let signers: Vec<String> = keys.iter().map(|key| key.public().to_string()).collect();
    let path = format!("/v1/apps/{APP}/environments/{environment}/signers");
    let wanted = json!({ "signers": signers, "signatures_min": min });
    got(edge.api(Method::PUT, &path).json(&wanted)).await.json()
}

/// Permits unsigned versions in `prod` again.
pub(crate) async fn want_none(edge: &RunningEdge) {
    let path = format!("/v1/apps/{APP}/environments/prod/signers");
    let report: SignersReport = got(edge.api(Method::PUT, &path).json(&json!({}))).await.json();
    assert!(report.signers.signers.is_empty());
}

/// Adds a signature to a stored version.
pub(crate) async fn sign(edge: &RunningEdge, version: VersionId, signature: &SignatureText) -> Got {
    let path = format!("/v1/apps/{APP}/versions/{version}/signatures");
    got(edge.api(Method::POST, &path).json(&json!({ "signature": signature }))).await
}

pub(crate) async fn signatures(edge: &RunningEdge, version: VersionId) -> VersionSignatures {
    got(edge.api(Method::GET, &format!("/v1/apps/{APP}/versions/{version}/signatures"))).await.json()
}

/// Requests a switch, a rollback or a promotion in `prod`.
pub(crate) async fn post(edge: &RunningEdge, operation: &str, body: Value) -> Got {
    got(edge.api(Method::POST, &format!("/v1/apps/{APP}/environments/prod/{operation}")).json(&body)).await
}

pub(crate) async fn status(edge: &RunningEdge) -> Status {
    got(edge.api(Method::GET, &format!("/v1/apps/{APP}/environments/prod"))).await.json()
}

pub(crate) async fn served(edge: &RunningEdge) -> String {
    edge.get("shop.localhost", "/").await.text()
}

pub(crate) async fn live_log(edge: &RunningEdge, query: &str) -> LiveLog {
    got(edge.api(Method::GET, &format!("/v1/apps/{APP}/environments/prod/live-log{query}"))).await.json()
}
