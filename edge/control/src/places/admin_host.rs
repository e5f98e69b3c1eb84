//! Hostnames at which the admin listener keeps sessions of browsers: those that no app has, nor may come to have.

use super::Places;

impl Places {
    /// Whether an app has `host`, a name in lower case, or may come to have it although the operator gave it to none.
    /// Below the edge's domains that is every name but one that stands directly below `domain` and is reserved, or one
    /// of `names.admin`.
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
