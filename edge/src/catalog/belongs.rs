//! Which records belong to an app, and which to an environment: what goes when one of them goes for good. Whoever adds a
//! kind of record that is an app's adds a line here.

use devanture_config::{AppName, PlaceName};

use super::{Catalog, Error, Record};

/// Records of an app: those below what ends in `/`, or the one of that key. `apps/{app}` and `deleted/{app}` are not
/// here: they go last.
const OF_APP: [&str; 10] = [
    "alias/{app}/",
    "deleted-environments/{app}/",
    "gone/{app}/",
    "history/{app}/",
    "listed/{app}/",
    "live/{app}/",
    "locks/{app}/",
    "paused/{app}/",
    "versions/{app}/",
    "withdrawn/{app}",
];

/// Records of an environment, as above. `deleted-environments/{app}/{env}` is not here: it goes last.
const OF_ENVIRONMENT: [&str; 5] =
    ["history/{app}/{env}/", "listed/{app}/{env}", "live/{app}/{env}", "locks/{app}/{env}", "paused/{app}/{env}"];

/// Records whose JSON names the app in its member `app` and the environment in `environment`.
const BY_NAME: [&str; 2] = ["hostnames/", "tokens/"];

/// At most `limit` records of an app, or of one environment of it.
///
/// # Errors
/// [`Error::Store`].
pub(crate) async fn records_of(
    catalog: &dyn Catalog,
    app: &AppName,
    environment: Option<&PlaceName>,
    limit: usize,
) -> Result<Vec<(String, Record)>, Error> {
    let patterns: &[&str] = if environment.is_some() { &OF_ENVIRONMENT } else { &OF_APP };
    let mut found = Vec::new();
    for pattern in patterns {
        let key = pattern.replace("{app}", app.as_str()).replace("{env}", environment.map_or("", PlaceName::as_str));
        let left = limit.saturating_sub(found.len());
        if key.ends_with('/') {
            found.extend(catalog.list(&key, None, false, left).await?);
        } else if let Some(record) = catalog.get(&key).await?.filter(|_| left > 0) {
            found.push((key, record));
        }
    }
    for prefix in BY_NAME {
        let all = catalog.list(prefix, None, false, usize::MAX).await?;
        let left = limit.saturating_sub(found.len());
        found.extend(all.into_iter().filter(|(_, record)| names(record, app, environment)).take(left));
    }
    Ok(found)
}

/// Whether a record says that it is of this app, and of this environment where one is meant.
fn names(record: &Record, app: &AppName, environment: Option<&PlaceName>) -> bool {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(&record.value) else { return false };
    let says = |member: &str, name: &str| value.get(member).and_then(serde_json::Value::as_str) == Some(name);
    says("app", app.as_str()) && environment.is_none_or(|environment| says("environment", environment.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Change, Commit, open};
    use serde_json::json;

    #[tokio::test]
    async fn what_belongs_to_an_app_is_found_and_nothing_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = open(&folder.path().join("catalog.redb")).unwrap();
        let (app, staging): (AppName, PlaceName) = ("shop".parse().unwrap(), "staging".parse().unwrap());
        let put =
            |key: &str, value: serde_json::Value| Change::Put(key.to_owned(), value.to_string().into_bytes().into());
        let of = |app: &str, environment: &str| json!({"app": app, "environment": environment});
        let own = [
            "alias/shop/x",
            "history/shop/prod/1",
            "history/shop/staging/1",
            "listed/shop/staging",
            "live/shop/prod",
            "live/shop/staging",
            "paused/shop/staging",
            "versions/shop/a",
            "withdrawn/shop",
        ];
        let others = ["alias/shop-2/x", "live/shop2/prod", "withdrawn/shop-2", "deleted/shop", "apps/shop"];
        let mut changes: Vec<Change> = own.iter().chain(&others).map(|key| put(key, json!({}))).collect();
        changes.extend([
            put("hostnames/a.example", of("shop", "prod")),
            put("hostnames/b.example", of("shop", "staging")),
            put("hostnames/c.example", of("other", "staging")),
            put("tokens/1", json!({"app": "shop", "environment": null})),
            put("tokens/2", json!({"app": null})),
            put("tokens/3", of("shop", "staging")),
        ]);
        catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
        let keys = async |environment, limit| {
            let found = records_of(&*catalog, &app, environment, limit).await.unwrap();
            found.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        let mut expected: Vec<&str> = own.to_vec();
        expected.extend(["hostnames/a.example", "hostnames/b.example", "tokens/1", "tokens/3"]);
        assert_eq!(keys(None, usize::MAX).await, expected);
        assert_eq!(keys(None, 4).await, expected[..4]);
        assert_eq!(
            keys(Some(&staging), usize::MAX).await,
            [
                "history/shop/staging/1",
                "listed/shop/staging",
                "live/shop/staging",
                "paused/shop/staging",
                "hostnames/b.example",
                "tokens/3"
            ]
        );
    }
}
