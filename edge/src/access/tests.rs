//! Tests of tokens over a catalog in which something else happens while one is made.

use devanture_config::AppName;
use devanture_config::api::{Scope, TokenRequest};

use super::*;
use crate::catalog::overtaken::Overtaken;
use crate::catalog::{self, Change};
use crate::records::{self, TokenRecord, token_key};

fn world(folder: &tempfile::TempDir, limits: &Limits) -> (Credentials, Arc<Overtaken>) {
    let overtaken = Overtaken::new(catalog::open(&folder.path().join("catalog.redb")).unwrap());
    let catalog: Arc<dyn Catalog> = Arc::<Overtaken>::clone(&overtaken);
    (Credentials::new(Arc::clone(&catalog), Audit::new(catalog, limits), limits), overtaken)
}

fn request(name: &str, app: Option<&AppName>) -> TokenRequest {
    let (name, app) = (name.to_owned(), app.cloned());
    TokenRequest { name, app, environment: None, scope: Scope::Admin, expires_in_s: None }
}

/// A token, and its actor.
async fn maker(credentials: &Credentials, app: Option<&AppName>) -> (String, Actor) {
    let made = credentials.create(&Actor::local(), request("maker", app)).await.unwrap();
    (made.id, credentials.recognise(&made.token, None).await.unwrap())
}

async fn names(catalog: &dyn Catalog) -> Vec<String> {
    let listed = catalog.list(records::TOKENS_PREFIX, None, false, usize::MAX).await.unwrap();
    listed.iter().map(|(key, record)| records::read::<TokenRecord>(key, record).unwrap().name).collect()
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
    // Nor where that comes just before the commit.
    let (id, actor) = maker(&credentials, None).await;
    overtaken.before_commit_of(records::TOKENS_PREFIX, vec![Change::Delete(token_key(&id))]);
    let made = credentials.create(&actor, request("late", None)).await;
    assert_eq!(made.unwrap_err().0.code, Code::BadToken);
    overtaken.assert_overtaken();
    assert!(names(&*overtaken.stored).await.is_empty());
}
