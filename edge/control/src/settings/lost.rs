//! Secrets without their key, for example after a restore without the key file: instances of these environments cannot
//! start.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use devanture_config::api::SettingName;
use devanture_config::text::counted;
use devanture_config::{AppName, PlaceName};
use tokio::time::{MissedTickBehavior, interval};

use super::Settings;
use super::keys::{KeyFile, Keys};
use devanture_base::telemetry::Gauges;
use devanture_store::catalog::{self, Catalog};
use devanture_store::records::settings::{self, SETTINGS_PREFIX, StoredValue};

/// Interval of checks of the key file, and of retries for environments with lost secrets.
const LOOK: Duration = Duration::from_secs(2);
/// Number of records per listing.
const PAGE: usize = 50;
/// Remedy for lost secrets.
pub(crate) const REMEDY: &str = "restore the key file, or set them again";

/// Environment with secrets that cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LostSecrets {
    /// The app.
    pub app: AppName,
    /// The environment, or `preview`.
    pub environment: PlaceName,
    /// Names of the secrets.
    pub names: Vec<SettingName>,
}

impl LostSecrets {
    /// Returns a sentence for operators without names of secrets.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { app, environment, names } = self;
        let lack = if names.len() == 1 { "lacks its key" } else { "lack their key" };
        let secrets = counted(names.len(), "secret");
        format!("{secrets} of {app} in {environment} {lack}, so that no instance starts there: {REMEDY}")
    }
}

/// Lists the environments with secrets that cannot be opened, by app and name. Unreadable records are logged.
///
/// # Errors
/// Errors of the catalog.
pub async fn lost_secrets(catalog: &dyn Catalog, key_file: &KeyFile) -> Result<Vec<LostSecrets>, catalog::Error> {
    let mut places: BTreeSet<(AppName, PlaceName)> = BTreeSet::new();
    let mut after: Option<String> = None;
    loop {
        let page = catalog.list(SETTINGS_PREFIX, after.as_deref(), false, PAGE).await?;
        for (key, _) in &page {
            let mut parts = key.split('/').skip(1);
            if let (Some(Ok(app)), Some(Ok(place))) = (parts.next().map(str::parse), parts.next().map(str::parse)) {
                places.insert((app, place));
            }
        }
        match page.last() {
            Some((key, _)) if page.len() == PAGE => after = Some(key.clone()),
            _ => break,
        }
    }
    let keys = key_file.read();
    let lost = lost_among(catalog, keys.as_ref().ok(), places).await;
    if let (Err(error), false) = (&keys, lost.is_empty()) {
        let hint = error.0.hint.as_deref().unwrap_or_default();
        tracing::error!(%error, hint, "the keys of secrets cannot be read");
    }
    Ok(lost)
}

/// Returns the lost secrets among `places`; without keys, all secrets are lost.
async fn lost_among(
    catalog: &dyn Catalog,
    keys: Option<&Keys>,
    places: BTreeSet<(AppName, PlaceName)>,
) -> Vec<LostSecrets> {
    let mut lost = Vec::new();
    for (app, environment) in places {
        let held = match settings::held(catalog, &app, &environment).await {
            Ok(held) => held,
            Err(error) => {
                tracing::error!(%app, %environment, %error, "settings cannot be read");
                continue;
            }
        };
        let is_lost = |value: &StoredValue| match value {
            StoredValue::Secret(sealed) => !keys.is_some_and(|keys| keys.has(&sealed.key)),
            StoredValue::Plain { .. } => false,
        };
        let of_place = held.record.settings.into_iter().filter(|(_, setting)| is_lost(&setting.value));
        let names: Vec<SettingName> = of_place.map(|(name, _)| name).collect();
        if !names.is_empty() {
            lost.push(LostSecrets { app, environment, names });
        }
    }
    lost
}

impl Settings {
    /// Finds secrets that cannot be opened, and logs newly lost secrets. The edge continues to serve.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub async fn check_secrets(&self) -> Result<(), catalog::Error> {
        let lost = lost_secrets(&*self.ledger.catalog, &self.keys).await?;
        let before = self.lost_secrets.swap(Arc::new(lost.clone()));
        for one in lost.iter().filter(|one| !before.contains(one)) {
            let names: Vec<&str> = one.names.iter().map(SettingName::as_str).collect();
            let (app, environment, names) = (&one.app, &one.environment, names.join(", "));
            tracing::error!(%app, %environment, names, "the key of these secrets is not at hand: {REMEDY}");
        }
        Ok(())
    }

    /// Checks all environments after each change of the key file. In between, checks only environments with lost
    /// secrets, because the secrets may be set again. Runs forever.
    pub async fn keep_checking_secrets(self: Arc<Self>) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.keys.state();
        loop {
            ticks.tick().await;
            let now = self.keys.state();
            if now != seen {
                seen = now;
                if let Err(error) = self.check_secrets().await {
                    tracing::warn!(%error, "it is not known whether all secrets open");
                }
                continue;
            }
            let before = self.lost_secrets.load_full();
            if before.is_empty() {
                continue;
            }
            let places: BTreeSet<_> = before.iter().map(|one| (one.app.clone(), one.environment.clone())).collect();
            let lost = lost_among(&*self.ledger.catalog, self.keys.read().as_ref().ok(), places).await;
            if lost.is_empty() {
                tracing::info!("all secrets open again");
            }
            self.lost_secrets.store(Arc::new(lost));
        }
    }

    /// Returns the environments with lost secrets, as of the latest scan.
    #[must_use]
    pub fn lost_secrets(&self) -> Arc<Vec<LostSecrets>> {
        self.lost_secrets.load_full()
    }

    /// Adds metrics of the lost secrets.
    pub fn add_secret_metrics(&self, gauges: &mut Gauges) {
        for LostSecrets { app, environment, names } in self.lost_secrets().iter() {
            #[expect(clippy::cast_precision_loss, reason = "no environment has as many secrets")]
            gauges.add_problem("devanture_lost_secrets", (app.as_str(), environment.as_str()), names.len() as f64);
        }
    }
}

impl KeyFile {
    /// Returns a value that changes with the available or requested keys: the number of uses, and the time, length and
    /// mode of the file.
    fn state(&self) -> (u64, Option<(Option<SystemTime>, u64, u32)>) {
        use std::os::unix::fs::PermissionsExt as _;
        let metadata = self.path().ok().and_then(|path| std::fs::metadata(path).ok());
        let file = metadata.map(|file| (file.modified().ok(), file.len(), file.permissions().mode()));
        (self.uses.load(Ordering::Relaxed), file)
    }
}
