//! Follows the public settings of environments and previews.

use std::collections::BTreeSet;
use std::sync::Arc;

use devanture_config::{AppName, PlaceName};

use super::follow::Follower;
use super::follow::Reading;
use super::settings::PublicSettings;
use super::{CurrentSettings, Loader, Place};
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{self, Record, Revision};
use devanture_store::records::{self, settings};

/// The environment with the settings of previews and aliases.
const PREVIEW: &str = "preview";

impl Loader {
    /// The settings that a live pointer names; the place's present settings if equal.
    pub(super) async fn own_settings(&self, place: &Place, revision: u64) -> CurrentSettings {
        let before = match place.current().map(|current| current.settings.clone()) {
            Some(CurrentSettings::Own(before)) => before,
            _ => PublicSettings::none(),
        };
        if before.revision == revision {
            return CurrentSettings::Own(before);
        }
        let found = settings::at(&**self.catalog(), &place.app, &place.name, revision).await;
        CurrentSettings::Own(match found {
            Ok(Some((record, _))) => Arc::new(PublicSettings::of(revision, &record)),
            Ok(None) => {
                tracing::error!(app = %place.app, environment = %place.name, revision, "settings are gone: those before stay");
                before
            }
            Err(error) => {
                tracing::error!(app = %place.app, environment = %place.name, revision, %error, "settings cannot be read: those before stay");
                before
            }
        })
    }
}

impl Follower {
    /// Reads the public settings of the previews of all apps. Returns the commit that wrote the newest settings.
    pub(super) async fn read_all_preview_settings(
        &self,
        reading: Reading,
        apps: &[(String, Record)],
    ) -> Result<Revision, catalog::Error> {
        let apps = match reading {
            // Most apps have no settings for previews, and a lookup for each of thousands of apps takes long.
            Reading::First => self.apps_with_preview_settings().await?,
            Reading::Again => {
                let app = |(key, _): &(String, Record)| key.strip_prefix(records::APPS_PREFIX)?.parse().ok();
                apps.iter().filter_map(app).collect()
            }
        };
        let mut revision = 0;
        for app in apps {
            match self.read_preview_settings(&app).await {
                Ok(read) => revision = revision.max(read),
                Err(error) => tracing::error!(app = %app, %error, "the settings of previews cannot be read"),
            }
        }
        Ok(revision)
    }

    /// The apps with settings for their previews, or with an environment `preview`.
    async fn apps_with_preview_settings(&self) -> Result<BTreeSet<AppName>, catalog::Error> {
        let mut apps = BTreeSet::new();
        for prefix in [settings::SETTINGS_PREFIX, records::LIVE_PREFIX] {
            let mut found = Scan::new(&**self.loader.catalog(), prefix);
            while let Some((key, _)) = found.next().await? {
                let mut parts = key.split('/').skip(1);
                if let (Some(Ok(app)), Some(PREVIEW)) = (parts.next().map(str::parse), parts.next()) {
                    apps.insert(app);
                }
            }
        }
        Ok(apps)
    }

    /// Follows the public settings of an app's previews: `settings/{app}/preview/{revision}` and `live/{app}/preview`.
    pub(super) async fn follow_preview_settings(&self, key: &str) {
        let mut parts = key.split('/').skip(1);
        if let (Some(Ok(app)), Some(PREVIEW)) = (parts.next().map(str::parse::<AppName>), parts.next())
            && let Err(error) = self.read_preview_settings(&app).await
        {
            tracing::error!(app = %app, %error, "the settings of previews cannot be read: those before stay");
        }
    }

    /// Reads the public settings of an app's previews. Returns the commit that wrote the newest settings.
    pub(super) async fn read_preview_settings(&self, app: &AppName) -> Result<Revision, catalog::Error> {
        let Ok(preview) = PREVIEW.parse::<PlaceName>() else { return Ok(0) };
        let held = settings::held(&**self.loader.catalog(), app, &preview).await?;
        let settings = PublicSettings::of(held.revision, &held.record);
        self.live.preview_settings(app).store(Arc::new(settings));
        Ok(held.written)
    }
}
