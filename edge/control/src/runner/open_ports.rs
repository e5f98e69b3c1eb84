//! Instances that listen on all addresses of their machine, where other machines reach them past the edge: past its
//! protection of previews, its limits and its fields.

use devanture_config::AppName;

use super::handle::Runner;

/// Says what to do about one.
pub const LISTEN_ON_HOST: &str = "have it listen on HOST, which is 127.0.0.1, or write listen = \"socket\" below \
                                         [server] in devanture.toml";

/// An instance that listens on all addresses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenPort {
    /// Its app.
    pub app: AppName,
    /// Its environment or alias, or `preview`.
    pub place: String,
    /// Its node and its name, such as `edge-1/web.1`.
    pub instance: String,
}

impl OpenPort {
    /// A sentence for operators, without what to do.
    pub(crate) fn sentence(&self) -> String {
        let Self { app, place, instance } = self;
        format!("{instance} of {app} in {place} listens on all addresses of the machine, past the edge")
    }
}

impl Runner {
    /// All of them that run on this node, by app, place and name.
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
