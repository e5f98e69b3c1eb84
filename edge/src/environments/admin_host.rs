//! Hostnames at which the admin listener keeps sessions of browsers: those that no app has, nor may come to have.

use super::Environments;

impl Environments {
    /// Whether an app has `host`, a name in lower case, or may come to have it although the operator gave it to none. Below the
    /// edge's domains that is every name but one that is reserved, which stands directly below `domain`.
    #[must_use]
    pub fn may_be_an_apps(&self, host: &str) -> bool {
        let live = &self.ledger.live;
        let domains = live.domains();
        let is_reserved = || {
            let app = domains.app_at(host).filter(|_| !domains.is_above_previews(host));
            app.is_some_and(|app| self.names.is_reserved(&app))
        };
        live.has_owner(host) || domains.is_below_one(host) && !is_reserved()
    }
}
