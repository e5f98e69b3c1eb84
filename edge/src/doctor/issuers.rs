//! Checks that the documents and keys of token issuers can be fetched, for `[[trust]]` and `[oidc]`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use devanture_config::edge_toml::{EdgeFile, Issuer};
use devanture_config::text::counted;
use futures_util::stream::{self, StreamExt as _};

use super::finding::{Finding, Names};
use devanture_control::access::trust::{Probed, probe};

/// Maximum number of concurrent checks.
const AT_ONCE: usize = 16;
/// Time limit of all checks together.
const TIME_MAX: Duration = Duration::from_secs(30);
const CHECK: &str = "issuers";

/// Fetches the documents of each issuer.
pub(super) async fn look(file: &EdgeFile, base: &Path, names: Names) -> Vec<Finding> {
    let issuers = of(file, base);
    let count = issuers.len();
    let dns_servers: Vec<SocketAddr> = file.dns_servers.iter().map(|server| server.0).collect();
    let probed = stream::iter(issuers)
        .map(async |(issuer, files)| (probe(&issuer, files, &file.limits, &dns_servers).await, issuer))
        .buffer_unordered(AT_ONCE);
    let mut found: Vec<(Result<Probed, String>, Issuer)> =
        probed.take_until(tokio::time::sleep(TIME_MAX)).collect().await;
    found.sort_by(|(_, one), (_, other)| one.cmp(other));
    let late = count.saturating_sub(found.len());
    let provider = file.oidc.as_ref().map(|oidc| &oidc.issuer);
    let findings = found.iter().map(|(probed, issuer)| finding(probed, issuer, provider == Some(issuer), names));
    let mut findings: Vec<Finding> = findings.collect();
    if late > 0 {
        let what = format!("{} did not answer within {} s", counted(late, "issuer"), TIME_MAX.as_secs());
        findings.push(Finding::warn(CHECK, what, "see whether this machine reaches them"));
    }
    findings
}

/// Returns the issuers, with the files of their authorities besides the platform's.
fn of(file: &EdgeFile, base: &Path) -> BTreeMap<Issuer, BTreeSet<PathBuf>> {
    let mut issuers: BTreeMap<Issuer, BTreeSet<PathBuf>> = BTreeMap::new();
    let of_trusts = file.trusts.iter().map(|trust| (&trust.issuer, &trust.ca));
    for (issuer, ca) in of_trusts.chain(file.oidc.iter().map(|oidc| (&oidc.issuer, &oidc.ca))) {
        let files = issuers.entry(issuer.clone()).or_default();
        files.extend(ca.iter().map(|path| base.join(path)));
    }
    issuers
}

fn finding(probed: &Result<Probed, String>, issuer: &Issuer, is_provider: bool, names: Names) -> Finding {
    let name = match names {
        Names::Shown => issuer.as_str(),
        Names::Counted => "an issuer",
    };
    match probed {
        Err(why) => {
            // The reason contains addresses of the issuer.
            let why = if names == Names::Shown { why.as_str() } else { "its keys cannot be fetched" };
            Finding::warn(
                CHECK,
                format!("{name}: {why}"),
                "until this machine reaches it, none of its identity tokens is taken unless its keys are at hand",
            )
        }
        Ok(Probed { keys: 0, .. }) => {
            let what = format!("{name}: it publishes no key of an algorithm that is taken");
            Finding::warn(CHECK, what, "it has to sign by RS256, PS256, ES256 or EdDSA")
        }
        Ok(Probed { has_device_grant: false, .. }) if is_provider => {
            let what = format!("{name}: its document names no device authorization endpoint");
            Finding::warn(CHECK, what, "`devanture login --oidc` needs the device grant: have the provider allow it")
        }
        Ok(Probed { has_authorization: false, .. }) if is_provider => {
            let what = format!("{name}: its document names no authorization endpoint");
            Finding::warn(CHECK, what, "visitors cannot log in there: see the settings of the provider")
        }
        Ok(Probed { keys, .. }) => {
            Finding::ok(CHECK, format!("{name}: its document and {} were fetched", counted(*keys, "key")))
        }
    }
}
