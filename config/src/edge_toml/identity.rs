//! Name and address of a node, from the environment if several nodes share one `edge.toml`.

use std::net::{IpAddr, SocketAddr};

use super::{EdgeFile, root_table};
use crate::parsing::Mistakes;
use crate::parsing::reader::{Reader, Table};

/// Environment variable with the name of the node; overrides `node`.
pub const NODE_VARIABLE: &str = "DEVANTURE_EDGE_NODE";
/// Environment variable with the node's address for other nodes; overrides `cluster.advertise`.
pub const ADVERTISE_VARIABLE: &str = "DEVANTURE_EDGE_ADVERTISE";
/// Port of [`ADVERTISE_VARIABLE`] without a port.
pub const NODES_PORT: u16 = 8445;

/// Unchecked values of the environment that override keys of `edge.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeIdentity {
    /// Replaces `node`.
    pub node: Option<String>,
    /// Replaces `cluster.advertise`: an address with a port, or an address alone for port [`NODES_PORT`].
    pub advertise: Option<String>,
}

impl NodeIdentity {
    /// Reads both variables through `variable`; an empty variable counts as unset.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let value = |name| variable(name).filter(|value| !value.is_empty());
        Self { node: value(NODE_VARIABLE), advertise: value(ADVERTISE_VARIABLE) }
    }

    /// Returns the address of [`ADVERTISE_VARIABLE`], if set; an error is reported at `table`.
    pub(super) fn address(&self, table: &Table<'_, '_>) -> Option<SocketAddr> {
        let text = self.advertise.as_deref()?;
        let alone = || text.parse().map(|address: IpAddr| SocketAddr::new(address, NODES_PORT));
        let address = text.parse().or_else(|_with_port| alone());
        if address.is_err() {
            let message = format!("{ADVERTISE_VARIABLE}: `{text}` is not an address");
            table.mistake("advertise", message, Some("write 10.0.0.21 or 10.0.0.21:8445"));
        }
        address.ok()
    }
}

impl EdgeFile {
    /// Parses `text` without overrides; `file` is the name in errors.
    ///
    /// # Errors
    /// All mistakes of the file.
    pub fn parse(file: &str, text: &str) -> Result<Self, Mistakes> {
        Self::parse_for(&NodeIdentity::default(), file, text)
    }

    /// Parses `text` for one of several nodes.
    ///
    /// # Errors
    /// All mistakes of the file and of the identity.
    pub fn parse_for(identity: &NodeIdentity, file: &str, text: &str) -> Result<Self, Mistakes> {
        let reader = Reader::new(file, text);
        let document = reader.document();
        let root = reader.table(document.get_ref(), 0..0, "");
        let parsed = root_table(&root, identity);
        root.finish();
        drop(root);
        drop(document);
        reader.finish(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::LEAST;
    use super::*;

    /// Returns the keys common to all nodes, without names and addresses.
    fn shared() -> String {
        let stores = "[catalog]\nkind = \"etcd\"\nendpoints = [\"https://10.0.0.11:2379\"]\n\
                      [blobs]\nkind = \"s3\"\nbucket = \"www\"\n[cluster]\n";
        format!("{LEAST}{stores}")
    }

    fn parsed(node: &str, advertise: &str, text: &str) -> Result<EdgeFile, String> {
        let identity =
            NodeIdentity::from_variables(|name| Some(if name == NODE_VARIABLE { node } else { advertise }.to_owned()));
        EdgeFile::parse_for(&identity, "edge.toml", text).map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn nodes_share_a_file_that_names_none_of_them() {
        for (address, advertised) in [
            ("10.0.0.21", "10.0.0.21:8445"),
            ("10.0.0.21:9445", "10.0.0.21:9445"),
            ("fd00::21", "[fd00::21]:8445"),
            ("[fd00::21]:9445", "[fd00::21]:9445"),
        ] {
            let edge = parsed("edge-2", address, &shared()).unwrap();
            let cluster = edge.cluster.unwrap();
            assert_eq!((edge.node.as_str(), cluster.advertise.to_string().as_str()), ("edge-2", advertised));
            assert_eq!(cluster.listen, cluster.advertise);
        }
    }

    #[test]
    fn the_environment_overrides_the_file_and_an_empty_variable_does_not() {
        let text = format!("node = \"edge-1\"\n{}advertise = \"10.0.0.11:8445\"\n", shared());
        let named = |node, address| {
            let edge = parsed(node, address, &text).unwrap();
            (edge.node, edge.cluster.unwrap().advertise.to_string())
        };
        assert_eq!(named("edge-2", "10.0.0.21"), ("edge-2".to_owned(), "10.0.0.21:8445".to_owned()));
        assert_eq!(named("", ""), ("edge-1".to_owned(), "10.0.0.11:8445".to_owned()));
    }

    #[test]
    fn bad_values_are_reported_with_the_mistakes_of_the_file() {
        let mistakes = parsed("no name", "edge-2:8445", &shared()).unwrap_err();
        assert!(mistakes.contains("`node` must be") && mistakes.contains(ADVERTISE_VARIABLE), "{mistakes}");
        let mistakes = parsed("edge-2", "0.0.0.0", &shared()).unwrap_err();
        assert!(mistakes.contains("cannot reach 0.0.0.0:8445"), "{mistakes}");
        let mistakes = parsed("", "", &shared()).unwrap_err();
        assert!(mistakes.contains("has no name") && mistakes.contains("`cluster.advertise` is missing"), "{mistakes}");
    }
}
