//! Settings marked for development: `devanture dev` reads the values, including secrets.

use devanture_config::api::DevelopmentSettings;
use devanture_config::{AppName, PlaceName};

use super::Settings;
use super::opened;
use crate::ledger::{Action, Actor, AuditEvent, Error};
use devanture_store::records::settings;

impl Settings {
    /// Returns the values of the settings marked for development. The audit log records the read before the values are
    /// opened.
    ///
    /// # Errors
    /// `not_found` for an unknown app; `secrets_locked`; `conflict` if the read could not be recorded.
    pub(crate) async fn development_settings(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
    ) -> Result<DevelopmentSettings, Error> {
        self.ledger.must_exist(app).await?;
        let held = settings::held(&*self.ledger.catalog, app, environment).await?;
        let (revision, mut record) = (held.revision, held.record);
        record.settings.retain(|_, setting| setting.development);
        if !record.settings.is_empty() {
            let names: Vec<&str> = record.settings.keys().map(|name| name.as_str()).collect();
            let event = AuditEvent::of(Action::ReadSettings).place(app, environment).what(names.join(" "));
            self.ledger.record(actor, event).await?;
        }
        let opened = opened(record, &self.keys, app, environment)?;
        let settings = opened.into_iter().map(|(name, value)| (name, value.expose().to_owned())).collect();
        Ok(DevelopmentSettings { app: app.clone(), environment: environment.clone(), revision, settings })
    }
}
