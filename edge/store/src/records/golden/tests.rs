//! The value of each golden file of this crate.

use std::collections::{BTreeMap, BTreeSet};

use devanture_config::manifest::halves::Halves;
use devanture_config::problem::Code;
use devanture_config::site_toml::{All, Instances};
use devanture_config::{AppName, Digest, PlaceName, Sha256, VersionId};

use super::{OF_CONTROL, check};
use crate::blobs::Form;
use crate::records::console::ConsoleRecord;
use crate::records::gone::{DeletedApp, DeletedEnvironment, GoneVersion};
use crate::records::halves_begun::HalvesBegun;
use crate::records::identities::{
    AccessToken, AccountRecord, AuditRecord, ExchangedRecord, Invitation, LoginRecord, ReplacedToken, UsedRecord,
};
use crate::records::instances::{FreeUidRecord, NextUidRecord, ScaleRecord, UidPairRecord, UidRecord};
use crate::records::integrity_pages::IntegrityPages;
use crate::records::protection::{ProtectionRecord, ShareRecord, StoredTarget};
use crate::records::schedules::{RunningRecord, ScheduleRecord, StoredRun, StoredRunEnd, StoredSkip};
use crate::records::sent::SentRecord;
use crate::records::sessions::{ConfirmationsRecord, PasskeyRecord, SessionRecord};
use crate::records::settings::{Sealed, SettingsRecord, StoredSetting, StoredValue};
use crate::records::signing::{LiveLogRecord, SignaturesRecord, SignersRecord, StoredSignature};
use crate::records::table::TABLE;
use crate::records::upstreams::{MemberEntry, MembersRecord};
use crate::records::webhooks::{
    DeliveryRecord, OldSecret, StoredAttempt, StoredData, StoredEnd, WebhookAdded, WebhookRecord,
};
use crate::records::{
    AliasRecord, AppRecord, BegunWith, CanaryRecord, DecodedFile, DictionariesRecord, HistoryEntry, HostnameRecord,
    ListedHostnames, LivePointer, LockRecord, PagesDictionary, PauseRecord, PinsRecord, ProofSecret, Reach,
    StoredAction, StoredBy, StoredDelivery, StoredDeploy, StoredDesired, StoredEvent, StoredFormat, StoredKind,
    StoredOutcome, StoredPlan, StoredProblem, StoredProtection, StoredRunOutcome, StoredScope, StoredSkipReason,
    StoredSource, StoredStep, StoredStepState, StoredVia, TokenAccount, TokenRecord, VersionRecord, WithdrawnEntry,
    WithdrawnRecord,
};

/// The kinds of records with a [`check`] here.
const OF_STORE: [&str; 44] = [
    "accounts/{name}",
    "alias/{app}/{name}",
    "apps/{app}",
    "audit/{number}",
    "confirmations/{app}",
    "console",
    "deleted-environments/{app}/{env}",
    "deleted/{app}",
    "dictionaries/{app}/{id}",
    "exchanged/{hash}",
    "gone/{app}/{id}",
    "history/{app}/{env}/{number}",
    "hostnames/{host}",
    "listed/{app}/{env}",
    "live-log/{app}/{env}/{number}",
    "live/{app}/{env}",
    "locks/{app}/{env}",
    "logins/{id}",
    "passkeys/{id}",
    "paused/{app}/{env}",
    "protection/{app}/{env}",
    "scale/{app}/{env}",
    "schedules/{app}/{env}/{name}",
    "secrets/challenges",
    "secrets/hostname-proof",
    "sent/{app}/{push}/{number}",
    "sessions/{id}",
    "settings/{app}/{env}/{revision}",
    "shares/{app}/{id}",
    "signatures/{app}/{id}",
    "signers/{app}/{env}",
    "tokens/{id}",
    "uids-free/{number}",
    "uids-next",
    "uids/{app}",
    "uids/{app}/{env}",
    "upstreams/{app}/{env}/{name}",
    "used/{id}",
    "versions/{app}/{id}",
    "webhook-ended/{app}/{name}/{id}",
    "webhook-waiting/{app}/{name}/{id}",
    "webhooks-added/{app}",
    "webhooks/{app}/{name}",
    "withdrawn/{app}",
];

/// A public key, without its lost private key, and a signature by the key.
const SIGNER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEOkZU9Wxc+8JmEaywdYzOA7elCZagdWdcvKXx57yLrC ada@laptop";
const SIGNATURE: &str = "\
-----BEGIN SSH SIGNATURE-----\n\
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgQ6RlT1bFz7wmYRrLB1jM4Dt6UJ\n\
lqB1Z1y8pfHnvIusIAAAATZGV2YW50dXJlLXZlcnNpb25AMQAAAAAAAAAGc2hhNTEyAAAA\n\
UwAAAAtzc2gtZWQyNTUxOQAAAED/87HlFddKIC6pwKnrNeLb0H8EUHf0zRJhyHxmjp7mR4\n\
9Lg4ZCmuNnMX3fWskrN2ODnzHx+QeAEOV251PBytgL\n\
-----END SSH SIGNATURE-----\n";

#[test]
fn every_kind_of_record_has_a_golden_file_and_no_other_has() {
    let checked: BTreeSet<_> = OF_STORE.iter().chain(&OF_CONTROL).map(|key| (*key).to_owned()).collect();
    assert_eq!(TABLE.iter().map(|kind| kind.key.to_owned()).collect::<BTreeSet<_>>(), checked);
    let folder = super::file("x").parent().unwrap().to_owned();
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<_> = files.filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect();
    assert_eq!(files, checked.iter().map(|key| super::file(key)).collect());
}

fn shop() -> AppName {
    "shop".parse().unwrap()
}

fn staging() -> PlaceName {
    "staging".parse().unwrap()
}

fn version() -> VersionId {
    Digest::of(b"a version")
}

fn earlier() -> VersionId {
    Digest::of(b"an earlier version")
}

fn sealed(text: &str) -> Sealed {
    Sealed::new("0123456789abcdef".to_owned(), text.as_bytes())
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn what_is_live_and_what_was_is_stored_as_it_was() {
    let begun_with =
        BegunWith { app: Some(shop()), environment: Some(staging()), scope: StoredScope::Promote, unconfirmed: true };
    let canary = CanaryRecord {
        version: earlier(),
        share: 5.try_into().unwrap(),
        deploy: "6a".to_owned(),
        since_ms: 1_700_000_000_001,
        stepped_ms: Some(1_700_000_000_002),
        who: "ada".to_owned(),
        begun_with: Some(begun_with),
        cookie: Some("visitor".parse().unwrap()),
        plan: Some(StoredPlan { shares: vec![5, 25, 100], every_s: 300 }),
        next_ms: Some(1_700_000_300_002),
    };
    let pointer = LivePointer {
        version: version(),
        settings: 3,
        switched_ms: 1_700_000_000_000,
        deploy: "5f".to_owned(),
        begun: 7,
        position: "history/shop/staging/0001700000000000".to_owned(),
        halves_begun: Some(HalvesBegun { backend: 6, front: 7 }),
        canary: Some(canary),
        pins: Some(PinsRecord { earlier: vec![earlier()], since_ms: 9 }),
    };
    check("live/{app}/{env}", &pointer);
    let hostnames = vec!["shop.example".parse().unwrap(), "*.shop.example".parse().unwrap()];
    let (at_ms, until_ms, who) = (1, 2, "ada".to_owned());
    let deleted = DeletedEnvironment { hostnames: hostnames.clone(), at_ms, until_ms, who: who.clone(), pointer };
    check("deleted-environments/{app}/{env}", &deleted);
    check("deleted/{app}", &DeletedApp { hostnames: hostnames.clone(), at_ms, until_ms, who: who.clone() });
    let canonical = Some("shop.example".parse().unwrap());
    check("listed/{app}/{env}", &ListedHostnames { hostnames, canonical });
    let alias = AliasRecord {
        version: version(),
        switched_ms: 1,
        begun: 2,
        who: who.clone(),
        environment: Some(PlaceName::preview()),
        expires_ms: Some(3),
        halves_begun: Some(HalvesBegun { backend: 1, front: 2 }),
    };
    check("alias/{app}/{name}", &alias);
    let (app, environment) = (shop(), staging());
    let hostname = HostnameRecord { app, environment, added_ms: 1, by_api: true, canonical: true, who };
    check("hostnames/{host}", &hostname);
}

#[test]
fn the_history_is_stored_as_it_was() {
    let source = StoredSource {
        commit: text("0123abcd"),
        branch: text("main"),
        message: text("the first one"),
        dirty: true,
        ci: text("github"),
        url: text("https://ci.example/1"),
    };
    let step =
        StoredStep { name: "smoke".to_owned(), state: StoredStepState::Failed, detail: "404".to_owned(), ms: 12 };
    let problem = StoredProblem { code: Code::SmokeFailed, detail: "It did not answer.".to_owned() };
    let deploy = StoredDeploy {
        id: "5f".to_owned(),
        kind: StoredKind::Push,
        environment: staging(),
        version: version(),
        previous: Some(earlier()),
        who: "ada".to_owned(),
        at_ms: 1_700_000_000_000,
        source,
        steps: vec![step],
        outcome: StoredOutcome::Failed,
        alias: Some("next".parse().unwrap()),
        problem: Some(problem),
        log: vec!["a line".to_owned()],
        settings: 3,
        went_back: text("errors rose"),
        reason: text("as asked"),
        halves: Some(Halves::Front),
        with: Some(earlier()),
    };
    let position = "history/shop/staging/0001700000000000".to_owned();
    check("history/{app}/{env}/{number}", &HistoryEntry { deploy, position });
    let entry = LiveLogRecord {
        number: 2,
        previous: Some(Digest::of(b"the entry before")),
        at_ms: 1_700_000_000_000,
        version: version(),
        settings: 3,
        deploy: "5f".to_owned(),
        kind: StoredKind::Change,
        who: "ada".to_owned(),
        signed_by: vec!["SHA256:x".to_owned()],
        hash: Digest::of(b"the entry"),
    };
    check("live-log/{app}/{env}/{number}", &entry);
    let entry = AuditRecord {
        number: 4,
        at_ms: 1_700_000_000_000,
        action: "switch".to_owned(),
        who: "ada".to_owned(),
        by: StoredBy::Token,
        credential: text("0123"),
        root: text("trust:ci"),
        via: Some(StoredVia::Session),
        from: "192.0.2.1".to_owned(),
        node: text("edge-1"),
        app: Some(shop()),
        environment: Some(staging()),
        what: "0123abcd went live".to_owned(),
    };
    check("audit/{number}", &entry);
}

#[test]
fn versions_are_stored_as_they_were() {
    let who = "ada".to_owned();
    check("apps/{app}", &AppRecord { created_ms: 1, who: who.clone() });
    let page = DecodedFile { hash: Digest::of(b"a page"), size: 6 };
    let pages = IntegrityPages {
        made: 2,
        tables: ["".to_owned(), "staging".to_owned()].into(),
        pages: [("index.html".parse().unwrap(), page)].into(),
        maps: [("index.html".parse().unwrap(), Sha256::from([1; 32]))].into(),
    };
    let record = VersionRecord {
        stored_ms: 1,
        again_ms: Some(2),
        who: who.clone(),
        trusted: true,
        edge_admin: Some(false),
        trusted_in: [staging()].into(),
        reach: Some(Reach::Kept),
        source: StoredSource { commit: text("0123abcd"), branch: text("main"), ..StoredSource::default() },
        files: 3,
        bytes: 4,
        given: [("app.js".parse().unwrap(), vec![Form::Br, Form::Gz, Form::Zst])].into(),
        decoded: [("app.js".parse().unwrap(), page)].into(),
        integrity: vec![pages],
        quick: true,
    };
    check("versions/{app}/{id}", &record);
    let record = Some(record);
    let gone = GoneVersion { at_ms: 5, collected: true, until_ms: 6, who: who.clone(), stored_ms: 1, record };
    check("gone/{app}/{id}", &gone);
    let dictionaries = DictionariesRecord {
        files: [(Digest::of(b"app.js"), Sha256::from([1; 32]))].into(),
        deltas_from: BTreeMap::from([(staging(), [Digest::of(b"app.js")].into())]),
        linked: vec!["app.js".parse().unwrap()],
        pages: Some(PagesDictionary { blob: Digest::of(b"pages"), sha256: Sha256::from([2; 32]), size: 5 }),
        pages_of: ["index.html".parse().unwrap()].into(),
    };
    check("dictionaries/{app}/{id}", &dictionaries);
    let paths = [("/old".to_owned(), WithdrawnEntry { at_ms: 1, who: who.clone() })].into();
    check("withdrawn/{app}", &WithdrawnRecord { paths });
    check("sent/{app}/{push}/{number}", &SentRecord { at_ms: 1, blobs: vec![Digest::of(b"app.js")] });
    let console = ConsoleRecord {
        package: Digest::of(b"a package"),
        version: Some(version()),
        files: 1,
        bytes: 2,
        at_ms: 3,
        who: who.clone(),
    };
    check("console", &console);
    let signers = SignersRecord {
        signers: vec![SIGNER.parse().unwrap()],
        signatures_min: 1,
        who: who.clone(),
        at_ms: 1_700_000_000_000,
    };
    check("signers/{app}/{env}", &signers);
    let signature = StoredSignature { signature: SIGNATURE.parse().unwrap(), who, at_ms: 1 };
    check("signatures/{app}/{id}", &SignaturesRecord { signatures: vec![signature] });
}

#[test]
fn what_the_api_sets_of_an_environment_is_stored_as_it_was() {
    let who = "ada".to_owned();
    let pause = PauseRecord {
        since_ms: 1,
        who: who.clone(),
        message: text("Back at ten."),
        allow: vec!["/status".parse().unwrap(), "/api/*".parse().unwrap()],
        retry_after_s: 5,
    };
    check("paused/{app}/{env}", &pause);
    check("locks/{app}/{env}", &LockRecord { since_ms: 1, who: who.clone(), reason: text("a release") });
    let protection = ProtectionRecord {
        mode: StoredProtection::Password,
        password: Some(sealed("password")),
        key: sealed("key"),
        who: who.clone(),
        at_ms: 1,
    };
    check("protection/{app}/{env}", &protection);
    let share = ShareRecord {
        target: StoredTarget::Environment(staging()),
        hash: Digest::of(b"secret"),
        password: Some(sealed("password")),
        key: sealed("key"),
        who: who.clone(),
        created_ms: 1,
        expires_ms: 2,
    };
    check("shares/{app}/{id}", &share);
    let setting =
        |value, development| StoredSetting { value, revision: 2, who: "ada".to_owned(), at_ms: 1, development };
    let plain = StoredValue::Plain { value: "on".to_owned(), public: true };
    let settings = [
        ("MODE".parse().unwrap(), setting(plain, false)),
        ("TOKEN".parse().unwrap(), setting(StoredValue::Secret(sealed("token")), true)),
    ];
    check("settings/{app}/{env}/{revision}", &SettingsRecord { who: who.clone(), at_ms: 1, settings: settings.into() });
    let counts = [("web", Instances::Count(2)), ("worker", Instances::All(All::All))];
    let processes = counts.map(|(name, count)| (name.parse().unwrap(), count)).into();
    check("scale/{app}/{env}", &ScaleRecord { processes });
    check("uids/{app}/{env}", &UidRecord { number: 4, pair: Some(1) });
    check("uids/{app}", &UidPairRecord { number: 1 });
    check("uids-free/{number}", &FreeUidRecord { at_ms: 1 });
    check("uids-next", &NextUidRecord { next: Some(7), number: Some(3) });
    let member = |desired| MemberEntry { desired, trusted: true, vouched: true, who: "ada".to_owned(), at_ms: 1 };
    let members = [
        ("http://192.0.2.1:80", member(StoredDesired::In)),
        ("http://192.0.2.2:80", member(StoredDesired::Drain)),
        ("http://192.0.2.3:80", member(StoredDesired::Out)),
    ];
    let members = members.map(|(address, member)| (address.parse().unwrap(), member)).into();
    check("upstreams/{app}/{env}/{name}", &MembersRecord { members });
    let run = StoredRun { due_ms: Some(2), started_ms: 3, node: "edge-1".to_owned(), version: version() };
    let last = StoredRunEnd {
        run: StoredRun { due_ms: None, ..run.clone() },
        ended_ms: 4,
        outcome: StoredRunOutcome::TimedOut,
        exit_code: Some(-1),
        detail: text("was ended by signal 9"),
    };
    let schedule = ScheduleRecord {
        cron: "0 3 * * *".to_owned(),
        zone: "Europe/Berlin".to_owned(),
        time_ms: 1,
        running: vec![RunningRecord { id: "a1".to_owned(), process: "b2".to_owned(), run }],
        last: Some(last),
        skipped: Some(StoredSkip { due_ms: 5, reason: StoredSkipReason::Missed }),
    };
    check("schedules/{app}/{env}/{name}", &schedule);
}

#[test]
fn webhooks_and_their_messages_are_stored_as_they_were() {
    let webhook = WebhookRecord {
        url: sealed("https://chat.example/1"),
        address: "https://chat.example".to_owned(),
        format: StoredFormat::Slack,
        events: vec![StoredEvent::DeployLive, StoredEvent::CanaryStep],
        environments: vec![staging()],
        secret: sealed("secret"),
        old_secret: Some(OldSecret { secret: sealed("old"), until_ms: 1 }),
        older_secrets: vec![OldSecret { secret: sealed("older"), until_ms: 2 }],
        trusted: true,
        vouched: true,
        who: "ada".to_owned(),
        created_ms: 3,
        failing_since_ms: Some(4),
        failed_ms: Some(5),
        failures: 6,
        resumed_ms: 7,
        disabled: Some(StoredEnd { at_ms: 8, reason: "It failed.".to_owned() }),
    };
    check("webhooks/{app}/{name}", &webhook);
    check("webhooks-added/{app}", &WebhookAdded { at_ms: 1 });
    let data = StoredData {
        app: shop(),
        environment: Some(staging()),
        actor: text("ada"),
        kind: Some(StoredKind::Rollback),
        deploy: text("5f"),
        version: Some(version()),
        previous: Some(earlier()),
        url: text("https://staging--shop.example"),
        preview: text("https://0123--shop.example"),
        commit: text("0123abcd"),
        branch: text("main"),
        message: text("the first one"),
        reason: text("as asked"),
        problem: Some(StoredProblem { code: Code::WatchFailed, detail: "Errors rose.".to_owned() }),
        hostname: text("shop.example"),
        expires: text("2027-01-01T00:00:00Z"),
        webhook: Some("chat".parse().unwrap()),
    };
    let last = StoredAttempt { at_ms: 2, ms: 3, status: Some(500), error: text("status 500"), answer: "no".to_owned() };
    let waiting = DeliveryRecord {
        event: StoredEvent::DeployRollback,
        at_ms: 1,
        data,
        state: StoredDelivery::Waiting,
        attempts: 1,
        next_ms: 4,
        last: Some(last),
    };
    check("webhook-waiting/{app}/{name}/{id}", &waiting);
    check("webhook-ended/{app}/{name}/{id}", &DeliveryRecord { state: StoredDelivery::Dropped, ..waiting });
}

#[test]
fn credentials_are_stored_as_they_were() {
    let account = || "ada@example.org".parse().unwrap();
    let invitation = Some(Invitation { hash: Digest::of(b"invitation"), expires_ms: 3 });
    let record = AccountRecord {
        id: "0a1b".to_owned(),
        password: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".to_owned(),
        stamp: "2c3d".to_owned(),
        app: Some(shop()),
        environment: Some(staging()),
        scope: StoredScope::Admin,
        created_ms: 1,
        password_ms: 2,
        made_by: "root".to_owned(),
        invitation,
    };
    check("accounts/{name}", &record);
    let token = TokenRecord {
        hash: Digest::of(b"token"),
        name: "ci".to_owned(),
        app: Some(shop()),
        environment: Some(staging()),
        scope: StoredScope::Push,
        created_ms: 1,
        expires_ms: Some(2),
        made_by: text("ada"),
        root: text("0a1b/4e5f"),
        account: Some(TokenAccount { name: account(), id: "0a1b".to_owned() }),
    };
    check("tokens/{id}", &token);
    let login = LoginRecord {
        account: account(),
        stamp: "2c3d".to_owned(),
        family: Digest::of(b"family"),
        refresh: Digest::of(b"refresh"),
        generation: 2,
        previous: Some(ReplacedToken { hash: Digest::of(b"previous"), replaced_ms: 1 }),
        access: vec![AccessToken { hash: Digest::of(b"access"), generation: 2, expires_ms: 3 }],
        created_ms: 1,
        expires_ms: 4,
        from: "192.0.2.1".to_owned(),
    };
    check("logins/{id}", &login);
    check("used/{id}", &UsedRecord { at_ms: 1, from: "192.0.2.1".to_owned() });
    check("exchanged/{hash}", &ExchangedRecord { expires_ms: 1, by: "ci".to_owned() });
    let session = SessionRecord {
        hash: Digest::of(b"session"),
        account: Some(account()),
        stamp: "2c3d".to_owned(),
        created_ms: 1,
        expires_ms: 2,
        from: "192.0.2.1".to_owned(),
        browser: "a browser".to_owned(),
        confirmed_until_ms: 3,
        registered_ms: 4,
    };
    check("sessions/{id}", &session);
    let passkey = PasskeyRecord {
        account: account(),
        stamp: "2c3d".to_owned(),
        name: "laptop".to_owned(),
        credential: "AQID".to_owned(),
        public_key: "04aa".to_owned(),
        rp: "example.org".to_owned(),
        origin: "https://admin.example.org".to_owned(),
        counter: 1,
        challenge_ms: 2,
        ahead_ms: 3,
        created_ms: 4,
        used_ms: Some(5),
    };
    check("passkeys/{id}", &passkey);
    let confirm = [StoredAction::Promote, StoredAction::Token, StoredAction::Delete];
    check("confirmations/{app}", &ConfirmationsRecord { confirm: confirm.into() });
    for key in ["secrets/challenges", "secrets/hostname-proof"] {
        check(key, &ProofSecret { key: "07".repeat(32) });
    }
}
