//! Signatures of versions that answer visitors beside the live version: earlier versions kept for their assets (law 10)
//! or for pinned visitors, versions being prepared, and a version that the node serves first. Each signature is checked
//! before a version is listed, and again after a change of signers or signatures: a listed version may answer.

use devanture_config::{AppName, PlaceName, VersionId};

use super::{Follower, Live, Loader, Place};
use devanture_store::catalog::{self, Revision};
use devanture_store::records::signing;
use devanture_store::records::table::RecordKind;

impl Loader {
    /// Returns true if a version may answer visitors of a place where the version is not live; false if unknown.
    pub(super) async fn may_answer(&self, place: &Place, id: &VersionId) -> bool {
        let may = signing::may_answer(&**self.catalog(), (&place.app, &place.name), id).await;
        may.unwrap_or_else(|error| {
            let (app, environment) = (&place.app, &place.name);
            tracing::error!(%app, %environment, version = %id, %error, "signatures cannot be read: it is not kept");
            false
        })
    }

    /// Drops versions that may no longer answer visitors of a place; the live version stays, and is restored if the
    /// node served a dropped version first.
    pub async fn forget_unsigned(&self, live: &Live, place: &Place) {
        if let Some(first) = place.ahead()
            && !self.may_answer(place, &first.version.id).await
        {
            // The version then counts as an earlier version, handled below.
            live.end_first(place, &first);
            if let Some(now) = place.current() {
                self.tallies().switched(place.app.as_str(), place.name.as_str(), now.version.id);
            }
        }
        let mut ids: Vec<VersionId> =
            place.replaced.with(|list| list.iter().map(|kept| kept.current.version.id).collect());
        place.preparing.with(|list| ids.extend(list.iter().map(|version| version.id)));
        for id in ids {
            if !self.may_answer(place, &id).await {
                place.forget(&id);
            }
        }
    }
}

impl Follower {
    /// Follows `signers/{app}/{env}` and `signatures/{app}/{id}`: versions that may no longer answer are dropped, and
    /// versions that may again are loaded.
    pub(super) async fn follow_signing(&self, key: &str) {
        let mut parts = key.split('/');
        let (kind, app, of) = (parts.next(), parts.next(), parts.next());
        let Some(app) = app.and_then(|app| app.parse::<AppName>().ok()) else { return };
        let environment = of.filter(|_| kind == Some("signers")).and_then(|name| name.parse::<PlaceName>().ok());
        for place in self.live.environment_places() {
            let is_of = place.app == app && environment.as_ref().is_none_or(|name| place.name == *name);
            // Without required signatures, a new signature changes nothing.
            if !is_of || (environment.is_none() && !self.wants_signatures(&place).await) {
                continue;
            }
            self.loader.forget_unsigned(&self.live, &place).await;
            place.earlier_load.begin_again();
            // In the background: repeated signing delays no switch.
            self.load_earlier_apart(&place);
        }
    }

    /// Returns true if an environment requires signatures, or if the requirement cannot be read.
    async fn wants_signatures(&self, place: &Place) -> bool {
        let key = signing::signers_key(&place.app, &place.name);
        !matches!(self.loader.catalog().get(&key).await, Ok(None))
    }

    /// The commit that last set signers.
    pub(super) async fn signers_written(&self) -> Result<Revision, catalog::Error> {
        let signers = self.all(RecordKind::Signers).await?;
        Ok(signers.iter().map(|(_, record)| record.revision).max().unwrap_or_default())
    }
}
