//! Accounts for visitors logged in with an account: current password and permitted app of each.
//!
//! Read for visitors of content that is protected for accounts alone.

use std::collections::HashMap;
use std::sync::Arc;

use devanture_config::AppName;

use super::{Follower, Live};
use devanture_store::catalog::{Record, Revision};
use devanture_store::records;
use devanture_store::records::identities::{AccountRecord, may_visit};

/// All accounts.
#[derive(Default)]
pub(super) struct Accounts {
    by_key: HashMap<String, Account>,
    /// Keys by the marks of logins.
    by_mark: HashMap<String, String>,
    /// Last commit contained in the records read.
    read: Revision,
}

struct Account {
    mark: String,
    /// The only permitted app.
    app: Option<AppName>,
    written: Revision,
}

impl Accounts {
    /// Takes over a record, unless older than the known one: the watch still holds such records after a full read.
    fn take(&mut self, key: &str, record: Option<&Record>, revision: Revision) {
        // Also for an account deleted before the read.
        if revision <= self.read || self.by_key.get(key).is_some_and(|known| known.written > revision) {
            return;
        }
        if let Some(known) = self.by_key.remove(key) {
            self.by_mark.remove(&known.mark);
        }
        let Some(record) = record else { return };
        match records::read::<AccountRecord>(key, record) {
            Ok(record) => {
                let mark = record.visitor_mark();
                self.by_mark.insert(mark.clone(), key.to_owned());
                self.by_key.insert(key.to_owned(), Account { mark, app: record.app, written: revision });
            }
            Err(error) => tracing::error!(key, %error, "an account cannot be read: its visitors are not let in"),
        }
    }
}

impl Live {
    /// Returns true if the account still has the mark, and rights in the app.
    #[must_use]
    pub fn may_visit(&self, mark: &str, app: &AppName) -> bool {
        let accounts = self.0.accounts.read();
        let account = accounts.by_mark.get(mark).and_then(|key| accounts.by_key.get(key));
        account.is_some_and(|account| may_visit(account.app.as_ref(), app))
    }
}

impl Follower {
    /// Takes over the records of all accounts, with all commits up to `read`.
    pub(super) fn accounts_are(&self, all: &[(String, Record)], read: Revision) {
        let mut accounts = Accounts::default();
        for (key, record) in all {
            accounts.take(key, Some(record), record.revision);
        }
        accounts.read = read;
        *self.live.0.accounts.write() = accounts;
    }

    /// Follows `accounts/{name}`.
    pub(super) fn account(&self, key: &str, value: Option<&Arc<[u8]>>, revision: Revision) {
        let record = value.map(|value| Record { value: Arc::clone(value), revision });
        self.live.0.accounts.write().take(key, record.as_ref(), revision);
    }
}
