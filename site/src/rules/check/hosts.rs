//! Rules about hostnames of the site's own, of which all but one redirect to the canonical hostname before any rule
//! applies.

use std::collections::BTreeSet;

use devanture_config::site_toml::Serving;
use devanture_config::{Canonical, Hostname};
use url::Url;

use super::loops::filled;
use super::{decoded, is_of_a_file, shown};
use crate::rules::Findings;
use crate::rules::redirect::Redirect;

/// The hostnames that the site lists.
struct Listed {
    canonical: Hostname,
    /// The names that redirect to the canonical one.
    others: BTreeSet<Hostname>,
}

impl Listed {
    /// `None` if no name redirects to another.
    fn new(serving: &Serving) -> Option<Self> {
        let exact = || serving.hostnames.iter().flatten().filter_map(|name| name.exact());
        let canonical = match &serving.canonical {
            Some(Canonical::None) => return None,
            Some(Canonical::Name(name)) => name.clone(),
            None => exact().next()?,
        };
        let others = exact().filter(|name| *name != canonical).collect();
        Some(Self { canonical, others })
    }
}

/// Reports the rules that never apply since their host is redirected, and the rules that send visitors of the canonical
/// name to a name that redirects back.
pub(super) fn find(rules: &[Redirect], serving: &Serving, findings: &mut Findings) {
    let Some(listed) = Listed::new(serving) else { return };
    for rule in rules {
        if rule.from.has_host() {
            let Some(own) = host(rule.from.as_str()) else { continue };
            if listed.others.contains(&own) {
                let message =
                    format!("{} is never asked: visitors of {own} are sent to {} first", shown(rule), listed.canonical);
                let hint = "write the rule for that name, or canonical = \"none\" in devanture.toml";
                findings.doubt(&rule.at, message, Some(hint));
            }
            if own != listed.canonical {
                continue;
            }
        }
        if let Some(other) = leads_back(rule, &listed) {
            let canonical = &listed.canonical;
            let message =
                format!("{} leads around in a circle: {other} sends its visitors back to {canonical}", shown(rule));
            let hint = format!("write canonical = \"{other}\" in devanture.toml instead of the rule");
            match is_of_a_file(rule) {
                true => findings.doubt(&rule.at, message, Some(&hint)),
                false => findings.mistake(&rule.at, message, Some(&hint)),
            }
        }
    }
}

/// The name that a rule sends visitors of the canonical name to, with the requested path, and that redirects back.
fn leads_back<'l>(rule: &Redirect, listed: &'l Listed) -> Option<&'l Hostname> {
    if !rule.is_redirect() || !rule.is_unconditional() {
        return None;
    }
    let text = rule.from.as_str();
    let path = match text.split_once("://") {
        Some((_, rest)) if rule.from.has_host() => rest.find('/').map_or("/", |at| rest.get(at..).unwrap_or("/")),
        _ => text,
    };
    let path = filled(path);
    let target = rule.from.matches(listed.canonical.as_str(), &path).and_then(|captures| rule.to.fill(&captures))?;
    let other = listed.others.get(&host(target.origin.as_deref()?)?)?;
    (target.query.is_none() && decoded(&target.path) == path).then_some(other)
}

fn host(url: &str) -> Option<Hostname> {
    Url::parse(url).ok()?.host_str()?.parse().ok()
}
