//! Commits to the catalog: the committing files, and the commits without an audit entry.

use std::collections::BTreeSet;

use super::{Source, sources};

/// Returns true if the code may build a commit and pass the commit to the ledger.
fn composes_commits(source: &Source) -> bool {
    const COMPOSING: [&str; 18] = [
        "ledger",
        "access",
        "encode",
        "places",
        "signing",
        "pauses",
        "upstreams",
        "instances",
        "hostnames",
        "settings",
        "aliases",
        "protection",
        "commands",
        "schedules",
        "webhooks",
        "retention",
        "switch",
        "publish",
    ];
    COMPOSING.contains(&source.room())
}

#[test]
fn law_5_only_ledger_commits_to_the_catalog() {
    let sources = sources();
    for source in sources.iter().filter(|source| !matches!(source.room(), "catalog" | "ledger")) {
        // Independent of the formatter's line breaks.
        let code: String = source.code.chars().filter(|c| !c.is_whitespace()).collect();
        for (at, _) in code.match_indices(".commit(") {
            let is_by_the_ledger = ["ledger", "audit"].iter().any(|way| code[..at].ends_with(way));
            assert!(is_by_the_ledger, "{} commits past the ledger", source.path);
        }
        assert!(!code.contains(".commit_leased("), "{} commits past the ledger", source.path);
        assert!(!code.contains(".commit_reserved("), "{} uses reserved space", source.path);
        if !composes_commits(source) {
            let wrong = source.lines_with(&["Commit"]);
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        }
    }
    let mut ledger = sources.iter().filter(|source| source.room() == "ledger");
    assert!(ledger.any(|source| source.code.contains("catalog.commit(")), "the call is looked for by a wrong name");
}

/// System commits of the edge, by file; every other commit is an audited event.
const SYSTEM_COMMITS: [(&str, &str); 23] = [
    ("access/last_use.rs", "SystemWrite::LastUse"),
    ("access/logins.rs", "SystemWrite::Refresh"),
    ("access/session_list.rs", "SystemWrite::Collection"),
    ("encode/compress/background.rs", "SystemWrite::Levels"),
    ("encode/dictionaries/record.rs", "SystemWrite::Dictionaries"),
    ("ledger/acme_records.rs", "SystemWrite::Acme"),
    ("ledger/copied.rs", "SystemWrite::Copy"),
    ("ledger/history.rs", "SystemWrite::Collection"),
    ("ledger/history.rs", "SystemWrite::History"),
    ("ledger/tasks.rs", "SystemWrite::Task"),
    ("ledger/write_pause.rs", "SystemWrite::Pause"),
    ("aliases/mod.rs", "SystemWrite::ExpiredAlias"),
    ("signing/unsigned.rs", "SystemWrite::LiveLog"),
    ("publish/uploads.rs", "SystemWrite::Sent"),
    ("retention/collect/ending.rs", "SystemWrite::Collection"),
    ("retention/collect/sweep.rs", "SystemWrite::Collection"),
    ("retention/collect/retire.rs", "SystemWrite::Collection"),
    ("ledger/shared_secret.rs", "SystemWrite::ProofSecret"),
    ("schedules/claim.rs", "SystemWrite::Schedule"),
    ("instances/user_ids.rs", "SystemWrite::Uid"),
    ("webhooks/manage.rs", "SystemWrite::Webhook"),
    ("webhooks/records.rs", "SystemWrite::Webhook"),
    ("ledger/announce.rs", "SystemWrite::Webhook"),
];

#[test]
fn no_commit_is_without_its_entry_of_the_audit_log() {
    let sources = sources();
    let mut found = BTreeSet::new();
    for source in sources.iter().filter(|source| composes_commits(source)) {
        let code: String = source.code.chars().filter(|c| !c.is_whitespace()).collect();
        for call in [".commit(", ".commit_unseen("] {
            for (at, _) in code.match_indices(call) {
                let named = code[at + call.len()..].split(',').next().unwrap_or_default();
                let is_the_way = matches!(source.path.as_str(), "ledger/audit/mod.rs" | "ledger/system_write.rs");
                assert!(named.contains("actor") || is_the_way, "{}: {named} has no entry", source.path);
            }
        }
        let by_system = ["commit_system(", "commit_in_parts("].map(|call| code.match_indices(call));
        for (at, call) in by_system.into_iter().flatten() {
            let arguments = code[at + call.len()..].split(',').take(2);
            found.extend(
                arguments
                    .filter(|why| why.starts_with("SystemWrite::"))
                    .map(|why| (source.path.clone(), why.to_owned())),
            );
        }
    }
    let expected: BTreeSet<_> =
        SYSTEM_COMMITS.iter().map(|(path, why)| ((*path).to_owned(), (*why).to_owned())).collect();
    assert_eq!(found, expected, "what the edge writes for itself is listed here");
}
