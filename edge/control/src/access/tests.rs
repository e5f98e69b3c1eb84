//! Tests of tokens with concurrent changes of the catalog during their creation.

use devanture_config::AppName;
use devanture_config::api::{Scope, TokenRequest};

use super::*;
use devanture_store::catalog::overtaken::Overtaken;
use devanture_store::catalog::{self, Change, Commit};
use devanture_store::records::{self, AppRecord, TokenRecord, token_key};

fn world(folder: &tempfile::TempDir, limits: &Limits) -> (Credentials, Arc<Overtaken>) {
    let overtaken = Overtaken::new(catalog::open(&folder.path().join("catalog.redb")).unwrap());
    let catalog: Arc<dyn Catalog> = Arc::<Overtaken>::clone(&overtaken);
    (Credentials::new(Arc::clone(&catalog), Audit::new(catalog, limits), limits), overtaken)
}

fn request(name: &str, app: Option<&AppName>) -> TokenRequest {
    let (name, app) = (name.to_owned(), app.cloned());
    TokenRequest { name, app, environment: None, scope: Scope::Admin, expires_in_s: None }
}

/// Returns a token and its actor.
async fn maker(credentials: &Credentials, app: Option<&AppName>) -> (String, Actor) {
    let made = credentials.create(&Actor::local(), request("maker", app)).await.unwrap();
    (made.id, credentials.recognise(&made.token, None).await.unwrap())
}

async fn names(catalog: &dyn Catalog) -> Vec<String> {
    let listed = catalog.list(records::TOKENS_PREFIX, None, false, usize::MAX).await.unwrap();
    listed.iter().map(|(key, record)| records::read::<TokenRecord>(key, record).unwrap().name).collect()
}

async fn put(catalog: &dyn Catalog, change: Change) {
    catalog.commit(Commit { checks: Vec::new(), changes: vec![change] }).await.unwrap();
}

fn app_record(app: &AppName, created_ms: u64) -> Change {
    let record = AppRecord { created_ms, who: "ada".to_owned() };
    Change::Put(records::app_key(app), records::write(&record).unwrap())
}

#[tokio::test]
async fn a_token_that_waits_its_turn_is_not_made_once_its_maker_was_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let (credentials, overtaken) = world(&folder, &Limits::default());
    let (id, actor) = maker(&credentials, None).await;
    let making = credentials.making.lock().await;
    let (made, ()) = tokio::join!(credentials.create(&actor, request("late", None)), async {
        credentials.revoke(&Actor::local(), &id).await.unwrap();
        drop(making);
    });
    assert_eq!(made.unwrap_err().0.code, Code::BadToken);
    // Likewise just before the commit.
    let (id, actor) = maker(&credentials, None).await;
    overtaken.before_commit_of(records::TOKENS_PREFIX, vec![Change::Delete(token_key(&id))]);
    let made = credentials.create(&actor, request("late", None)).await;
    assert_eq!(made.unwrap_err().0.code, Code::BadToken);
    overtaken.assert_overtaken();
    assert!(names(&*overtaken.stored).await.is_empty());
}

#[tokio::test]
async fn a_token_of_an_app_makes_none_of_the_next_app_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (credentials, overtaken) = world(&folder, &Limits::default());
    let app: AppName = "shop".parse().unwrap();
    put(&*overtaken.stored, app_record(&app, 1)).await;
    let (_, actor) = maker(&credentials, Some(&app)).await;
    // A change of its record leaves the app the same, and the token is created.
    overtaken.before_commit_of(records::TOKENS_PREFIX, vec![app_record(&app, 1)]);
    credentials.create(&actor, request("of the first", Some(&app))).await.unwrap();
    overtaken.before_commit_of(records::TOKENS_PREFIX, vec![app_record(&app, 2)]);
    let made = credentials.create(&actor, request("of the next", Some(&app))).await;
    assert_eq!(made.unwrap_err().0.code, Code::Deleted);
    overtaken.assert_overtaken();
    let mut names = names(&*overtaken.stored).await;
    names.sort();
    assert_eq!(names, ["maker", "of the first"]);
}

#[tokio::test]
async fn a_token_that_a_clock_that_leapt_ahead_would_end_makes_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let (credentials, overtaken) = world(&folder, &Limits { tokens_max: 1, ..Limits::default() });
    let made = credentials.create(&Actor::local(), request("first", None)).await.unwrap();
    let key = token_key(&made.id);
    let record = overtaken.stored.get(&key).await.unwrap().unwrap();
    let now_ms = clock::now_ms();
    let ended = TokenRecord { expires_ms: Some(now_ms - 1), ..records::read(&key, &record).unwrap() };
    put(&*overtaken.stored, Change::Put(key, records::write(&ended).unwrap())).await;
    clock::settle_own_clock_from(now_ms - 10 * 86_400_000);
    let refused = credentials.recognise(&made.token, None).await;
    assert_eq!(refused.unwrap_err().0.code, Code::BadToken);
    let second = credentials.create(&Actor::local(), request("second", None)).await;
    assert_eq!(second.unwrap_err().0.code, Code::TooMany);
    assert_eq!(names(&*overtaken.stored).await, ["first"]);
    clock::settle_own_clock_from(now_ms);
    credentials.create(&Actor::local(), request("second", None)).await.unwrap();
    assert_eq!(names(&*overtaken.stored).await, ["second"]);
}

#[tokio::test]
async fn what_has_not_the_form_of_a_credential_is_known_for_none() {
    let folder = tempfile::tempdir().unwrap();
    let (credentials, _) = world(&folder, &Limits::default());
    let made = credentials.create(&Actor::local(), request("ci", None)).await.unwrap();
    assert!(Credentials::may_be_token(&made.token) && !Credentials::may_be_session(&made.token));
    let browser = Browser { from: None, name: String::new() };
    let token = devanture_config::api::Secret::new(made.token.clone());
    let session = credentials.begin_by_token(&token, &browser).await.unwrap().secret;
    assert!(Credentials::may_be_session(session.expose()) && !Credentials::may_be_token(session.expose()));
    let text = made.token.as_str();
    let (longer, upper) = (format!("{text}_"), text.to_uppercase());
    for other in ["", "x", "dvt__", "dvt_1_2", &text[1..], &text[..text.len() - 1], longer.as_str(), upper.as_str()] {
        assert!(!Credentials::may_be_token(other) && !Credentials::may_be_session(other), "{other}");
    }
}
