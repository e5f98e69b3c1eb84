//! The table of the kinds of records: the key, the owner, and the presence in copies and backups.
//!
//! Removal of an app or an environment (`belongs`), copies of a catalog and backups follow this table. Tests check that
//! `docs/storage.md` has a row for each kind, and `golden` a file: a kind missing here fails the tests.

/// The owner of a record, with which the record is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The account or the token with an id that is the beginning of the record's id.
    Credential,
    /// The app in the key.
    App,
    /// The app in the key, as its last record.
    AppAtLast,
    /// The environment in the key.
    Environment,
    /// The environment in the key, as its last record.
    EnvironmentAtLast,
    /// The environment in the key. A record of `preview` serves versions and aliases, and stays while there are any.
    EnvironmentOrPreviews,
    /// The app and the environment in the value's members `app` and `environment`.
    Named,
    /// The edge as a whole, or its own maintenance.
    Edge,
    /// The node that holds the lease of the record.
    Node,
}

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordKind {
    /// The key, as written in `docs/storage.md`. A name in braces has no slash, except the last.
    pub key: &'static str,
    /// The owner.
    pub owner: Owner,
    /// Set if a copy of the catalog contains the record.
    pub in_copies: bool,
    /// Set if a backup contains the record.
    pub in_backups: bool,
}

/// Every kind of record, in the order of the keys.
pub const TABLE: &[RecordKind] = &[
    kind("accounts/{name}", Owner::Named),
    kind("acme/{authority}/account", Owner::Edge).not_in_backups(),
    kind("acme/{authority}/certificates/{name}", Owner::Edge).not_in_backups(),
    kind("acme/{authority}/orders", Owner::Edge).not_in_backups(),
    kind("acme/{authority}/orders/{name}", Owner::Edge).not_in_backups(),
    kind("acme/{authority}/proofs/{name}", Owner::Node).not_in_backups().not_in_copies(),
    kind("alias/{app}/{name}", Owner::App),
    kind("apps/{app}", Owner::AppAtLast),
    kind("audit/{number}", Owner::Edge),
    kind("changes-paused", Owner::Edge).not_in_copies(),
    kind("confirmations/{app}", Owner::App),
    kind("console", Owner::Edge),
    kind("copy", Owner::Edge).not_in_copies(),
    kind("deleted-environments/{app}/{env}", Owner::EnvironmentAtLast),
    kind("deleted/{app}", Owner::AppAtLast),
    kind("dictionaries/{app}/{id}", Owner::App),
    kind("duties/{duty}", Owner::Node).not_in_copies(),
    kind("exchanged/{hash}", Owner::Edge),
    kind("gone/{app}/{id}", Owner::App),
    kind("history/{app}/{env}/{number}", Owner::Environment),
    kind("hostnames/{host}", Owner::Named),
    kind("listed/{app}/{env}", Owner::Environment),
    kind("live-log/{app}/{env}/{number}", Owner::Environment),
    kind("live/{app}/{env}", Owner::Environment),
    kind("locks/{app}/{env}", Owner::Environment),
    kind("logins/{id}", Owner::Credential),
    kind("nodes/{node}", Owner::Node).not_in_copies(),
    kind("passkeys/{id}", Owner::Credential),
    kind("paused/{app}/{env}", Owner::Environment),
    kind("protection/{app}/{env}", Owner::EnvironmentOrPreviews),
    kind("scale/{app}/{env}", Owner::Environment),
    kind("schedules/{app}/{env}/{name}", Owner::Environment),
    kind("secrets/challenges", Owner::Edge),
    kind("secrets/hostname-proof", Owner::Edge),
    // Meaningless without the files of running pushes.
    kind("sent/{app}/{push}/{number}", Owner::App).not_in_backups().not_in_copies(),
    kind("sessions/{id}", Owner::Credential),
    kind("settings/{app}/{env}/{revision}", Owner::EnvironmentOrPreviews),
    // A link to an environment is removed with the environment, too: the value names the environment.
    kind("shares/{app}/{id}", Owner::App),
    kind("signatures/{app}/{id}", Owner::App),
    kind("signers/{app}/{env}", Owner::Environment),
    kind("tasks/{task}", Owner::Edge),
    kind("tokens/{id}", Owner::Named),
    kind("uids-free/{number}", Owner::Edge),
    kind("uids-next", Owner::Edge),
    kind("uids/{app}", Owner::App),
    kind("uids/{app}/{env}", Owner::EnvironmentOrPreviews),
    kind("upstreams/{app}/{env}/{name}", Owner::Environment),
    kind("used/{id}", Owner::Credential),
    kind("versions/{app}/{id}", Owner::App),
    kind("webhook-ended/{app}/{name}/{id}", Owner::App),
    kind("webhook-waiting/{app}/{name}/{id}", Owner::App),
    kind("webhooks-added/{app}", Owner::App),
    kind("webhooks/{app}/{name}", Owner::App),
    kind("withdrawn/{app}", Owner::App),
];

const fn kind(key: &'static str, owner: Owner) -> RecordKind {
    RecordKind { key, owner, in_copies: true, in_backups: true }
}

impl RecordKind {
    const fn not_in_copies(self) -> Self {
        Self { in_copies: false, ..self }
    }

    const fn not_in_backups(self) -> Self {
        Self { in_backups: false, ..self }
    }

    /// Returns the part of the keys before the first name.
    #[must_use]
    pub fn prefix(&self) -> &'static str {
        self.key.split_once('{').map_or(self.key, |(prefix, _)| prefix)
    }

    /// Returns true if a key has the form of this kind; the last name takes the rest of the key.
    fn has(&self, key: &str) -> bool {
        let (mut form, mut rest) = (self.key, key);
        loop {
            let Some((head, tail)) = form.split_once('{') else { return form == rest };
            let Some(named) = rest.strip_prefix(head) else { return false };
            form = tail.split_once('}').map_or("", |(_, behind)| behind);
            if form.is_empty() {
                return !named.is_empty();
            }
            let Some((_, behind)) = named.split_once('/') else { return false };
            // Both begin with the slash behind the name.
            (form, rest) = (form.strip_prefix('/').unwrap_or(form), behind);
        }
    }
}

/// Returns the kind of record of a key; `None` for kinds of later releases.
#[must_use]
pub fn kind_of(key: &str) -> Option<&'static RecordKind> {
    // Of two matching forms the longer one comes later, such as `uids/{app}/{env}`.
    TABLE.iter().rev().find(|kind| kind.has(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference, with a row for each kind of record.
    const STORAGE: &str = include_str!("../../../../docs/storage.md");
    /// The heading of the table of records.
    const HEADING: &str = "| key | what it is | JSON |";

    #[test]
    fn the_documents_have_a_row_for_each_kind_of_record_and_for_no_other() {
        let rows = STORAGE.split_once(HEADING).unwrap().1.lines().skip(2).take_while(|line| line.starts_with('|'));
        let cells = rows.flat_map(|row| row.split('|').nth(1).unwrap().split(", "));
        // A row of two keys writes their common beginning once.
        let mut documented: Vec<String> =
            cells.map(|key| key.trim().trim_matches('`').replace("…/", "acme/{authority}/")).collect();
        documented.sort();
        let kinds: Vec<&str> = TABLE.iter().map(|kind| kind.key).collect();
        assert!(kinds.is_sorted());
        assert_eq!(documented, kinds);
    }

    #[test]
    fn a_key_is_of_one_kind() {
        for (key, expected) in [
            ("uids/shop", Some("uids/{app}")),
            ("uids/shop/prod", Some("uids/{app}/{env}")),
            ("uids-next", Some("uids-next")),
            ("live/shop/prod", Some("live/{app}/{env}")),
            ("live/shop", None),
            ("duties/schedule/shop/prod/digest", Some("duties/{duty}")),
            ("acme/a.example-1/orders", Some("acme/{authority}/orders")),
            ("acme/a.example-1/certificates/proofs/x", Some("acme/{authority}/certificates/{name}")),
            ("acme/a.example-1/proofs/shop.example", Some("acme/{authority}/proofs/{name}")),
            ("copy", Some("copy")),
            ("copy-2", None),
        ] {
            assert_eq!(kind_of(key).map(|kind| kind.key), expected, "{key}");
        }
    }
}
