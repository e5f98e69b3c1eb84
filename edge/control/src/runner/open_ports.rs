//! Instances that listen on all addresses of the machine, reachable from other machines without the edge's preview
//! protection, limits and header fields.

use devanture_config::AppName;

use super::handle::Runner;

/// Remedy for an open port.
pub const LISTEN_ON_HOST: &str = "have it listen on HOST, which is 127.0.0.1, or write listen = \"socket\" below \
                                         [server] in devanture.toml";

/// Instance that listens on all addresses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenPort {
    /// App.
    pub app: AppName,
    /// Environment or alias, or `preview`.
    pub place: String,
    /// Node and name, for example `edge-1/web.1`.
    pub instance: String,
}

impl OpenPort {
    /// Returns a sentence for operators, without the remedy.
    pub(crate) fn sentence(&self) -> String {
        let Self { app, place, instance } = self;
        format!("{instance} of {app} in {place} listens on all addresses of the machine, past the edge")
    }
}

impl Runner {
    /// Returns the open instances of the node, by app, environment and name.
    #[must_use]
    pub fn open_ports(&self) -> Vec<OpenPort> {
        let mut found = Vec::new();
        for group in self.0.all_groups() {
            let open = |name: &str| OpenPort {
                app: group.id.app.clone(),
                place: group.id.place.clone(),
                instance: format!("{}/{name}", self.0.node),
            };
            found.extend(group.inner().slots.iter().filter(|slot| slot.seen().is_open).map(|slot| open(&slot.name)));
        }
        found.sort_unstable();
        found
    }
}
