//! Lines about the nodes of a cluster, for `nodes` and `status`.

use devanture_config::api::{NodeState, NodeStatus, NodeVersion};
use devanture_config::{PlaceName, VersionId};

use super::progress::Style;
use super::report::{byte_text, counted, time_text};

/// Upper bound of listed environments in which a node serves a different version from the live one.
const BEHIND_SHOWN_MAX: usize = 5;

/// The state of a node in two words at most.
pub(crate) const fn state_text(state: NodeState) -> &'static str {
    match state {
        NodeState::Ready => "ready",
        NodeState::Cut => "cut off",
        NodeState::Unreachable => "unreachable",
    }
}

/// Returns a node in one line of `status`: the name, the state, the version in `environment`, the release, and any
/// anomalies.
pub(crate) fn summary(style: Style, node: &NodeStatus, environment: &PlaceName) -> String {
    let here = node.versions.iter().find(|version| version.environment == *environment);
    let state = match node.state {
        NodeState::Ready => state_text(node.state).to_owned(),
        NodeState::Cut | NodeState::Unreachable => style.bad(state_text(node.state)),
    };
    let version = match (node.state, here) {
        (NodeState::Unreachable, _) => String::new(),
        (_, None) => "  nothing".to_owned(),
        (_, Some(NodeVersion { version, wanted: None, .. })) => format!("  {}", version_text(version.as_ref())),
        (_, Some(NodeVersion { version, wanted: Some(wanted), .. })) => {
            let serves = version_text(version.as_ref());
            format!("  {}", style.bad(&format!("{serves}, not yet {}", wanted.short())))
        }
    };
    let mut notes = vec![format!("release {}", node.release)];
    notes.extend(notes_of(node));
    format!("{}  {state}{version}  {}", node.name, style.dim(&notes.join(", ")))
}

/// Returns the lag of the node, the content of the cache, the end of the certificate, and the problems.
pub(crate) fn notes_of(node: &NodeStatus) -> Vec<String> {
    let mut notes = Vec::new();
    if let (NodeState::Cut, Some(age_ms)) = (node.state, node.catalog_age_ms) {
        notes.push(format!("cut off for {}", counted(age_ms / 1_000, "second")));
    }
    if let Some(lag) = node.lag.filter(|lag| *lag > 0) {
        notes.push(format!("{} behind", counted(lag, "revision")));
    }
    if let Some(cache) = &node.cache {
        let used = cache.bytes.map_or_else(|| "not counted yet".to_owned(), byte_text);
        notes.push(format!("cache {used} of {}", byte_text(cache.bytes_max)));
    }
    if let Some(ends_s) = node.certificate_ends_s.and_then(|ends_s| u64::try_from(ends_s).ok()) {
        notes.push(format!("certificate until {}", time_text(ends_s.saturating_mul(1_000))));
    }
    notes.extend(node.detail.clone());
    notes
}

/// Returns the environments in which a node serves a different version from the live one.
pub(crate) fn behind<'v>(versions: impl Iterator<Item = &'v NodeVersion>) -> Vec<String> {
    let all: Vec<String> = versions
        .filter_map(|live| {
            let wanted = live.wanted?.short();
            let serves = version_text(live.version.as_ref());
            Some(format!("{} {} serves {serves} and not {wanted}", live.app, live.environment))
        })
        .collect();
    let more = all.len().saturating_sub(BEHIND_SHOWN_MAX);
    let shown = all.into_iter().take(BEHIND_SHOWN_MAX);
    shown.chain((more > 0).then(|| format!("and {more} more"))).collect()
}

fn version_text(version: Option<&VersionId>) -> String {
    version.map_or_else(|| "nothing".to_owned(), VersionId::short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::api::NodeCache;
    use std::collections::BTreeMap;

    fn node(state: NodeState, versions: Vec<NodeVersion>) -> NodeStatus {
        NodeStatus {
            name: "edge-1".to_owned(),
            advertise: None,
            state,
            release: "1.2.3".to_owned(),
            started_ms: 0,
            revision: Some(7),
            lag: Some(0),
            catalog_age_ms: None,
            certificate_ends_s: None,
            cache: None,
            versions,
            has_more: false,
            detail: None,
        }
    }

    fn version(environment: &str, version: u8, wanted: Option<u8>) -> NodeVersion {
        let id = |byte: u8| format!("{byte:02x}").repeat(32).parse().unwrap();
        NodeVersion {
            app: "shop".parse().unwrap(),
            environment: environment.parse().unwrap(),
            version: Some(id(version)),
            wanted: wanted.map(id),
        }
    }

    #[test]
    fn a_line_of_a_node_has_its_state_its_version_and_what_is_unusual() {
        let line = |node: &NodeStatus| summary(Style::of(&BTreeMap::new(), false), node, &"prod".parse().unwrap());
        let mut ready = node(NodeState::Ready, vec![version("prod", 0x4f, None)]);
        assert_eq!(line(&ready), "edge-1  ready  4f4f4f4f4f4f  release 1.2.3");
        ready.cache = Some(NodeCache { bytes: None, bytes_max: 50 << 30 });
        ready.lag = Some(2);
        ready.certificate_ends_s = Some(1_800_000_000);
        let text = line(&ready);
        for part in ["2 revisions behind", "cache not counted yet of ", "certificate until 2027-01-15"] {
            assert!(text.contains(part), "{text}");
        }
        let behind = node(NodeState::Ready, vec![version("prod", 0x4f, Some(0x5a))]);
        assert_eq!(line(&behind), "edge-1  ready  4f4f4f4f4f4f, not yet 5a5a5a5a5a5a  release 1.2.3");
        assert_eq!(line(&node(NodeState::Unreachable, Vec::new())), "edge-1  unreachable  release 1.2.3");
        assert_eq!(line(&node(NodeState::Cut, Vec::new())), "edge-1  cut off  nothing  release 1.2.3");
    }

    #[test]
    fn environments_that_are_behind_are_listed_up_to_a_bound() {
        let versions: Vec<NodeVersion> = (0..8).map(|number| version(&format!("e-{number}"), 1, Some(2))).collect();
        let lines = behind(versions.iter());
        assert_eq!(lines.len(), BEHIND_SHOWN_MAX + 1);
        assert_eq!(lines[0], "shop e-0 serves 010101010101 and not 020202020202");
        assert_eq!(lines[BEHIND_SHOWN_MAX], "and 3 more");
        assert!(behind([version("prod", 1, None)].iter()).is_empty());
    }
}
