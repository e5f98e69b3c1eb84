//! Protection of environments and previews, and the share links that open protected content, as recorded in the
//! catalog.
//!
//! Content with an unreadable protection record is shown to no visitor.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use devanture_config::api::{Protection, ShareTarget};
use devanture_config::{AppName, PlaceName};
use parking_lot::RwLock;

use super::host::is_short_id;
use super::{Follower, Live, Place};
use crate::version::Setting;
use devanture_base::clock;
use devanture_store::catalog::{Record, Revision};
use devanture_store::records;
use devanture_store::records::protection::{
    KEY, PASSWORD, PROTECTION_PREFIX, ProtectionRecord, SHARES_PREFIX, ShareRecord, named, protection_context,
    share_context,
};
use devanture_store::records::settings::Sealed;

/// The name under which the previews of an app are protected.
const PREVIEW: &str = "preview";

/// A secret that signs cookies, once unsealed.
type CookieKey = OnceLock<[u8; 32]>;

/// The protection of an environment, or of the previews of an app; absent for public content.
pub struct Restriction {
    /// The app.
    pub app: AppName,
    /// The environment; `preview` for previews.
    pub place: PlaceName,
    /// The kind of protection.
    pub mode: Protection,
    /// The protection record; `None` for the edge's default, or for an unreadable record.
    pub record: Option<ProtectionRecord>,
    /// The secret of its cookies.
    key: CookieKey,
}

/// A missing preview of an app with protected previews.
pub struct HiddenPreview {
    /// The protection of the app's existing previews.
    pub restriction: Arc<Restriction>,
    /// The target that a share link would have.
    pub target: ShareTarget,
}

/// A share link.
pub struct ShareLink {
    /// The app.
    app: AppName,
    /// The id.
    id: String,
    /// The opened target.
    target: ShareTarget,
    /// The record.
    pub record: ShareRecord,
    /// The secret of its cookies.
    key: CookieKey,
}

/// Unseals a value with its context; the keys are held by a higher layer.
pub type Opener = Box<dyn Fn(&str, &Sealed) -> Option<String> + Send + Sync>;

impl Restriction {
    /// The secret that signs the visitors' cookies.
    #[must_use]
    pub fn cookie_key(&self, live: &Live) -> Option<[u8; 32]> {
        let sealed = &self.record.as_ref()?.key;
        live.cookie_key(&self.key, &protection_context(&self.app, &self.place, KEY), sealed)
    }

    /// The hash of the password.
    #[must_use]
    pub fn password_hash(&self, live: &Live) -> Option<String> {
        let sealed = self.record.as_ref()?.password.as_ref()?;
        live.opened(&protection_context(&self.app, &self.place, PASSWORD), sealed)
    }
}

impl ShareLink {
    /// Returns true if the link opens the target and has not ended.
    #[must_use]
    pub fn opens(&self, target: &ShareTarget) -> bool {
        self.target == *target && self.record.expires_ms > clock::now_ms()
    }

    /// The secret that signs the visitors' cookies.
    #[must_use]
    pub fn cookie_key(&self, live: &Live) -> Option<[u8; 32]> {
        live.cookie_key(&self.key, &share_context(&self.app, &self.id, KEY), &self.record.key)
    }

    /// The hash of the password.
    #[must_use]
    pub fn password_hash(&self, live: &Live) -> Option<String> {
        live.opened(&share_context(&self.app, &self.id, PASSWORD), self.record.password.as_ref()?)
    }
}

/// A protection with the commit that wrote the record. A restriction of `None` opens content that the edge's default
/// would protect.
#[derive(Clone)]
struct Set {
    restriction: Option<Arc<Restriction>>,
    written: Revision,
}

/// The share links of an app, by id.
type Links = HashMap<String, Arc<ShareLink>>;

/// Every protection and every share link.
#[derive(Default)]
pub(super) struct Protected {
    /// Default for previews.
    default: OnceLock<Protection>,
    previews: RwLock<HashMap<AppName, Set>>,
    environments: RwLock<BTreeMap<(AppName, PlaceName), Set>>,
    links: RwLock<HashMap<AppName, Links>>,
    opener: OnceLock<Opener>,
}

impl Place {
    /// The protection, if not public.
    #[inline]
    #[must_use]
    pub fn restriction(&self) -> Option<Arc<Restriction>> {
        // A thread that sees the announcement of a restriction sees the restriction, too.
        if self.is_restricted.load(Ordering::Acquire) { self.restriction.load_full() } else { None }
    }

    /// Sets the protection. Only the follower calls the function.
    fn protect(&self, restriction: Option<Arc<Restriction>>) {
        let is_restricted = restriction.is_some();
        if is_restricted {
            self.restriction.store(restriction);
            self.is_restricted.store(true, Ordering::Release);
        } else {
            self.is_restricted.store(false, Ordering::Release);
            self.restriction.store(None);
        }
    }

    /// The target of share links to the place.
    #[must_use]
    pub fn share_target(&self) -> ShareTarget {
        match self.setting {
            Setting::Environment => ShareTarget::Environment(self.name.clone()),
            Setting::Preview => ShareTarget::Alias(self.name.clone()),
        }
    }
}

impl Live {
    /// Sets the default protection of previews, once, before any record is followed; later calls are ignored.
    pub fn set_default_protection(&self, previews: Protection) {
        self.0.protected.default.set(previews).ok();
    }

    /// The default protection of previews.
    #[must_use]
    pub fn default_protection(&self) -> Protection {
        self.0.protected.default.get().copied().unwrap_or_default()
    }

    /// Sets the function that unseals secrets, once; later calls are ignored. Without the function, passwords cannot be
    /// checked, and no cookie is valid.
    pub fn set_opener(&self, opener: Opener) {
        self.0.protected.opener.set(opener).ok();
    }

    fn opened(&self, context: &str, sealed: &Sealed) -> Option<String> {
        self.0.protected.opener.get()?(context, sealed)
    }

    fn cookie_key(&self, known: &CookieKey, context: &str, sealed: &Sealed) -> Option<[u8; 32]> {
        if let Some(key) = known.get() {
            return Some(*key);
        }
        let mut key = [0; 32];
        hex::decode_to_slice(self.opened(context, sealed)?, &mut key).ok()?;
        Some(*known.get_or_init(|| key))
    }

    /// The protection of an app's previews, if not public.
    #[must_use]
    pub fn preview_restriction(&self, app: &AppName) -> Option<Arc<Restriction>> {
        if let Some(set) = self.0.protected.previews.read().get(app) {
            return set.restriction.clone();
        }
        let mode = self.default_protection();
        if mode == Protection::Public {
            return None;
        }
        let place = PREVIEW.parse().ok()?;
        Some(Arc::new(Restriction { app: app.clone(), place, mode, record: None, key: CookieKey::new() }))
    }

    /// The preview missing at `host`, an unresolved name in lower case, if the absence must be hidden from strangers.
    pub(super) fn hidden_preview(&self, host: &str) -> Option<HiddenPreview> {
        let domains = self.domains();
        let (app, name) = domains.preview_host_parts(host).filter(|_| !domains.is_login(host))?;
        let target = match name.parse() {
            Ok(alias) => ShareTarget::Alias(alias),
            Err(_) if is_short_id(name) => ShareTarget::Version(format!("{name:0<64}").parse().ok()?),
            // A preview cannot have the name.
            Err(_) => return None,
        };
        if !self.knows(&app) || self.is_deleted(&app) {
            return None;
        }
        Some(HiddenPreview { restriction: self.preview_restriction(&app)?, target })
    }

    /// Returns true if `host`, in lower case, has the form of a preview's name of an app with protected previews.
    pub(super) fn is_of_protected_previews(&self, host: &str) -> bool {
        let app = self.domains().preview_host_parts(host).map(|(app, _)| app);
        app.is_some_and(|app| self.preview_restriction(&app).is_some())
    }

    /// The protection of an environment, or of an app's previews for `preview`, if not public.
    #[must_use]
    pub fn restriction_named(&self, app: &AppName, place: &PlaceName) -> Option<Arc<Restriction>> {
        if place.as_str() == PREVIEW {
            return self.preview_restriction(app);
        }
        self.0.protected.environments.read().get(&(app.clone(), place.clone()))?.restriction.clone()
    }

    /// A share link of an app.
    #[must_use]
    pub fn share_link(&self, app: &AppName, id: &str) -> Option<Arc<ShareLink>> {
        self.0.protected.links.read().get(app)?.get(id).cloned()
    }

    fn restriction_of(&self, place: &Place) -> Option<Arc<Restriction>> {
        match place.setting {
            Setting::Preview => self.preview_restriction(&place.app),
            Setting::Environment => self.restriction_named(&place.app, &place.name),
        }
    }
}

impl Follower {
    /// A new place, protected from the beginning.
    pub(super) fn new_place(&self, app: &AppName, name: &PlaceName, setting: Setting) -> Arc<Place> {
        let place = Place::new(app.clone(), name.clone(), setting);
        place.protect(self.live.restriction_of(&place));
        Arc::new(place)
    }

    /// Takes over the records of all protections.
    pub(super) fn protections_are(&self, all: &[(String, Record)]) {
        let protected = &self.live.0.protected;
        let keys: Vec<_> = all.iter().filter_map(|(key, _)| named(PROTECTION_PREFIX, key)).collect();
        let is_there = |app: &AppName, name: &str| keys.iter().any(|(of, known)| of == app && *known == name);
        protected.previews.write().retain(|app, _| is_there(app, PREVIEW));
        protected.environments.write().retain(|(app, name), _| is_there(app, name.as_str()));
        for (key, record) in all {
            self.set_restriction(key, Some(&record.value), record.revision);
        }
        self.protect_places(None);
    }

    /// Follows `protection/{app}/{env}`.
    pub(super) fn protect(&self, key: &str, value: Option<&Arc<[u8]>>, revision: Revision) {
        if let Some(app) = self.set_restriction(key, value, revision) {
            self.protect_places(Some(&app));
            tracing::info!(key, protected = value.is_some(), "protection");
        }
    }

    /// Adds a record to the table. Returns its app; `None` for a record older than the known one: the watch still holds
    /// such records after a full read.
    fn set_restriction(&self, key: &str, value: Option<&Arc<[u8]>>, revision: Revision) -> Option<AppName> {
        let (app, name) = named(PROTECTION_PREFIX, key)?;
        let place: PlaceName = name.parse().ok()?;
        let set =
            value.map(|value| Set { restriction: restriction(&app, &place, key, value, revision), written: revision });
        let protected = &self.live.0.protected;
        let is_older = |known: Option<&Set>| known.is_some_and(|known| known.written > revision);
        if name == PREVIEW {
            let mut previews = protected.previews.write();
            if is_older(previews.get(&app)) {
                return None;
            }
            match set {
                Some(set) => drop(previews.insert(app.clone(), set)),
                None => drop(previews.remove(&app)),
            }
        } else {
            let (mut environments, key) = (protected.environments.write(), (app.clone(), place));
            if is_older(environments.get(&key)) {
                return None;
            }
            match set {
                Some(set) => drop(environments.insert(key, set)),
                None => drop(environments.remove(&key)),
            }
        }
        Some(app)
    }

    fn protect_places(&self, of: Option<&AppName>) {
        for place in self.live.0.hosts.load().places.values() {
            if of.is_none_or(|app| place.app == *app) {
                place.protect(self.live.restriction_of(place));
            }
        }
    }

    /// Takes over the records of all share links.
    pub(super) fn links_are(&self, all: &[(String, Record)]) {
        let mut links: HashMap<AppName, Links> = HashMap::new();
        for (key, record) in all {
            if let Some((app, id)) = named(SHARES_PREFIX, key)
                && let Some(link) = link((&app, id), key, record)
            {
                links.entry(app).or_default().insert(id.to_owned(), link);
            }
        }
        *self.live.0.protected.links.write() = links;
    }

    /// Follows `shares/{app}/{id}`.
    pub(super) fn share(&self, key: &str, value: Option<&Arc<[u8]>>, revision: Revision) {
        let Some((app, id)) = named(SHARES_PREFIX, key) else { return };
        let link = value.and_then(|value| link((&app, id), key, &Record { value: Arc::clone(value), revision }));
        let mut links = self.live.0.protected.links.write();
        match link {
            Some(link) => drop(links.entry(app).or_default().insert(id.to_owned(), link)),
            None => {
                let Some(of_app) = links.get_mut(&app) else { return };
                of_app.remove(id);
                if of_app.is_empty() {
                    links.remove(&app);
                }
            }
        }
    }
}

/// The restriction of a record; an unreadable record admits no visitor.
fn restriction(
    app: &AppName,
    place: &PlaceName,
    key: &str,
    value: &Arc<[u8]>,
    revision: Revision,
) -> Option<Arc<Restriction>> {
    let record = Record { value: Arc::clone(value), revision };
    let (mode, record) = match records::read::<ProtectionRecord>(key, &record) {
        Ok(record) => (record.mode.into(), Some(record)),
        Err(error) => {
            tracing::error!(key, %error, "a protection cannot be read: nobody sees what it protects");
            (Protection::Off, None)
        }
    };
    let restriction =
        || Arc::new(Restriction { app: app.clone(), place: place.clone(), mode, record, key: CookieKey::new() });
    (mode != Protection::Public).then(restriction)
}

fn link((app, id): (&AppName, &str), key: &str, record: &Record) -> Option<Arc<ShareLink>> {
    match records::read::<ShareRecord>(key, record) {
        Ok(record) => {
            let (app, id, key) = (app.clone(), id.to_owned(), CookieKey::new());
            let target = record.target.clone().into();
            Some(Arc::new(ShareLink { app, id, target, record, key }))
        }
        Err(error) => {
            tracing::error!(key, %error, "a share link cannot be read: it opens nothing");
            None
        }
    }
}
