//! The table of the kinds of records: the key of each, what it is removed with, and what takes it along.
//!
//! A removal of an app or an environment (`belongs`), a copy of a catalog and a backup go by this table. By tests,
//! `docs/storage.md` has a row for each kind, and `golden` a file: a kind that is missing here fails them.

/// The owner of a record, with which it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The account or the token whose id the record's own id begins with.
    Credential,
    /// The app that the key names.
    App,
    /// The app that the key names, of which it is the last record.
    AppAtLast,
    /// The environment that the key names.
    Environment,
    /// The environment that the key names, of which it is the last record.
    EnvironmentAtLast,
    /// The environment that the key names. One of `preview` is what versions and aliases are served by, and stays while
    /// there are any.
    EnvironmentOrPreviews,
    /// The app and the environment that the value names in its members `app` and `environment`.
    Named,
    /// The edge as a whole, or an upkeep of its own.
    Edge,
    /// The node that holds the lease of the record.
    Node,
}

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordKind {
    /// Its key, as `docs/storage.md` writes it. A name in braces has no slash, but for the last one.
    pub key: &'static str,
    /// Its owner.
    pub owner: Owner,
    /// Whether a copy of the catalog has it.
    pub in_copies: bool,
    /// Whether a backup has it.
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
    // It says nothing without the files of pushes that are under way.
    kind("sent/{app}/{push}/{number}", Owner::App).not_in_backups().not_in_copies(),
    kind("sessions/{id}", Owner::Credential),
    kind("settings/{app}/{env}/{revision}", Owner::EnvironmentOrPreviews),
    // A link to an environment goes with that, too: its value says which.
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

    /// The part of its keys before the first name.
    #[must_use]
    pub fn prefix(&self) -> &'static str {
        self.key.split_once('{').map_or(self.key, |(prefix, _)| prefix)
    }

    /// Whether a key has the form of this kind; the last name takes what is left of the key.
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

/// The kind of record that a key is of; `None` where a release that knows more wrote it.
#[must_use]
pub fn kind_of(key: &str) -> Option<&'static RecordKind> {
    // Of two forms the longer one comes later, as that of `uids/{app}/{env}`.
    TABLE.iter().rev().find(|kind| kind.has(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The part of `docs/storage.md` that has a row for each kind of record.
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
