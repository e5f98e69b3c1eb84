//! Writes the history of an environment: appends entries and removes the oldest.

use devanture_config::api::{Deploy, DeployKind, Outcome, Source};
use devanture_config::{AppName, PlaceName};

use super::history_entry::Kept;
use super::{Actor, Announcement, Error, Ledger, SystemWrite, commit_in_parts, commit_system};
use devanture_store::catalog::{Change, Check, Commit};
use devanture_store::records::{self, HistoryEntry, LivePointer};
use devanture_store::records::{gone, history};

/// Average number of appended entries between two removals of the oldest.
const ENTRIES_BETWEEN_LOOKS: u64 = 512;

impl Ledger {
    /// Appends a deploy without a move of the live pointer.
    pub(crate) async fn append_history(&self, app: &AppName, deploy: Deploy) -> Result<(), Error> {
        let key = self.next_entry(app, &deploy.environment).await?;
        let domains = self.live.domains();
        let preview = domains.url(&domains.preview_host(app, &deploy.version));
        let announcement = Announcement::of_unmoved(app, &deploy, preview);
        let entry = self.entry_of(deploy, key.clone());
        let mut commit = Commit {
            // A push running at the deletion of its app leaves no record.
            checks: vec![Check::Absent(key.clone()), Check::Absent(gone::deleted_app_key(app))],
            changes: vec![Change::Put(key, records::write(&entry)?)],
        };
        if let Some(announcement) = &announcement {
            commit.changes.extend(self.messages(announcement).await?);
        }
        commit_system(&*self.catalog, SystemWrite::History, commit).await?;
        Ok(())
    }

    /// Returns a history entry about an environment as a whole, with its key. `pointer` gives the live version,
    /// `message` the reason or the details.
    pub(crate) async fn note(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        kind: DeployKind,
        pointer: &LivePointer,
        at_ms: u64,
        message: Option<String>,
    ) -> Result<(String, HistoryEntry), Error> {
        // The look-up of a deploy starts at the time in its id.
        let id = format!("{:x}", self.tick());
        let key = self.next_entry(app, environment).await?;
        let deploy = Deploy {
            id,
            kind,
            environment: environment.clone(),
            version: pointer.version,
            previous: None,
            who: actor.name.clone(),
            at_ms,
            source: Source { message, ..Source::default() },
            steps: Vec::new(),
            outcome: Outcome::Done,
            settings: pointer.settings,
            alias: None,
            problem: None,
            went_back: None,
            reason: None,
            halves: None,
            with: None,
            log: Vec::new(),
        };
        Ok((key.clone(), self.entry_of(deploy, key)))
    }

    /// Returns the key of the next history entry, after every existing entry whatever the clock.
    pub(crate) async fn next_entry(&self, app: &AppName, environment: &PlaceName) -> Result<String, Error> {
        let prefix = records::history_prefix(app, environment);
        let last = self.catalog.list(&prefix, None, true, 1).await?;
        let last = last.first().and_then(|(key, _)| key.rsplit('/').next()?.parse().ok());
        self.not_before(last.unwrap_or(0));
        let number = self.tick();
        // Bounds the history between collections. Numbers come from a clock, so one in so many entries triggers the
        // removal.
        if number.is_multiple_of(ENTRIES_BETWEEN_LOOKS) {
            self.forget_history(app, environment).await?;
        }
        Ok(records::history_key(app, environment, number))
    }

    /// Deletes the oldest history entries of an environment by number and by bytes, so that all histories of an app
    /// stay within its disk limit. Switches and other entries are counted separately, so that pauses and failed pushes
    /// displace no rollback targets.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub(crate) async fn forget_history(&self, app: &AppName, environment: &PlaceName) -> Result<(), Error> {
        let prefix = records::history_prefix(app, environment);
        let live = self.live_pointer(app, environment).await?.map(|(_, pointer)| pointer.deploy);
        let limits = self.limits();
        let (mut switches, mut others) = (Kept::default(), Kept::default());
        let mut entries = history::entries(&*self.catalog, prefix);
        loop {
            let page = entries.next_page().await?;
            if page.is_empty() {
                return Ok(());
            }
            let mut old = Vec::new();
            for (key, record) in &page {
                // Unreadable entries count as no deploy.
                let deploy = records::read::<HistoryEntry>(key, record).ok().map(|entry| entry.deploy);
                let is_switch = deploy.as_ref().is_some_and(|deploy| deploy.outcome == Outcome::Live);
                let kept = if is_switch { &mut switches } else { &mut others };
                let is_beyond = kept.add(record.value.len(), &limits);
                let is_live = live.is_some() && deploy.map(|deploy| deploy.id) == live;
                if is_beyond && !is_live {
                    old.push(Change::Delete(key.clone()));
                }
            }
            commit_in_parts(&*self.catalog, SystemWrite::Collection, old).await?;
        }
    }
}
