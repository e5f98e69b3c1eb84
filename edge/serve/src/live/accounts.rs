//! Accounts as far as visitors who logged in with one are concerned: whether each still has the password that it had,
//! and which app it is for.
//!
//! They are looked up for visitors of what is protected for accounts alone.

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
    /// The keys, by the marks of logins.
    by_mark: HashMap<String, String>,
    /// What was read has all commits up to this one.
    read: Revision,
}

struct Account {
    mark: String,
    /// For this app alone.
    app: Option<AppName>,
    written: Revision,
}

impl Accounts {
    /// Takes over a record, unless it is older than what is known, as those are that the watch still holds after
    /// everything was read again.
    fn take(&mut self, key: &str, record: Option<&Record>, revision: Revision) {
        // Also of an account that was deleted before that.
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
    /// Whether the account with that mark still has it, and rights in the app.
    #[must_use]
    pub fn may_visit(&self, mark: &str, app: &AppName) -> bool {
        let accounts = self.0.accounts.read();
        let account = accounts.by_mark.get(mark).and_then(|key| accounts.by_key.get(key));
        account.is_some_and(|account| may_visit(account.app.as_ref(), app))
    }
}

impl Follower {
    /// Takes over the records of all accounts, in which all commits up to `read` are.
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
