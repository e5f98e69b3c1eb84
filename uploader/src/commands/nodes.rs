//! `nodes`: the nodes of the edge, and the live versions on each.

use devanture_config::api::{NodeList, NodeStatus};
use reqwest::Method;

use crate::context::Context;
use crate::edge::client::{ANSWER_TIME_MAX, Link};
use crate::output::exit::Failure;
use crate::output::node_lines;
use crate::output::progress::Style;
use crate::output::report::time_text;

impl Link {
    async fn nodes(&self) -> Result<NodeList, Failure> {
        let request = || self.request_at(Method::GET, &["nodes"], &[]).timeout(ANSWER_TIME_MAX);
        self.repeated(request).await
    }
}

/// `nodes`.
///
/// # Errors
/// The error of the edge.
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
        lines.extend(node_lines::behind(node.versions.iter()).into_iter().map(|text| format!("    {text}")));
    }
    lines
}

/// Returns the name, state, release and address.
fn columns(node: &NodeStatus) -> [String; 4] {
    [
        node.name.clone(),
        node_lines::state_text(node.state).to_owned(),
        node.release.clone(),
        node.advertise.clone().unwrap_or_else(|| "alone".to_owned()),
    ]
}

fn notes(node: &NodeStatus) -> String {
    let mut notes = vec![format!("runs since {}", time_text(node.started_ms))];
    notes.extend(node_lines::notes_of(node));
    notes.join(", ")
}
