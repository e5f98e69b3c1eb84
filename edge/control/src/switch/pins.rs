//! Earlier versions on which visitors are pinned, as recorded in the pointer by a switch: a replaced version stays for
//! its pinned visitors, a rolled-back version does not.

use devanture_config::api::Unpinned;
use devanture_config::{AppName, PlaceName, VersionId};

use super::intent::Intent;
use super::switcher::Switcher;
use crate::ledger::{Action, Actor, AuditEvent, Error, nothing_live, update};
use crate::places::{Gate, LockTreatment};
use devanture_store::catalog::{Change, Check, Commit};
use devanture_store::records::{self, LivePointer, PinsRecord, signing};

impl Switcher {
    /// Returns the pins after the intent has replaced the live version.
    pub(super) async fn pins(
        &self,
        intent: &Intent<'_>,
        live: Option<&LivePointer>,
    ) -> Result<Option<PinsRecord>, Error> {
        let place = self.ledger.live.place(intent.app, intent.environment);
        // The common case: loaded for the switch, so no manifest is read.
        let holds = match place.and_then(|place| place.loaded(&intent.version)) {
            Some(version) => version.pin_idle_s.is_some(),
            None => {
                let manifest = self.ledger.manifest(&*self.blobs, intent.app, intent.version).await?;
                manifest.serving_for(intent.environment.as_str()).pin_idle_s().is_some()
            }
        };
        let versions_max = usize::try_from(self.ledger.limits().pinned_versions_max).unwrap_or(usize::MAX);
        let goes_back = intent.movement.is_rollback() || intent.expected.undone.is_some();
        let live = live.filter(|live| live.is_known());
        if !holds {
            return Ok(None);
        }
        let mut signed = Vec::new();
        for version in earlier(live, intent.version, goes_back, versions_max) {
            // A version that could not go live here is served no longer than while live.
            let place = (intent.app, intent.environment);
            let may = signing::may_answer(&*self.ledger.catalog, place, &version).await;
            let is_enough = may.unwrap_or_else(|error| {
                // A damaged record of an earlier version must not block the switch: its visitors are released.
                tracing::error!(app = %intent.app, %version, %error, "signatures cannot be read");
                false
            });
            signed.extend(is_enough.then_some(version));
        }
        Ok(Some(PinsRecord::after(live.and_then(|live| live.pins.as_ref()), signed)))
    }

    /// Releases the visitors pinned on earlier versions: their next request gets the live version.
    ///
    /// # Errors
    /// `not_found` for an unknown app, `nothing_live`.
    pub(crate) async fn unpin(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
    ) -> Result<Unpinned, Error> {
        self.ledger.must_exist(app).await?;
        let key = records::live_key(app, environment);
        let versions = update(&key, || async {
            let live = self.ledger.live_pointer(app, environment).await?.filter(|(_, pointer)| pointer.is_known());
            let (revision, pointer) = live.ok_or_else(|| nothing_live(app, environment))?;
            let Some(pins) = pointer.pins.clone().filter(|pins| !pins.earlier.is_empty()) else {
                return Ok(Some(Vec::new()));
            };
            let held = self.ledger.live.held_on(app, environment, &pins, self.nodes.is_none());
            let mut checks = vec![Check::At(key.clone(), revision)];
            // Nobody is kept from it by a lock.
            if let Gate::Open(gate) =
                self.environments.places.gate(actor, (app, environment), LockTreatment::Undo).await?
            {
                checks.push(gate);
            }
            let next = LivePointer { pins: Some(PinsRecord::after(Some(&pins), Vec::new())), ..pointer };
            let changes = vec![Change::Put(key.clone(), records::write(&next)?)];
            let shorts: Vec<String> = pins.earlier.iter().map(VersionId::short).collect();
            let what = format!("{environment}: nobody is held on {} any more", shorts.join(", "));
            let event = AuditEvent::of(Action::Unpin).place(app, environment).what(what);
            Ok::<_, Error>(self.ledger.commit(actor, event, Commit { checks, changes }).await?.then_some(held))
        })
        .await?;
        if let Some((revision, _)) = self.ledger.live_pointer(app, environment).await? {
            self.ledger.live.wait_for(revision).await;
        }
        Ok(Unpinned { app: app.clone(), environment: environment.clone(), versions })
    }
}

/// Returns the earlier versions with pinned visitors once `next` is live. A rollback releases visitors from all later
/// versions.
fn earlier(live: Option<&LivePointer>, next: VersionId, goes_back: bool, versions_max: usize) -> Vec<VersionId> {
    // A version without pins gave no visitor its cookie.
    let Some((live, pins)) = live.and_then(|live| Some((live, live.pins.as_ref()?))) else { return Vec::new() };
    let all = || std::iter::once(live.version).chain(pins.earlier.iter().copied());
    let mut earlier: Vec<VersionId> = match all().position(|version| version == next) {
        Some(known) => all().skip(known + 1).collect(),
        None if goes_back => Vec::new(),
        None => all().collect(),
    };
    earlier.truncate(versions_max);
    earlier
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> VersionId {
        VersionId::of(&[number])
    }

    fn live(version: u8, earlier: Option<&[u8]>) -> LivePointer {
        let earlier =
            earlier.map(|earlier| PinsRecord::after(None, earlier.iter().map(|number| id(*number)).collect()));
        LivePointer {
            version: id(version),
            settings: 0,
            switched_ms: 0,
            deploy: "1".to_owned(),
            begun: 0,
            position: String::new(),
            halves_begun: None,
            canary: None,
            pins: earlier,
        }
    }

    #[test]
    fn a_switch_holds_what_it_replaces_and_one_back_releases_all_that_came_after() {
        let (forward, back) = (false, true);
        for (before, next, goes_back, expected) in [
            (None, 1, forward, &[][..]),
            (Some(live(1, None)), 2, forward, &[]),
            (Some(live(1, Some(&[]))), 2, forward, &[1]),
            (Some(live(2, Some(&[1]))), 3, forward, &[2, 1]),
            (Some(live(3, Some(&[2, 1]))), 4, forward, &[3, 2]),
            (Some(live(3, Some(&[2, 1]))), 2, back, &[1]),
            (Some(live(3, Some(&[2, 1]))), 2, forward, &[1]),
            (Some(live(3, Some(&[2, 1]))), 1, back, &[]),
            (Some(live(3, Some(&[2]))), 1, back, &[]),
            // The same version with other settings.
            (Some(live(3, Some(&[2, 1]))), 3, forward, &[2, 1]),
        ] {
            let expected: Vec<VersionId> = expected.iter().map(|number| id(*number)).collect();
            assert_eq!(earlier(before.as_ref(), id(next), goes_back, 2), expected, "{before:?} {next} {goes_back}");
        }
        assert!(earlier(Some(&live(1, Some(&[]))), id(2), false, 0).is_empty());
    }
}
