//! Ownership of records by apps and environments: the records that are removed with their owner, as
//! [`table`](super::table) states for each kind of record.

use devanture_config::{AppName, PlaceName};

use super::identities;
use super::protection::{ShareRecord, StoredTarget, shares_prefix};
use super::sessions;
use super::table::{Owner, RecordRow, TABLE};
use crate::catalog::scan::Scan;
use crate::catalog::{Catalog, Error, Record};
use crate::records;
use crate::records::gone::{self, GoneVersion};

/// Returns true if an app has a version or an alias, served as a preview now or after a restore.
///
/// # Errors
/// [`Error::Store`].
pub async fn has_previews(catalog: &dyn Catalog, app: &AppName) -> Result<bool, Error> {
    for prefix in [records::versions_prefix(app), records::alias_prefix(app)] {
        if !catalog.list(&prefix, None, false, 1).await?.is_empty() {
            return Ok(true);
        }
    }
    let mut deleted = Scan::new(catalog, gone::gone_prefix(app));
    while let Some((key, record)) = deleted.next().await? {
        // A damaged record may have stated that the version can be restored.
        if records::read::<GoneVersion>(&key, &record).map_or(true, |gone| gone.record.is_some()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns at most `limit` records of an app, or of one environment of the app; for the environment `preview` with
/// `has_previews`, without the records that serve the app's previews.
///
/// # Errors
/// [`Error::Store`].
pub async fn records_of(
    catalog: &dyn Catalog,
    app: &AppName,
    environment: Option<&PlaceName>,
    has_previews: bool,
    limit: usize,
) -> Result<Vec<(String, Record)>, Error> {
    let mut found = Vec::new();
    for key in TABLE.iter().filter_map(|kind| owned_by(kind, app, environment, has_previews)) {
        let left = limit.saturating_sub(found.len());
        if key.ends_with('/') {
            found.extend(catalog.list(&key, None, false, left).await?);
        } else if let Some(record) = catalog.get(&key).await?.filter(|_| left > 0) {
            found.push((key, record));
        }
    }
    if let Some(environment) = environment {
        // Links to the environment: otherwise they would open a later environment of the same name.
        for (key, record) in catalog.list(&shares_prefix(app), None, false, usize::MAX).await? {
            let opens = records::read::<ShareRecord>(&key, &record).map(|share| share.target);
            if found.len() < limit && opens.is_ok_and(|target| target == StoredTarget::Environment(environment.clone()))
            {
                found.push((key, record));
            }
        }
    }
    for kind in TABLE.iter().filter(|kind| kind.owner == Owner::Named) {
        for (key, record) in catalog.list(kind.prefix(), None, false, usize::MAX).await? {
            if found.len() >= limit {
                return Ok(found);
            }
            if names(&record, app, environment) {
                // Dependent records first: without their owner, they could not be found any more.
                let left = limit.saturating_sub(found.len());
                found.extend(hanging_on(catalog, &key, &record, left).await?);
                if found.len() < limit {
                    found.push((key, record));
                }
            }
        }
    }
    Ok(found)
}

/// What of a kind is an app's, or one environment's of it: the prefix of the records, which ends in `/`, or the key of
/// the one that there is; `None` where nothing is, or where it goes last or stays.
fn owned_by(kind: &RecordRow, app: &AppName, environment: Option<&PlaceName>, has_previews: bool) -> Option<String> {
    let is_owned = match (kind.owner, environment) {
        (Owner::App | Owner::EnvironmentAtLast, None) => true,
        (Owner::Environment, _) | (Owner::EnvironmentOrPreviews, None) => true,
        (Owner::EnvironmentOrPreviews, Some(_)) => !has_previews,
        (Owner::App | Owner::EnvironmentAtLast, Some(_)) => false,
        (Owner::AppAtLast | Owner::Credential | Owner::Edge | Owner::Named | Owner::Node, _) => false,
    };
    let (form, name) = match environment {
        Some(environment) => ("{app}/{env}", format!("{app}/{environment}")),
        None => ("{app}", app.to_string()),
    };
    let (head, rest) = kind.key.split_once(form).filter(|_| is_owned)?;
    let end = if rest.is_empty() { "" } else { "/" };
    Some(format!("{head}{name}{end}"))
}

/// Returns at most `limit` records that depend on the account of this id: its logins, sessions and passkeys.
///
/// # Errors
/// [`Error::Store`].
pub(crate) async fn of_account(catalog: &dyn Catalog, id: &str, limit: usize) -> Result<Vec<(String, Record)>, Error> {
    let prefixes =
        [identities::login_key(id), sessions::session_key(id), identities::used_key(id), sessions::passkey_key(id)];
    below(catalog, &prefixes, limit).await
}

/// Returns at most `limit` records that depend on the token of this id: its last use and its sessions.
///
/// # Errors
/// [`Error::Store`].
pub(crate) async fn of_token(catalog: &dyn Catalog, id: &str, limit: usize) -> Result<Vec<(String, Record)>, Error> {
    below(catalog, &[sessions::session_key(id), identities::used_key(id)], limit).await
}

async fn below(catalog: &dyn Catalog, prefixes: &[String], limit: usize) -> Result<Vec<(String, Record)>, Error> {
    let mut found = Vec::new();
    for prefix in prefixes {
        found.extend(catalog.list(prefix, None, false, limit.saturating_sub(found.len())).await?);
    }
    Ok(found)
}

/// Returns at most `limit` records that depend on this record.
async fn hanging_on(
    catalog: &dyn Catalog,
    key: &str,
    record: &Record,
    limit: usize,
) -> Result<Vec<(String, Record)>, Error> {
    if key.starts_with(identities::ACCOUNTS_PREFIX) {
        let account: identities::AccountRecord = records::read(key, record)?;
        return of_account(catalog, &account.id, limit).await;
    }
    match key.strip_prefix(records::TOKENS_PREFIX) {
        Some(id) => of_token(catalog, id, limit).await,
        None => Ok(Vec::new()),
    }
}

/// Returns true if the value of a record names this app, and this environment if given.
fn names(record: &Record, app: &AppName, environment: Option<&PlaceName>) -> bool {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(&record.value) else { return false };
    let says = |member: &str, name: &str| value.get(member).and_then(serde_json::Value::as_str) == Some(name);
    says("app", app.as_str()) && environment.is_none_or(|environment| says("environment", environment.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Change, Commit, open};
    use crate::records::settings::Sealed;
    use devanture_config::Digest;
    use serde_json::json;

    /// Keys of the records of the app `shop`, in the order of the search.
    const OWN: [&str; 21] = [
        "alias/shop/x",
        "confirmations/shop",
        "dictionaries/shop/a",
        "history/shop/prod/1",
        "history/shop/staging/1",
        "listed/shop/staging",
        "live-log/shop/staging/1",
        "live/shop/prod",
        "live/shop/staging",
        "paused/shop/staging",
        "protection/shop/staging",
        "sent/shop/1/1",
        "shares/shop/1",
        "signatures/shop/a",
        "signers/shop/staging",
        "versions/shop/a",
        "webhook-ended/shop/chat/1",
        "webhook-waiting/shop/chat/2",
        "webhooks-added/shop",
        "webhooks/shop/chat",
        "withdrawn/shop",
    ];

    #[tokio::test]
    async fn what_belongs_to_an_app_is_found_and_nothing_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = open(&folder.path().join("catalog.redb")).unwrap();
        let (app, staging): (AppName, PlaceName) = ("shop".parse().unwrap(), "staging".parse().unwrap());
        let put =
            |key: &str, value: serde_json::Value| Change::Put(key.to_owned(), value.to_string().into_bytes().into());
        let of = |app: &str, environment: &str| json!({"app": app, "environment": environment});
        let others = [
            "alias/shop-2/x",
            "confirmations/shop-2",
            "live/shop2/prod",
            "sent/shop-2/1/1",
            "webhook-waiting/shop-2/chat/2",
            "withdrawn/shop-2",
            "deleted/shop",
            "apps/shop",
        ];
        let mut changes: Vec<Change> = OWN.iter().chain(&others).map(|key| put(key, json!({}))).collect();
        let account = |id: &str, app: &str, environment: &str| {
            json!({"id": id, "password": "", "stamp": "", "app": app, "environment": environment, "scope": "admin",
                "created_ms": 0, "password_ms": 0, "made_by": ""})
        };
        let share = |environment: &str| {
            json!({"target": {"environment": environment}, "hash": Digest::of(b""), "key": Sealed::new(String::new(), b""),
                "who": "", "created_ms": 0, "expires_ms": 0})
        };
        changes.extend([
            put("accounts/ada", account("aa", "shop", "staging")),
            put("accounts/bob", account("bb", "other", "staging")),
            put("logins/aa1", json!({})),
            put("logins/aa2", json!({})),
            put("logins/bb1", json!({})),
            put("sessions/aa3", json!({})),
            put("sessions/bb2", json!({})),
            put("sessions/12", json!({})),
            put("passkeys/aa4", json!({})),
            put("passkeys/bb4", json!({})),
            put("used/aa3", json!({})),
            put("used/1", json!({})),
            put("used/2", json!({})),
            put("hostnames/a.example", of("shop", "prod")),
            put("hostnames/b.example", of("shop", "staging")),
            put("hostnames/c.example", of("other", "staging")),
            put("tokens/1", json!({"app": "shop", "environment": null})),
            put("tokens/2", json!({"app": null})),
            put("tokens/3", of("shop", "staging")),
            put("shares/shop/2", share("staging")),
            put("shares/shop/3", share("prod")),
        ]);
        catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
        let keys = async |environment, has_previews, limit| {
            let found = records_of(&*catalog, &app, environment, has_previews, limit).await.unwrap();
            found.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        let mut expected: Vec<&str> = OWN.to_vec();
        let shares = expected.iter().position(|key| *key == "shares/shop/1").unwrap();
        expected.splice(shares + 1..shares + 1, ["shares/shop/2", "shares/shop/3"]);
        expected.extend(["logins/aa1", "logins/aa2", "sessions/aa3", "used/aa3", "passkeys/aa4", "accounts/ada"]);
        expected.extend(["hostnames/a.example", "hostnames/b.example"]);
        expected.extend(["sessions/12", "used/1", "tokens/1", "tokens/3"]);
        assert_eq!(keys(None, false, usize::MAX).await, expected);
        // At any end of the removal, no record is left behind that depends on an existing one.
        for limit in 0..expected.len() {
            assert_eq!(keys(None, false, limit).await, expected[..limit]);
        }
        assert_eq!(
            keys(Some(&staging), false, usize::MAX).await,
            [
                "history/shop/staging/1",
                "listed/shop/staging",
                "live-log/shop/staging/1",
                "live/shop/staging",
                "paused/shop/staging",
                "protection/shop/staging",
                "signers/shop/staging",
                "shares/shop/2",
                "logins/aa1",
                "logins/aa2",
                "sessions/aa3",
                "used/aa3",
                "passkeys/aa4",
                "accounts/ada",
                "hostnames/b.example",
                "tokens/3"
            ]
        );
    }

    #[tokio::test]
    async fn what_previews_are_served_by_stays_while_an_app_has_any() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = open(&folder.path().join("catalog.redb")).unwrap();
        let (app, preview): (AppName, PlaceName) = ("shop".parse().unwrap(), PlaceName::preview());
        let commit = async |changes| catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
        let put =
            |key: &str, value: serde_json::Value| Change::Put(key.to_owned(), value.to_string().into_bytes().into());
        let served = ["protection/shop/preview", "settings/shop/preview/1", "uids/shop/preview"];
        commit(served.map(|key| put(key, json!({}))).into()).await;
        commit(vec![put("history/shop/preview/1", json!({})), put("alias/other/x", json!({}))]).await;
        let keys = async || {
            let has_previews = has_previews(&*catalog, &app).await.unwrap();
            let found = records_of(&*catalog, &app, Some(&preview), has_previews, usize::MAX).await.unwrap();
            found.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        let gone = json!({ "at_ms": 1 });
        let version = json!({ "stored_ms": 1, "who": "ada", "trusted": true, "source": {}, "files": 1, "bytes": 0 });
        let restorable = json!({ "at_ms": 1, "record": version });
        for (key, value) in [("alias/shop/x", json!({})), ("versions/shop/a", json!({})), ("gone/shop/b", restorable)] {
            commit(vec![put(key, value)]).await;
            assert_eq!(keys().await, ["history/shop/preview/1"], "{key}");
            commit(vec![Change::Delete(key.to_owned())]).await;
        }
        commit(vec![put("gone/shop/c", gone)]).await;
        let [protection, settings, uid] = served;
        assert_eq!(keys().await, ["history/shop/preview/1", protection, settings, uid]);
    }
}
