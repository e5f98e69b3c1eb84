//! `nodes`: the nodes of the edge, and what is live on each.

use devanture_config::api::{NodeList, NodeState, NodeStatus};
use reqwest::Method;

use crate::context::Context;
use crate::edge::client::{ANSWER_TIME_MAX, Link};
use crate::output::exit::Failure;
use crate::output::progress::Style;
use crate::output::report::{counted, time_text};

/// Versions that a node lacks and that are named.
const BEHIND_SHOWN_MAX: usize = 5;

impl Link {
    async fn nodes(&self) -> Result<NodeList, Failure> {
        let request = || self.request_at(Method::GET, &["nodes"], &[]).timeout(ANSWER_TIME_MAX);
        self.repeated(request).await
    }
}

/// `nodes`.
///
/// # Errors
/// As the edge says.
pub(crate) async fn nodes(context: &Context) -> Result<(), Failure> {
    let list = context.link()?.nodes().await?;
    context.output.write(&list, || lines(context.output.style, &list));
    Ok(())
}

fn lines(style: Style, list: &NodeList) -> Vec<String> {
    let rows: Vec<[String; 4]> = list.nodes.iter().map(columns).collect();
    let mut widths = [0_usize; 4];
    for row in &rows {
        for (width, column) in widths.iter_mut().zip(row) {
            *width = (*width).max(column.chars().count());
        }
    }
    let mut lines = Vec::new();
    for (node, row) in list.nodes.iter().zip(&rows) {
        let columns = row.iter().zip(widths);
        let columns: Vec<String> = columns.map(|(column, width)| format!("{column:<width$}")).collect();
        let line = format!("  {}  {}", columns.join("  "), style.dim(&notes(node)));
        lines.push(line.trim_end().to_owned());
        lines.extend(behind(node).into_iter().map(|text| format!("    {text}")));
    }
    lines
}

/// Its name, state, release and address.
fn columns(node: &NodeStatus) -> [String; 4] {
    let state = match node.state {
        NodeState::Ready => "ready",
        NodeState::Cut => "cut off",
        NodeState::Unreachable => "unreachable",
    };
    [
        node.name.clone(),
        state.to_owned(),
        node.release.clone(),
        node.advertise.clone().unwrap_or_else(|| "alone".to_owned()),
    ]
}

fn notes(node: &NodeStatus) -> String {
    let mut notes = vec![format!("runs since {}", time_text(node.started_ms))];
    if let (NodeState::Cut, Some(age_ms)) = (node.state, node.catalog_age_ms) {
        notes.push(format!("cut off for {}", counted(age_ms / 1_000, "second")));
    }
    if let Some(lag) = node.lag.filter(|lag| *lag > 0) {
        notes.push(format!("{} behind", counted(lag, "revision")));
    }
    notes.extend(node.detail.clone());
    notes.join(", ")
}

/// The environments in which a node serves another version than the one that is to be live.
fn behind(node: &NodeStatus) -> Vec<String> {
    let all: Vec<String> = node
        .versions
        .iter()
        .filter_map(|live| {
            let wanted = live.wanted?.short();
            let serves = live.version.map_or_else(|| "nothing".to_owned(), |version| version.short());
            Some(format!("{} {} serves {serves} and not {wanted}", live.app, live.environment))
        })
        .collect();
    let more = all.len().saturating_sub(BEHIND_SHOWN_MAX);
    let shown = all.into_iter().take(BEHIND_SHOWN_MAX);
    shown.chain((more > 0).then(|| format!("and {more} more"))).collect()
}
