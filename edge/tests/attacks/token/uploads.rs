//! Pushes by a token: the tokens allowed to upload and finish, and the rights of a token revoked meanwhile.

use devanture_config::api::{BeginDeploy, DeployBegun, DeployOptions, Scope, Status, TokenList, TokenMade};
use devanture_config::problem::Code;
use devanture_config::{Digest, blob_batch};
use futures_util::stream;
use http::{Method, StatusCode};
use serde_json::json;

use crate::support::archives::stored_zip;
use crate::support::{Files, Got, RunningEdge, edge, eventually, got, manifest};

async fn made(edge: &RunningEdge, scope: Scope, app: Option<&str>) -> TokenMade {
    let wanted = json!({ "name": "wide", "app": app, "scope": scope });
    got(edge.api(Method::POST, "/v1/tokens").json(&wanted)).await.json()
}

async fn revoke(edge: &RunningEdge, token: &TokenMade) {
    let revoked = got(edge.api(Method::DELETE, &format!("/v1/tokens/{}", token.id))).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
}

/// Error code of a push request: an upload or the finish.
async fn code(edge: &RunningEdge, method: Method, path: &str, token: &str, body: &[u8]) -> Code {
    got(edge.ask(method, path, token).body(body.to_vec())).await.code()
}

#[tokio::test]
async fn a_push_goes_on_by_the_token_alone_that_began_it() {
    let edge = edge().with_app("shop", &[("index.html", b"hi")]).start().await;
    let wide = made(&edge, Scope::Admin, None).await;
    let narrow = edge.token_for(Scope::Push, Some("shop"), Some("staging")).await;
    // Forbidden for the narrow token: a route to a private address.
    let file: &[u8] = b"of the wide token";
    let mut manifest = manifest(&[("index.html", file)]);
    let to = "http://127.0.0.1:9".parse().unwrap();
    manifest.base.routes = Some(vec![devanture_config::site_toml::Route::new("/api/*".parse().unwrap(), to)]);
    let begin = BeginDeploy { manifest, source: Default::default(), options: Default::default() };
    let path = "/v1/apps/shop/environments/staging/deploys";
    let refused = got(edge.ask(Method::POST, path, &narrow).json(&begin)).await;
    assert_eq!(refused.code(), Code::UpstreamForbidden);
    let begun: DeployBegun = got(edge.ask(Method::POST, path, &wide.token).json(&begin)).await.json();
    let blob = format!("/v1/apps/shop/blobs/{}?deploy={}", Digest::of(file), begun.deploy);
    let finish = format!("/v1/apps/shop/deploys/{}/finish", begun.deploy);
    assert_eq!(code(&edge, Method::PUT, &blob, &narrow, file).await, Code::Forbidden);
    let sent = got(edge.ask(Method::PUT, &blob, &wide.token).body(file.to_vec())).await;
    assert_eq!(sent.status, StatusCode::NO_CONTENT);
    assert_eq!(code(&edge, Method::POST, &finish, &narrow, b"").await, Code::Forbidden);
    revoke(&edge, &wide).await;
    assert_eq!(code(&edge, Method::POST, &finish, &wide.token, b"").await, Code::BadToken);
    // Not even tokens with the right may finish: the audit log would name the revoked token.
    for other in [&narrow, edge.admin_token()] {
        assert_eq!(code(&edge, Method::POST, &finish, other, b"").await, Code::Forbidden);
    }
    let status: Status = got(edge.api(Method::GET, "/v1/apps/shop/environments/staging")).await.json();
    assert_eq!(status.version, None);
    edge.stop().await;
}

/// Each upload uses memory, and later an open file, as long as a byte arrives now and then.
#[tokio::test]
async fn blobs_that_never_end_leave_places_to_other_apps() {
    let edge = edge().with_limit("blobs_receiving_max", 2).start().await;
    let large = vec![b'x'; 600_000];
    let files: Files<'_> = &[("index.html", &large), ("a.html", b"two")];
    let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options: Default::default() };
    let path = "/v1/apps/shop/environments/prod/deploys";
    let begun: DeployBegun = got(edge.api(Method::POST, path).json(&begin)).await.json();
    let put = |file: &[u8]| {
        edge.api(Method::PUT, &format!("/v1/apps/shop/blobs/{}?deploy={}", Digest::of(file), begun.deploy))
    };
    let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Vec<u8>>>(1);
    let body = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    let first = tokio::spawn(got(put(&large).body(reqwest::Body::wrap_stream(body))));
    sender.send(Ok(large[..400_000].to_vec())).await.unwrap();
    eventually("it is coming in", async || !edge.leftovers().is_empty()).await;
    let refused = got(put(b"two").body("two")).await;
    assert!(refused.code() == Code::Busy && !refused.header("retry-after").is_empty(), "{}", refused.text());
    edge.push("blog", &[("index.html", b"hi")]).await;
    sender.send(Ok(large[400_000..].to_vec())).await.unwrap();
    drop(sender);
    assert_eq!(first.await.unwrap().status, StatusCode::NO_CONTENT);
    let second = got(put(b"two").body("two")).await;
    assert_eq!(second.status, StatusCode::NO_CONTENT, "{}", second.text());
    edge.stop().await;
}

/// Each body is in memory until the end.
#[tokio::test]
async fn large_bodies_that_never_end_leave_places_to_other_apps() {
    let page: Files<'_> = &[("index.html", b"hi")];
    let edge = edge().with_limit("admin_bodies_receiving_max", 2).with_app("shop", page).with_app("blog", page);
    let edge = edge.start().await;
    let token = async |app: &str| edge.token_for(Scope::Admin, Some(app), None).await;
    let (first, second, other) = (token("shop").await, token("shop").await, token("blog").await);
    let set = |app: &str, token: &str, body: reqwest::Body| {
        let request = edge.ask(Method::PATCH, &format!("/v1/apps/{app}/environments/prod/settings"), token);
        got(request.header("content-type", "application/json").body(body))
    };
    let (small, mut large) = (json!({ "set": { "A": { "value": "1" } } }).to_string(), " ".repeat(70_000));
    large.push_str(&small);
    let begin = || {
        let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<String>>(1);
        sender.try_send(Ok(large.clone())).unwrap();
        let body = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
        (sender, tokio::spawn(set("shop", &first, reqwest::Body::wrap_stream(body))))
    };
    // Another token of the app shares the same limit.
    let whole = || set("shop", &second, large.clone().into());
    let (mut sender, mut endless) = begin();
    eventually("it is coming in", async || {
        if endless.is_finished() {
            // The other upload had the app's permit at that moment.
            (sender, endless) = begin();
        }
        whole().await.status == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    let refused = whole().await;
    assert!(refused.code() == Code::Busy && !refused.header("retry-after").is_empty(), "{}", refused.text());
    assert!(refused.problem().hint.unwrap().contains("admin_bodies_receiving_max"), "{}", refused.text());
    for (app, token, body) in [("shop", &second, &small), ("blog", &other, &large)] {
        let answer = set(app, token, body.clone().into()).await;
        assert_eq!(answer.status, StatusCode::OK, "{app}: {}", answer.text());
    }
    drop(sender);
    assert_eq!(endless.await.unwrap().status, StatusCode::OK);
    assert_eq!(whole().await.status, StatusCode::OK);
    edge.stop().await;
}

#[tokio::test]
async fn an_archive_whose_token_is_revoked_while_it_comes_in_changes_nothing() {
    let before: Files<'_> = &[("index.html", b"before")];
    let edge = edge().with_app("shop", before).start().await;
    let token = made(&edge, Scope::Push, Some("shop")).await;
    let archive = stored_zip(&[("index.html", &[b'x'; 10_000])]);
    let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Vec<u8>>>(1);
    let body = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    let path = "/v1/apps/shop/environments/prod/deploys";
    let request = edge.ask(Method::POST, path, &token.token).header("content-type", "application/zip");
    let sent = tokio::spawn(got(request.body(reqwest::Body::wrap_stream(body))));
    sender.send(Ok(archive[..5_000].to_vec())).await.unwrap();
    eventually("it is coming in", async || !edge.leftovers().is_empty()).await;
    revoke(&edge, &token).await;
    sender.send(Ok(archive[5_000..].to_vec())).await.unwrap();
    drop(sender);
    assert_eq!(sent.await.unwrap().code(), Code::BadToken);
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "before");
    edge.stop().await;
}

#[tokio::test]
async fn a_change_whose_token_is_revoked_while_its_body_comes_in_is_not_made() {
    let edge = edge().with_app("shop", &[("index.html", b"before")]).start().await;
    let token = made(&edge, Scope::Admin, Some("shop")).await;
    let wanted = json!({ "name": "late", "app": "shop", "scope": "admin" }).to_string().into_bytes();
    let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Vec<u8>>>(1);
    let body = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    let request = edge.ask(Method::POST, "/v1/tokens", &token.token).header("content-type", "application/json");
    let sent = tokio::spawn(got(request.body(reqwest::Body::wrap_stream(body))));
    sender.send(Ok(wanted[..5].to_vec())).await.unwrap();
    let list = async || got(edge.api(Method::GET, "/v1/tokens")).await.json::<TokenList>().tokens;
    let is_used = async || list().await.iter().any(|other| other.id == token.id && other.last_used_ms.is_some());
    eventually("the token was recognised", is_used).await;
    revoke(&edge, &token).await;
    sender.send(Ok(wanted[5..].to_vec())).await.unwrap();
    drop(sender);
    assert_eq!(sent.await.unwrap().code(), Code::BadToken);
    assert!(list().await.iter().all(|other| other.name != "late"), "nothing was made");
    edge.stop().await;
}

/// Law 11: environments are isolated from each other, and so are their tokens.
#[tokio::test]
async fn pushes_that_a_token_for_previews_leaves_unfinished_give_way_to_those_of_production() {
    let edge = edge().with_limit("pushes_max", 4).with_app("shop", &[("index.html", b"hi")]).start().await;
    let preview = edge.token_for(Scope::Push, Some("shop"), Some("preview")).await;
    let prod = edge.token_for(Scope::Push, Some("shop"), Some("prod")).await;
    let begin = async |token: &str, environment: &str, text: &str| {
        let manifest = manifest(&[("index.html", text.as_bytes())]);
        let options = DeployOptions {
            alias: (environment == "preview").then(|| "feature-x".parse().unwrap()),
            ..DeployOptions::default()
        };
        let begin = BeginDeploy { manifest, source: Default::default(), options };
        got(edge.ask(Method::POST, &format!("/v1/apps/shop/environments/{environment}/deploys"), token).json(&begin))
            .await
    };
    for number in 0..4 {
        let answer = begin(&preview, "preview", &format!("preview {number}")).await;
        assert!(answer.status.is_success(), "{}", answer.text());
    }
    assert_eq!(begin(&preview, "preview", "one more").await.code(), Code::Busy);
    let begun: DeployBegun = begin(&prod, "prod", "new").await.json();
    // The upload keeps the permit, however many uploads of the other environment arrive.
    assert_eq!(begin(&preview, "preview", "another one").await.code(), Code::Busy);
    let blob = format!("/v1/apps/shop/blobs/{}?deploy={}", Digest::of(b"new"), begun.deploy);
    let sent = got(edge.ask(Method::PUT, &blob, &prod).body("new")).await;
    assert_eq!(sent.status, StatusCode::NO_CONTENT, "{}", sent.text());
    let finished = got(edge.ask(Method::POST, &format!("/v1/apps/shop/deploys/{}/finish", begun.deploy), &prod)).await;
    assert_eq!(finished.status, StatusCode::OK, "{}", finished.text());
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "new");
    edge.stop().await;
}

/// Endless request body with a sender for the end.
type OpenUpload = (tokio::sync::mpsc::Sender<std::io::Result<Vec<u8>>>, tokio::task::JoinHandle<Got>);

/// Sends the first bytes of a body and then pauses.
fn hold_open(request: reqwest::RequestBuilder, first: &[u8]) -> OpenUpload {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    sender.try_send(Ok(first.to_vec())).unwrap();
    let body = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    (sender, tokio::spawn(got(request.body(reqwest::Body::wrap_stream(body)))))
}

/// Opens endless requests until a complete request is refused for lack of permits.
async fn hold_all(
    count: usize,
    begin: impl Fn() -> OpenUpload,
    whole: impl Fn() -> reqwest::RequestBuilder,
) -> Vec<OpenUpload> {
    let mut held: Vec<OpenUpload> = (0..count).map(|_| begin()).collect();
    eventually("no further one is taken", async || {
        let answer = got(whole()).await;
        // A request refused because a complete request briefly had the permit is started again.
        let mut are_under_way = true;
        for one in held.iter_mut().filter(|(_, sent)| sent.is_finished()) {
            (*one, are_under_way) = (begin(), false);
        }
        are_under_way && answer.status == StatusCode::SERVICE_UNAVAILABLE && answer.code() == Code::Busy
    })
    .await;
    held
}

/// Law 11, for batches of blobs and for archives.
#[tokio::test]
async fn requests_of_a_token_for_previews_that_never_end_leave_places_to_production() {
    let edge = edge().with_limit("blob_batches_max", 4).with_limit("pushes_max", 8).start().await;
    edge.push("shop", &[("index.html", b"hi")]).await;
    let preview = edge.token_for(Scope::Push, Some("shop"), Some("preview")).await;
    let prod = edge.token_for(Scope::Push, Some("shop"), Some("prod")).await;
    let begin = async |token: &str, environment: &str, text: &[u8]| -> DeployBegun {
        let manifest = manifest(&[("index.html", text)]);
        let options = DeployOptions { no_switch: environment == "preview", ..DeployOptions::default() };
        let begin = BeginDeploy { manifest, source: Default::default(), options };
        let path = format!("/v1/apps/shop/environments/{environment}/deploys");
        got(edge.ask(Method::POST, &path, token).json(&begin)).await.json()
    };
    let batch = |token: &str, deploy: &str| {
        let path = format!("/v1/apps/shop/blobs?deploy={deploy}");
        edge.ask(Method::POST, &path, token).header("content-type", blob_batch::MEDIA_TYPE)
    };
    let archive = |token: &str, environment: &str| {
        let query = if environment == "preview" { "?no_switch=true" } else { "" };
        let path = format!("/v1/apps/shop/environments/{environment}/deploys{query}");
        edge.ask(Method::POST, &path, token).header("content-type", "application/zip")
    };
    let body =
        |text: &[u8]| [&blob_batch::head(&Digest::of(text), u32::try_from(text.len()).unwrap())[..], text].concat();
    let whole = stored_zip(&[("index.html", b"an archive")]);
    let (in_preview, in_prod) = (begin(&preview, "preview", b"preview").await, begin(&prod, "prod", b"prod").await);
    let batches = hold_all(
        2,
        || hold_open(batch(&preview, &in_preview.deploy), &body(b"preview")[..5]),
        || batch(&preview, &in_preview.deploy).body(body(b"preview")),
    );
    let batches = batches.await;
    // Archives have a separate limit, and an environment half of the limit.
    let archives = hold_all(
        4,
        || hold_open(archive(&preview, "preview"), &whole[..20]),
        || archive(&preview, "preview").body(whole.clone()),
    );
    let archives = archives.await;
    let sent = got(batch(&prod, &in_prod.deploy).body(body(b"prod"))).await;
    assert_eq!(sent.status, StatusCode::OK, "{}", sent.text());
    let sent = got(archive(&prod, "prod").body(whole.clone())).await;
    assert_eq!(sent.status, StatusCode::OK, "{}", sent.text());
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "an archive");
    drop((batches, archives));
    edge.stop().await;
}
