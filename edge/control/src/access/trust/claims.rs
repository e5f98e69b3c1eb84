//! Claims of an identity token with a valid signature: times, and acceptance by a trust.

use devanture_config::edge_toml::Trust;
use devanture_config::{AppName, PlaceName};
use serde_json::{Map, Value};

/// Tolerated difference between the clocks of issuer and edge, in seconds.
const LEEWAY_S: f64 = 60.0;
/// Logged characters of a claim.
const SHOWN_CHARACTERS_MAX: usize = 120;

/// Mismatch of an identity token, as a clause for the edge's log.
pub(super) type Mismatch = String;

/// Checks the times of an identity token. Returns its expiry including the tolerance, in milliseconds since 1970 UTC.
///
/// # Errors
/// The mismatch.
pub(super) fn check_times(claims: &Map<String, Value>, now_ms: u64, life_ms_max: u64) -> Result<u64, Mismatch> {
    let Some(ends_s) = time(claims, "exp")? else { return Err("it never expires".to_owned()) };
    let now_s = seconds(now_ms);
    if ends_s + LEEWAY_S <= now_s {
        return Err(format!("it expired {:.0} s ago", now_s - ends_s));
    }
    if ends_s - now_s > seconds(life_ms_max) {
        return Err(format!("it expires in {:.0} s, which is beyond `identity_token_ms_max`", ends_s - now_s));
    }
    for claim in ["nbf", "iat"] {
        if let Some(begins_s) = time(claims, claim)?.filter(|begins_s| begins_s - LEEWAY_S > now_s) {
            return Err(format!("its `{claim}` is {:.0} s ahead", begins_s - now_s));
        }
    }
    // Milliseconds of days are far below the exact range of a double.
    let left_ms = ((ends_s + LEEWAY_S - now_s) * 1_000.0).ceil().max(0.0);
    Ok(now_ms.saturating_add(whole(left_ms)))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is neither negative nor beyond a week")]
fn whole(milliseconds: f64) -> u64 {
    milliseconds as u64
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are below 2^53 for ages")]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1_000.0
}

/// Reads a NumericDate (RFC 7519 §2), possibly with a fraction.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, Mismatch> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let time = value.as_f64().filter(|time| time.is_finite() && *time >= 0.0);
    time.map(Some).ok_or_else(|| format!("its `{name}` is no time"))
}

/// Checks an identity token against a trust, for an app and an environment.
///
/// # Errors
/// The first mismatch.
pub(super) fn check_trust(
    trust: &Trust,
    claims: &Map<String, Value>,
    (app, environment): (&AppName, &PlaceName),
) -> Result<(), Mismatch> {
    if trust.app != *app {
        return Err(format!("it is for the app {}", trust.app));
    }
    if !trust.environments.contains(environment) {
        return Err(format!("it is not for {environment}"));
    }
    let is_for = match claims.get("aud") {
        Some(Value::String(audience)) => *audience == trust.audience,
        Some(Value::Array(audiences)) => audiences.iter().any(|one| one.as_str() == Some(&trust.audience)),
        _ => false,
    };
    if !is_for {
        return Err(format!("`aud` is {}", shown(claims.get("aud"))));
    }
    for (name, patterns) in &trust.claims {
        let text = match claims.get(name) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(value @ (Value::Bool(_) | Value::Number(_))) => Some(value.to_string()),
            _ => None,
        };
        if !text.is_some_and(|text| patterns.iter().any(|pattern| pattern.matches(&text))) {
            return Err(format!("`{name}` is {}", shown(claims.get(name))));
        }
    }
    Ok(())
}

/// Formats a claim for the log as JSON, so that its content cannot forge log lines.
fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "missing".to_owned(), |value| value.to_string().chars().take(SHOWN_CHARACTERS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn times(claims: Value) -> Result<u64, Mismatch> {
        let Value::Object(claims) = claims else { panic!("no object") };
        check_times(&claims, NOW_MS, 86_400_000)
    }

    #[test]
    fn a_token_is_good_between_its_times_and_a_minute_around_them() {
        let now = NOW_MS / 1_000;
        assert_eq!(times(json!({ "exp": now + 300 })), Ok(NOW_MS + 360_000));
        assert_eq!(times(json!({ "exp": now - 59, "nbf": now + 60, "iat": now + 60 })), Ok(NOW_MS + 1_000));
        assert_eq!(times(json!({ "exp": 1_800_000_000.5 })), Ok(NOW_MS + 60_500));
        for (claims, expected) in [
            (json!({}), "never expires"),
            (json!({ "exp": now - 60 }), "expired 60 s ago"),
            (json!({ "exp": now + 86_401 }), "identity_token_ms_max"),
            (json!({ "exp": now + 1, "nbf": now + 61 }), "`nbf` is 61 s ahead"),
            (json!({ "exp": now + 1, "iat": now + 61 }), "`iat` is 61 s ahead"),
            (json!({ "exp": "soon" }), "`exp` is no time"),
            (json!({ "exp": now + 1, "nbf": null }), "`nbf` is no time"),
            (json!({ "exp": -1 }), "`exp` is no time"),
            (json!({ "exp": 1e300 }), "identity_token_ms_max"),
        ] {
            let found = times(claims).unwrap_err();
            assert!(found.contains(expected), "{expected}: {found}");
        }
    }

    #[test]
    fn a_trust_takes_its_app_its_environments_its_audience_and_all_of_its_claims() {
        let trust = Trust {
            name: "a".to_owned(),
            issuer: "https://issuer.example.org".parse().unwrap(),
            ca: None,
            audience: "edge".to_owned(),
            claims: [
                ("repository".to_owned(), vec!["acme/shop".parse().unwrap()]),
                ("number".to_owned(), vec!["7".parse().unwrap(), "true".parse().unwrap()]),
            ]
            .into(),
            app: "shop".parse().unwrap(),
            environments: vec![PlaceName::prod()],
            scope: devanture_config::api::Scope::Push,
            lifetime_s: 900,
        };
        let check = |claims: Value, app: &str, environment: &str| {
            let Value::Object(claims) = claims else { panic!("no object") };
            check_trust(&trust, &claims, (&app.parse().unwrap(), &environment.parse().unwrap()))
        };
        let good = json!({ "aud": "edge", "repository": "acme/shop", "number": 7 });
        assert_eq!(check(good.clone(), "shop", "prod"), Ok(()));
        let several = json!({ "aud": ["other", "edge"], "repository": "acme/shop", "number": true });
        assert_eq!(check(several, "shop", "prod"), Ok(()));
        assert!(check(good.clone(), "blog", "prod").is_err() && check(good.clone(), "shop", "staging").is_err());
        for (claim, value) in [
            ("aud", json!("edge2")),
            ("aud", json!(["edge2"])),
            ("aud", json!({ "edge": "edge" })),
            ("aud", Value::Null),
            ("repository", json!("acme/shop2")),
            ("repository", json!(["acme/shop"])),
            ("repository", Value::Null),
            ("number", json!(7.5)),
        ] {
            let mut claims = good.clone();
            claims[claim] = value;
            let found = check(claims, "shop", "prod").unwrap_err();
            assert!(found.starts_with(&format!("`{claim}` is ")), "{found}");
        }
    }
}
