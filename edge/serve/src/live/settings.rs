//! Public settings of an environment for its frontend: prepared once per revision.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use devanture_config::AppName;
use devanture_config::api::SettingName;
use http::HeaderValue;

use super::Live;
use devanture_store::records::settings::{SettingsRecord, StoredValue};

/// Hex characters of a hash in an entity tag: 128 bits.
const ETAG_CHARACTERS: usize = 32;

/// The public settings of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicSettings {
    /// The revision.
    pub revision: u64,
    /// A flat JSON object of texts.
    pub body: Bytes,
    /// Strong entity tag, with quotes.
    pub etag: String,
    /// `ETag` value of `etag`.
    pub etag_value: HeaderValue,
}

impl PublicSettings {
    /// The settings of an environment without public settings, the usual case: one value for all.
    pub(super) fn none() -> Arc<Self> {
        static NONE: LazyLock<Arc<PublicSettings>> = LazyLock::new(Arc::default);
        Arc::clone(&NONE)
    }

    /// The public settings in `record`, of the given revision.
    pub fn of(revision: u64, record: &SettingsRecord) -> Self {
        let public = record.settings.iter().filter_map(|(name, setting)| match &setting.value {
            StoredValue::Plain { value, public: true } => Some((name, value.as_str())),
            StoredValue::Plain { public: false, .. } | StoredValue::Secret(_) => None,
        });
        let public: BTreeMap<&SettingName, &str> = public.collect();
        let body = Bytes::from(serde_json::to_vec(&public).unwrap_or_else(|_| b"{}".to_vec()));
        let hex = blake3::hash(&body).to_hex();
        let etag = format!("\"{}\"", hex.get(..ETAG_CHARACTERS).unwrap_or_default());
        let etag_value = HeaderValue::from_str(&etag).unwrap_or_else(|_| HeaderValue::from_static("\"\""));
        Self { revision, body, etag, etag_value }
    }
}

impl Default for PublicSettings {
    fn default() -> Self {
        Self::of(0, &SettingsRecord::default())
    }
}

/// Settings shared by all previews of an app.
pub(super) type SharedSettings = Arc<ArcSwap<PublicSettings>>;

/// Source of the settings of a live version.
#[derive(Clone)]
pub enum CurrentSettings {
    /// Settings of the environment, in the revision that the live pointer names.
    Own(Arc<PublicSettings>),
    /// Settings of the environment named `preview`: a preview has no settings of its own, and never gets another
    /// environment's.
    Preview(SharedSettings),
}

impl Default for CurrentSettings {
    fn default() -> Self {
        Self::Own(PublicSettings::none())
    }
}

impl CurrentSettings {
    /// The settings; a request calls the function once.
    #[must_use]
    pub fn load(&self) -> Arc<PublicSettings> {
        match self {
            Self::Own(settings) => Arc::clone(settings),
            Self::Preview(shared) => shared.load_full(),
        }
    }
}

impl Live {
    /// The settings of an app's previews: a handle valid for as long as the edge runs.
    pub(super) fn preview_settings(&self, app: &AppName) -> SharedSettings {
        let known = self.0.preview_settings.read().get(app).cloned();
        known.unwrap_or_else(|| {
            let mut all = self.0.preview_settings.write();
            Arc::clone(all.entry(app.clone()).or_default())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_store::records::settings::{Sealed, StoredSetting};

    #[test]
    fn only_what_is_public_is_shown() {
        let setting = |value| StoredSetting { value, revision: 1, who: "me".to_owned(), at_ms: 1, development: false };
        let plain = |value: &str, public| setting(StoredValue::Plain { value: value.to_owned(), public });
        let mut record = SettingsRecord::default();
        let sealed = Sealed { key: String::new(), sealed: "c2VjcmV0".to_owned() };
        for (name, value) in [
            ("SHOWN", plain("a \"b\"\n</script>", true)),
            ("HIDDEN", plain("hidden", false)),
            ("SECRET", setting(StoredValue::Secret(sealed))),
        ] {
            record.settings.insert(name.parse().unwrap(), value);
        }
        let shown = PublicSettings::of(3, &record);
        let expected = serde_json::json!({ "SHOWN": "a \"b\"\n</script>" });
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&shown.body).unwrap(), expected);
        assert_eq!(PublicSettings::default().body, "{}");
        // The tag depends on the bytes alone: a revision with equal public settings has the same tag.
        record.settings.remove(&"HIDDEN".parse().unwrap());
        assert_eq!(PublicSettings::of(4, &record).etag, shown.etag);
        assert_ne!(PublicSettings::default().etag, shown.etag);
    }
}
