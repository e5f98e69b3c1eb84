//! The table of the kinds of records: the key of each kind, its owner, its copies and its followers.
//!
//! A removal of an app or an environment (`belongs`), a copy of a catalog, a backup and each follower of the catalog
//! (`records::follow`) go by this table. By tests, `docs/storage.md` has a row for each kind, and `golden` a file: a
//! kind that is missing here fails them.

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

/// A follower of records: it hears of each change of its kinds by a [`Follow`](crate::records::follow::Follow).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowedBy {
    /// The certificates by ACME that the nodes of a cluster share.
    Acme,
    /// A one-off command, which ends with its environment.
    Commands,
    /// The console that this node serves.
    Console,
    /// A long answer, which ends with the credential of its caller.
    Credentials,
    /// What requests are served.
    Live,
    /// The addresses where other nodes listen.
    NodeListeners,
    /// The instances of other nodes.
    NodeRuns,
    /// The pools of backends.
    Proxy,
    /// The memory of uploads: versions and apps that other nodes stored or deleted.
    Publish,
    /// The instances of backends on this node.
    Runner,
    /// The schedules of what is live.
    Schedules,
    /// The list of webhooks that reach private addresses.
    WebhookReach,
    /// The queue of messages to webhooks.
    Webhooks,
    /// The pause of all changes.
    WritePause,
}

/// The row of a kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRow {
    /// The kind.
    pub kind: RecordKind,
    /// Its key, as `docs/storage.md` writes it. A name in braces has no slash, but for the last one.
    pub key: &'static str,
    /// The owner.
    pub owner: Owner,
    /// Set if a copy of the catalog contains the record.
    pub in_copies: bool,
    /// Set if a backup contains the record.
    pub in_backups: bool,
    /// Its followers, which hear of no kind that does not name them here.
    pub followed_by: &'static [FollowedBy],
}

/// The enum of kinds, and their table.
macro_rules! kinds {
    ($($kind:ident = $row:expr;)+) => {
        /// A kind of record.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the key in its row says what it is, and docs/storage.md what it holds")]
        pub enum RecordKind {
            $($kind,)+
        }

        impl RecordKind {
            /// Its row of the table.
            #[must_use]
            pub const fn row(self) -> RecordRow {
                use FollowedBy::{
                    Acme, Commands, Credentials, Live, NodeListeners, NodeRuns, Proxy, Publish, Runner, Schedules,
                    WebhookReach, Webhooks, WritePause,
                };
                match self {
                    $(Self::$kind => RecordRow { kind: Self::$kind, ..$row },)+
                }
            }
        }

        /// Every kind of record, in the order of the keys.
        pub const TABLE: &[RecordRow] = &[$(RecordKind::$kind.row(),)+];
    };
}

kinds! {
    Account = row("accounts/{name}", Owner::Named).followed_by(&[Credentials, Live]);
    AcmeAccount = row("acme/{authority}/account", Owner::Edge).not_in_backups();
    AcmeCertificate =
        row("acme/{authority}/certificates/{name}", Owner::Edge).not_in_backups().followed_by(&[Acme]);
    AcmeOrders = row("acme/{authority}/orders", Owner::Edge).not_in_backups();
    AcmeOrder = row("acme/{authority}/orders/{name}", Owner::Edge).not_in_backups();
    AcmeProof = row("acme/{authority}/proofs/{name}", Owner::Node).not_in_backups().not_in_copies();
    Alias = row("alias/{app}/{name}", Owner::App).followed_by(&[Live, Runner]);
    App = row("apps/{app}", Owner::AppAtLast).followed_by(&[Live, Publish]);
    AuditEntry = row("audit/{number}", Owner::Edge);
    ChangesPaused = row("changes-paused", Owner::Edge).not_in_copies().followed_by(&[WritePause]);
    Confirmations = row("confirmations/{app}", Owner::App);
    Console = row("console", Owner::Edge).followed_by(&[FollowedBy::Console]);
    Copy = row("copy", Owner::Edge).not_in_copies();
    DeletedEnvironment = row("deleted-environments/{app}/{env}", Owner::EnvironmentAtLast)
        .followed_by(&[Commands, Live, Runner, Webhooks]);
    DeletedApp = row("deleted/{app}", Owner::AppAtLast)
        .followed_by(&[Commands, Live, Proxy, Runner, Schedules, WebhookReach, Webhooks]);
    Dictionaries = row("dictionaries/{app}/{id}", Owner::App);
    Duty = row("duties/{duty}", Owner::Node).not_in_copies();
    ExchangedToken = row("exchanged/{hash}", Owner::Edge);
    GoneVersion = row("gone/{app}/{id}", Owner::App).followed_by(&[Publish]);
    HistoryEntry = row("history/{app}/{env}/{number}", Owner::Environment);
    Hostname = row("hostnames/{host}", Owner::Named).followed_by(&[Live]);
    ListedHostnames = row("listed/{app}/{env}", Owner::Environment).followed_by(&[Live]);
    LiveLogEntry = row("live-log/{app}/{env}/{number}", Owner::Environment);
    LivePointer = row("live/{app}/{env}", Owner::Environment).followed_by(&[Live, Proxy, Runner, Schedules]);
    Lock = row("locks/{app}/{env}", Owner::Environment);
    Login = row("logins/{id}", Owner::Credential).followed_by(&[Credentials]);
    Node = row("nodes/{node}", Owner::Node).not_in_copies().followed_by(&[NodeListeners, NodeRuns, Runner]);
    Passkey = row("passkeys/{id}", Owner::Credential);
    Pause = row("paused/{app}/{env}", Owner::Environment).followed_by(&[Live]);
    Protection = row("protection/{app}/{env}", Owner::EnvironmentOrPreviews).followed_by(&[Live]);
    Scale = row("scale/{app}/{env}", Owner::Environment).followed_by(&[Runner]);
    Schedule = row("schedules/{app}/{env}/{name}", Owner::Environment).followed_by(&[Schedules]);
    ChallengeSecret = row("secrets/challenges", Owner::Edge);
    HostnameProofSecret = row("secrets/hostname-proof", Owner::Edge);
    // It says nothing without the files of pushes that are under way.
    SentBlobs = row("sent/{app}/{push}/{number}", Owner::App).not_in_backups().not_in_copies();
    Session = row("sessions/{id}", Owner::Credential).followed_by(&[Credentials]);
    Settings = row("settings/{app}/{env}/{revision}", Owner::EnvironmentOrPreviews).followed_by(&[Live]);
    // A link to an environment goes with that, too: its value says which.
    ShareLink = row("shares/{app}/{id}", Owner::App).followed_by(&[Live]);
    Signatures = row("signatures/{app}/{id}", Owner::App).followed_by(&[Live]);
    Signers = row("signers/{app}/{env}", Owner::Environment).followed_by(&[Live]);
    Task = row("tasks/{task}", Owner::Edge);
    Token = row("tokens/{id}", Owner::Named).followed_by(&[Credentials]);
    FreeUserId = row("uids-free/{number}", Owner::Edge);
    NextUserId = row("uids-next", Owner::Edge);
    AppUserIds = row("uids/{app}", Owner::App);
    UserId = row("uids/{app}/{env}", Owner::EnvironmentOrPreviews);
    Upstream = row("upstreams/{app}/{env}/{name}", Owner::Environment).followed_by(&[Proxy]);
    LastUse = row("used/{id}", Owner::Credential);
    Version = row("versions/{app}/{id}", Owner::App).followed_by(&[Live, Publish, Runner]);
    EndedMessage = row("webhook-ended/{app}/{name}/{id}", Owner::App).followed_by(&[Webhooks]);
    WaitingMessage = row("webhook-waiting/{app}/{name}/{id}", Owner::App).followed_by(&[Webhooks]);
    WebhooksAdded = row("webhooks-added/{app}", Owner::App);
    Webhook = row("webhooks/{app}/{name}", Owner::App).followed_by(&[WebhookReach, Webhooks]);
    Withdrawn = row("withdrawn/{app}", Owner::App).followed_by(&[Live]);
}

/// A row, whose kind the table adds.
const fn row(key: &'static str, owner: Owner) -> RecordRow {
    RecordRow { kind: RecordKind::Copy, key, owner, in_copies: true, in_backups: true, followed_by: &[] }
}

impl RecordKind {
    /// The part of its keys before the first name.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        self.row().prefix()
    }
}

impl RecordRow {
    const fn followed_by(self, followed_by: &'static [FollowedBy]) -> Self {
        Self { followed_by, ..self }
    }

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
pub fn kind_of(key: &str) -> Option<RecordKind> {
    // Of two forms the longer one comes later, as that of `uids/{app}/{env}`.
    TABLE.iter().rev().find(|row| row.has(key)).map(|row| row.kind)
}

/// The kinds of records that a follower hears of.
pub fn kinds_of(follower: FollowedBy) -> impl Iterator<Item = RecordKind> {
    TABLE.iter().filter(move |row| row.followed_by.contains(&follower)).map(|row| row.kind)
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
            assert_eq!(kind_of(key).map(|kind| kind.row().key), expected, "{key}");
        }
    }
}
