//! Hostnames for browser sessions on the admin listener: names that no app has or can get.

use super::Places;

impl Places {
    /// Returns true if an app has `host`, a lower-case name, or can get `host` without a grant by the operator. Below
    /// the edge's domains, only two kinds of names are exempt: reserved names directly below `domain`, and names in
    /// `names.admin`.
    #[must_use]
    pub fn may_be_an_apps(&self, host: &str) -> bool {
        let live = &self.ledger.live;
        let domains = live.domains();
        let is_reserved = || {
            let app = domains.app_at(host).filter(|_| !domains.is_above_previews(host));
            let is_admins = || host.parse().is_ok_and(|host| self.names.admin_name(&host).is_some());
            app.is_some_and(|app| self.names.is_reserved(&app) || is_admins())
        };
        live.has_owner(host) || domains.is_below_one(host) && !is_reserved()
    }
}
