//! Attacks by strangers and token thieves: foreign, modified and removed signatures, and floods of signatures.

use devanture_config::api::{BeginDeploy, DeployOptions, Scope};
use devanture_config::problem::Code;
use devanture_config::signing::{SignatureText, version_message};
use http::{Method, StatusCode};
use serde_json::json;

use super::world::{APP, ONE, THREE, TWO, key, post, push, push_to, served, sign, signature, signatures, want};
use crate::support::{edge, got, manifest};

#[tokio::test]
async fn a_signature_of_another_app_or_version_is_refused() {
    let edge = edge().with_app(APP, ONE).with_app("blog", TWO).start().await;
    let ada = key("ada");
    want(&edge, &[&ada], 1).await;
    let two = manifest(TWO).id();
    // Signature of the same content in another app.
    let of_blog = SignatureText(ada.sign(&version_message(&"blog".parse().unwrap(), &two)));
    let of_one = signature(&ada, manifest(ONE).id());
    for wrong in [of_blog, of_one] {
        let options = DeployOptions { signatures: vec![wrong.clone()], ..DeployOptions::default() };
        let begin = BeginDeploy { manifest: manifest(TWO), source: Default::default(), options };
        let problem = edge.try_push(APP, "prod", begin, TWO).await.unwrap_err();
        assert_eq!(problem.code, Code::BadSignature, "{problem:?}");
        push_to(&edge, "staging", TWO, &[], DeployOptions::default()).await.unwrap();
        assert_eq!(sign(&edge, two, &wrong).await.code(), Code::BadSignature);
    }
    assert!(signatures(&edge, two).await.signatures.is_empty());
    assert_eq!(post(&edge, "switch", json!({ "version": two })).await.code(), Code::NotSigned);
    assert_eq!(served(&edge).await, "one");
    edge.stop().await;
}

#[tokio::test]
async fn a_stripped_signature_is_a_missing_one() {
    let edge = edge().with_app(APP, ONE).start().await;
    let ada = key("ada");
    let two = push(&edge, TWO, &[&ada]).await.unwrap().version;
    let three = push(&edge, THREE, &[&ada]).await.unwrap().version;
    want(&edge, &[&ada], 1).await;
    assert_eq!(post(&edge, "rollback", json!({})).await.status, StatusCode::OK);
    // Deleted, and pushed again without the signature, as any pusher could do.
    let path = format!("/v1/apps/{APP}/versions/{three}");
    assert_eq!(got(edge.api(Method::DELETE, &path)).await.status, StatusCode::OK);
    assert_eq!(push(&edge, THREE, &[]).await.unwrap_err().code, Code::NotSigned);
    // A restored version must be signed again.
    assert_eq!(got(edge.api(Method::DELETE, &path)).await.status, StatusCode::OK);
    let undelete =
        got(edge.api(Method::POST, &format!("/v1/apps/{APP}/undelete")).json(&json!({ "version": three }))).await;
    assert_eq!(undelete.status, StatusCode::OK, "{}", undelete.text());
    assert_eq!(post(&edge, "switch", json!({ "version": three })).await.code(), Code::NotSigned);
    assert_eq!(edge.live(APP).await, Some(two));
    edge.stop().await;
}

#[tokio::test]
async fn signatures_of_strangers_do_not_keep_a_signer_out() {
    let edge = edge().with_app(APP, ONE).with_limit("signatures_per_version_max", 3).start().await;
    let (ada, bob) = (key("ada"), key("bob"));
    want(&edge, &[&ada, &bob], 2).await;
    let two = push(&edge, TWO, &[&ada]).await.unwrap_err();
    assert_eq!(two.code, Code::NotSigned);
    let two = manifest(TWO).id();
    let token = edge.token_for(Scope::Push, Some(APP), None).await;
    let path = format!("/v1/apps/{APP}/versions/{two}/signatures");
    for number in 0..5 {
        let stranger = key(&format!("stranger {number}"));
        let body = json!({ "signature": signature(&stranger, two) });
        assert_eq!(got(edge.ask(Method::POST, &path, &token).json(&body)).await.status, StatusCode::OK);
    }
    assert_eq!(signatures(&edge, two).await.signatures.len(), 3);
    assert_eq!(sign(&edge, two, &signature(&bob, two)).await.status, StatusCode::OK);
    assert_eq!(post(&edge, "switch", json!({ "version": two })).await.status, StatusCode::OK);
    // Signatures above the limit are refused.
    let strangers: Vec<_> = (0..4).map(|_| key("x")).collect();
    let many: Vec<_> = strangers.iter().collect();
    assert_eq!(push(&edge, THREE, &many).await.unwrap_err().code, Code::TooMany);
    edge.stop().await;
}

#[tokio::test]
async fn what_is_no_signature_is_refused_in_one_piece() {
    let edge = edge().with_app(APP, ONE).start().await;
    let one = edge.live(APP).await.unwrap();
    let text = signature(&key("ada"), one).0.to_string();
    let path = format!("/v1/apps/{APP}/versions/{one}/signatures");
    let cut = text[..text.len() / 2].to_owned();
    let long = format!("{text}{}", " ".repeat(10_000));
    for wrong in ["", "x", cut.as_str(), long.as_str()] {
        let answer = got(edge.api(Method::POST, &path).json(&json!({ "signature": wrong }))).await;
        assert_eq!(answer.code(), Code::BadRequest, "{wrong}");
    }
    assert!(signatures(&edge, one).await.signatures.is_empty());
    edge.stop().await;
}

#[tokio::test]
async fn signatures_that_strangers_add_all_the_time_delay_no_switch() {
    let edge = edge().with_app(APP, ONE).start().await;
    let ada = key("ada");
    let two = push(&edge, TWO, &[&ada]).await.unwrap().version;
    let three = push(&edge, THREE, &[&ada]).await.unwrap().version;
    want(&edge, &[&ada], 1).await;
    let flood = async |version| {
        for number in 0..40 {
            // Of concurrent signatures, some are refused.
            sign(&edge, version, &signature(&key(&format!("stranger-{number}")), version)).await;
        }
    };
    let switches = async {
        for version in [two, three].into_iter().cycle().take(20) {
            let switched = post(&edge, "switch", json!({ "version": version })).await;
            assert_eq!(switched.status, StatusCode::OK, "{}", switched.text());
        }
    };
    tokio::join!(flood(two), flood(two), flood(two), flood(three), flood(three), flood(three), switches);
    edge.stop().await;
}

/// Checked before any upload.
#[tokio::test]
async fn a_dry_run_of_a_push_refuses_the_signatures_that_the_push_would_be_refused_for() {
    let edge = edge().with_app(APP, ONE).with_limit("signatures_per_version_max", 2).start().await;
    let (ada, bob, eve) = (key("ada"), key("bob"), key("eve"));
    let two = manifest(TWO).id();
    let right = |key| signature(key, two);
    let of_one = signature(&ada, manifest(ONE).id());
    for (signatures, expected) in [
        (vec![right(&ada), right(&bob)], None),
        (vec![right(&ada), of_one], Some(Code::BadSignature)),
        (vec![right(&ada), right(&bob), right(&eve)], Some(Code::TooMany)),
    ] {
        let options = DeployOptions { signatures, ..DeployOptions::default() };
        let begin = BeginDeploy { manifest: manifest(TWO), source: Default::default(), options };
        for query in ["?dry_run=true", ""] {
            let path = format!("/v1/apps/{APP}/environments/prod/deploys{query}");
            let answer = got(edge.api(Method::POST, &path).json(&begin)).await;
            let refused = (!answer.status.is_success()).then(|| answer.code());
            assert_eq!(refused, expected, "{query}: {}", answer.text());
        }
    }
    edge.stop().await;
}
