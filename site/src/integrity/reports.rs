//! Reports of browsers about resources that pages load without a hash (Reporting API, `integrity-violation`). Pure.

use devanture_config::api::IntegrityReport;
use serde_json::Value;
use url::Url;

/// Reports of one message.
const REPORTS_MAX: usize = 100;
/// Bytes of a stored address.
const ADDRESS_BYTES_MAX: usize = 512;

/// The reports of a message about pages of `host`.
#[must_use]
pub fn integrity_reports(bytes: &[u8], host: &str, now_ms: u64) -> Vec<IntegrityReport> {
    let Ok(Value::Array(messages)) = serde_json::from_slice(bytes) else { return Vec::new() };
    messages.iter().take(REPORTS_MAX).filter_map(|message| report(message, host, now_ms)).collect()
}

fn report(message: &Value, host: &str, now_ms: u64) -> Option<IntegrityReport> {
    let is_ours = message.get("type")?.as_str()? == "integrity-violation";
    let body = message.get("body").filter(|_| is_ours)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let page = text("documentURL").or_else(|| message.get("url")?.as_str())?;
    let page = Url::parse(page).ok().filter(|page| page.host_str() == Some(host))?;
    let blocked = Url::parse(text("blockedURL")?).ok()?;
    let destination = text("destination").filter(|destination| matches!(*destination, "script" | "style"))?;
    let is_own = blocked.origin() == page.origin();
    let origin = if is_own { String::new() } else { blocked.origin().ascii_serialization() };
    Some(IntegrityReport {
        blocked: short(format!("{origin}{}", blocked.path())),
        destination: destination.to_owned(),
        page: short(page.path().to_owned()),
        enforced: body.get("reportOnly").and_then(Value::as_bool) != Some(true),
        count: 1,
        first_ms: now_ms,
        last_ms: now_ms,
    })
}

/// An address within the bound; the path of a URL is ASCII.
fn short(mut address: String) -> String {
    if address.len() > ADDRESS_BYTES_MAX {
        address.truncate(address.floor_char_boundary(ADDRESS_BYTES_MAX));
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_keeps_no_query_and_is_about_a_page_of_the_host() {
        let message = |page: &str, blocked: &str| {
            let body = serde_json::json!({
                "documentURL": page, "blockedURL": blocked, "destination": "script", "reportOnly": true
            });
            serde_json::json!([{ "type": "integrity-violation", "url": page, "body": body }, 1, { "type": "other" }])
        };
        let seen = |page: &str, blocked: &str| {
            let found = integrity_reports(message(page, blocked).to_string().as_bytes(), "shop.example.org", 7);
            found.into_iter().map(|one| (one.page, one.blocked, one.enforced)).collect::<Vec<_>>()
        };
        let page = "https://shop.example.org:8443/a?secret#x";
        let of = |blocked: &str| vec![("/a".to_owned(), blocked.to_owned(), false)];
        assert_eq!(seen(page, "https://shop.example.org:8443/b.js?secret"), of("/b.js"));
        assert_eq!(seen(page, "https://cdn.example/b.js?secret"), of("https://cdn.example/b.js"));
        assert_eq!(seen("https://other.example.org/", "https://cdn.example/b.js"), []);
        assert_eq!(seen(page, "inline"), []);
        assert_eq!(integrity_reports(b"[[[", "a", 0), []);
        let long = format!("https://cdn.example/{}", "x".repeat(2_000));
        assert_eq!(seen(page, &long).remove(0).1.len(), ADDRESS_BYTES_MAX);
    }
}
