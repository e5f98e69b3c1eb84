//! `status`: the live version of an environment, and of each node of a cluster.

use devanture_config::api::{KeptReach, NodeVersion, Protection, Signed, Status};
use devanture_config::text::counted;

use super::suggest;
use crate::context::Context;
use crate::output::exit::Failure;
use crate::output::node_lines;
use crate::output::progress::Style;
use crate::output::status_lines::status_lines;
use crate::output::terminal::escaped;

/// The line of a backend that is not run, with the remedy.
const RUNNER_OFF: &str =
    "this version has a backend, and this edge has no [runner]: write enabled = true below [runner] in its edge.toml";

/// The remark about instances that listen on all addresses.
const LISTENS_EVERYWHERE: &str = "on all addresses of the machine, where others reach it past the edge: have it listen \
                                  on HOST, which is 127.0.0.1, or write listen = \"socket\" below [server]";

/// The remark about private addresses without the approval of an admin of every app, before the line to add.
const REACHES: &str = "private addresses take an admin of every app now; the next push is refused without this line \
                       below [upstreams] in edge.toml:";

/// `status`.
///
/// # Errors
/// The error of the edge.
pub(crate) async fn status(context: &Context) -> Result<(), Failure> {
    let status = context.edge()?.status(&context.place()?).await?;
    if status.version.is_none() {
        suggest::note_place_missing_in(context, &status);
    }
    context.output.write(&status, || lines(context.output.style, &status));
    Ok(())
}

/// Returns the signers of the live version, if the environment requires signatures.
fn signed_text(style: Style, signed: &Signed) -> String {
    let by = match signed.signed_by.as_slice() {
        [] => "by nobody".to_owned(),
        names => format!("by {}", names.iter().map(|name| escaped(name)).collect::<Vec<_>>().join(", ")),
    };
    match signed.is_enough {
        true => by,
        false => style.bad(&format!("{by}; {} wanted, and it stays live", counted(signed.signatures_min, "signature"))),
    }
}

fn lines(style: Style, status: &Status) -> Vec<String> {
    let mut lines = status_lines(style, status);
    if status.runner_off {
        lines.push(style.line("backend", &style.bad(RUNNER_OFF)));
    }
    if !status.open_ports.is_empty() {
        let text = format!("{} {LISTENS_EVERYWHERE}", escaped(&status.open_ports.join(", ")));
        lines.push(style.line("listens", &style.bad(&text)));
    }
    if let Some(mistake) = &status.mistake {
        let text = format!("{}; what is bad answers 502: push the mended bundle", escaped(mistake));
        lines.push(style.line("mistake", &style.bad(&text)));
    }
    if let Some(KeptReach { addresses, allow, webhooks }) = &status.kept_reach {
        let names: Vec<String> = webhooks.iter().map(|name| format!("webhook {name}")).collect();
        let by = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
        let text = format!("{}{by}: {REACHES} {allow}", addresses.join(", "));
        lines.push(style.line("reaches", &style.bad(&escaped(&text))));
    }
    let protected = |mode: &Protection| style.line("protected", &format!("{mode} (devanture protect)"));
    lines.extend(status.protection.as_ref().map(protected));
    lines.extend(status.signed.as_ref().map(|signed| style.line("signed", &signed_text(style, signed))));
    for node in &status.nodes {
        lines.push(style.line("node", &node_lines::summary(style, node, &status.environment)));
        // The version of this environment is in the summary.
        let elsewhere = |version: &&NodeVersion| version.environment != status.environment;
        let behind = node_lines::behind(node.versions.iter().filter(elsewhere));
        lines.extend(behind.into_iter().map(|text| style.line("", &text)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn private_addresses_that_nobody_vouches_for_are_named_with_the_line_to_add() {
        let status = |more: serde_json::Value| -> Status {
            let mut status = serde_json::json!({ "app": "shop", "environment": "prod" });
            status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(status).unwrap()
        };
        let text = |more| lines(Style::of(&BTreeMap::new(), false), &status(more)).join("\n");
        let kept = serde_json::json!({ "addresses": ["10.0.0.5"], "allow": "allow = [\"10.0.0.5\"]" });
        let found = text(serde_json::json!({ "kept_reach": kept }));
        for part in ["10.0.0.5: private addresses", "below [upstreams] in edge.toml: allow = [\"10.0.0.5\"]"] {
            assert!(found.contains(part), "{part}: {found}");
        }
        let kept = serde_json::json!({ "addresses": ["10.0.0.5"], "allow": "allow = []", "webhooks": ["chat"] });
        let found = text(serde_json::json!({ "kept_reach": kept }));
        assert!(found.contains("10.0.0.5 (webhook chat): private addresses"), "{found}");
        assert!(!text(serde_json::json!({})).contains("reaches"));
    }

    #[test]
    fn an_instance_that_listens_on_all_addresses_is_named_with_what_to_do() {
        let text = |open: &[&str]| {
            let status = serde_json::json!({ "app": "shop", "environment": "prod", "open_ports": open });
            lines(Style::of(&BTreeMap::new(), false), &serde_json::from_value(status).unwrap()).join("\n")
        };
        let found = text(&["edge-1/web.1", "edge-1/web.2"]);
        for part in ["listens", "edge-1/web.1, edge-1/web.2 on all addresses", "on HOST, which is 127.0.0.1"] {
            assert!(found.contains(part), "{part}: {found}");
        }
        assert!(!text(&[]).contains("listens"));
    }

    #[test]
    fn a_backend_that_does_not_run_is_named_with_what_to_do() {
        let status = |runner_off: bool| -> Status {
            let status = serde_json::json!({ "app": "shop", "environment": "prod", "runner_off": runner_off });
            serde_json::from_value(status).unwrap()
        };
        let text = |runner_off| lines(Style::of(&BTreeMap::new(), false), &status(runner_off)).join("\n");
        assert!(text(true).contains("this version has a backend, and this edge has no [runner]"), "{}", text(true));
        assert!(text(true).contains("enabled = true"));
        assert!(!text(false).contains("backend"), "{}", text(false));
    }
}
