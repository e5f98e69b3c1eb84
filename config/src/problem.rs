//! Problems: failures with a stable code, an HTTP status and an exit code. Both programs and the docs share one table.

use serde::{Deserialize, Serialize};

use crate::digest::VersionId;
use crate::names::PlaceName;
use crate::parsing::Mistake;

/// Maximum number of mistakes in a problem.
pub const MISTAKES_MAX: usize = 200;

/// Exit code of the command line after a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Refused or failed; no change was made.
    Refused = 1,
    /// Wrong use, or a mistake in a file; no request was sent.
    Usage = 2,
    /// The edge was unreachable or silent; a retry may help.
    Unreachable = 3,
    /// The token is missing, wrong, expired, or lacks the permission.
    Forbidden = 4,
}

macro_rules! codes {
    ($($code:ident $text:literal $status:literal $exit:ident $title:literal,)+) => {
        /// Stable code of a problem.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $(#[doc = $title] #[serde(rename = $text)] $code,)+
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$code,)+];

            /// Returns the code's text in JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$code => $text,)+ }
            }

            /// Returns the HTTP status; 0 for problems of the command line only.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$code => $status,)+ }
            }

            /// Returns the exit code of a command stopped by the problem.
            #[must_use]
            pub const fn exit(self) -> Exit {
                match self { $(Self::$code => Exit::$exit,)+ }
            }

            /// Returns the title, in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$code => $title,)+ }
            }
        }
    };
}

codes! {
    AliasTaken "alias_taken" 409 Refused "That name is an environment of the app, so it cannot be an alias.",
    AmbiguousId "ambiguous_id" 409 Refused "More than one version begins with that id.",
    AppMemoryFull "app_memory_full" 409 Refused "The loaded versions of the app would take more memory than the edge allows one app.",
    ArchiveBomb "archive_bomb" 413 Refused "The archive unpacks to far more than it is.",
    ArchiveCutOff "archive_cut_off" 422 Refused "The archive ends before its end.",
    ArchiveDamaged "archive_damaged" 422 Refused "The archive is not as it was made.",
    ArchiveLink "archive_link" 422 Refused "The archive holds a link.",
    ArchiveSpecial "archive_special" 422 Refused "The archive holds what is neither a file nor a folder.",
    BadArchive "bad_archive" 422 Refused "The archive cannot be unpacked.",
    BadBundle "bad_bundle" 422 Usage "The bundle holds something that cannot be stored.",
    BadConfig "bad_config" 422 Usage "A configuration file has mistakes.",
    BadIdentityToken "bad_identity_token" 401 Forbidden "The identity token gives no access here.",
    BadJson "bad_json" 400 Refused "The request's body is not JSON.",
    BadLogin "bad_login" 401 Forbidden "The login or the password is wrong.",
    BadManifest "bad_manifest" 422 Refused "The manifest cannot be taken.",
    BadPath "bad_path" 422 Refused "A name cannot be a path of a bundle.",
    BadRequest "bad_request" 400 Refused "The request cannot be read.",
    BadRules "bad_rules" 422 Refused "A rule cannot be carried out.",
    BadSetting "bad_setting" 422 Usage "A setting cannot be taken as it is.",
    BadSignature "bad_signature" 422 Refused "A signature is not one of this version of this app.",
    BadToken "bad_token" 401 Forbidden "The token is unknown, revoked or expired.",
    BlobMismatch "blob_mismatch" 422 Refused "The bytes do not have the hash or the length that they were sent under.",
    BlobMissing "blob_missing" 409 Refused "The manifest names a blob that was not sent.",
    BodyStalled "body_stalled" 408 Unreachable "The request's body stopped, or came too slowly.",
    BundleTooLarge "bundle_too_large" 413 Refused "The bundle is larger than a limit of the edge allows.",
    Busy "busy" 503 Unreachable "The edge has no place for more of these just now.",
    CanaryRunning "canary_running" 409 Refused "A canary runs in the environment; it is finished or aborted first.",
    CaseCollision "case_collision" 422 Usage "Two paths differ in nothing but their case.",
    CatalogUnavailable "catalog_unavailable" 503 Unreachable "The catalog of the cluster cannot be reached; nothing was changed.",
    CheckFailed "check_failed" 0 Usage "`devanture check` found mistakes in the site.",
    ConfirmationRequired "confirmation_required" 403 Forbidden "The session has to be confirmed before this.",
    Conflict "conflict" 409 Refused "Something else changed the same record at the same time.",
    CrashLoop "crash_loop" 422 Refused "An instance of the backend ends again and again; it did not go live.",
    CrossSite "cross_site" 403 Forbidden "A browser sent the request for another site than the edge's own.",
    Deleted "deleted" 410 Refused "The app or the environment was deleted, and can be restored for a while.",
    DigestMismatch "digest_mismatch" 422 Refused "The body does not have the digest that was sent with it.",
    DiskFull "disk_full" 507 Refused "The edge has no room left on its disk.",
    DiskUnwritable "disk_unwritable" 507 Refused "The disk of the edge cannot be written; what is live stays.",
    DuplicatePath "duplicate_path" 422 Refused "Two entries are at one path.",
    EmptyBundle "empty_bundle" 422 Usage "The folder holds no file to publish.",
    FingerprintReused "fingerprint_reused" 409 Refused "A fingerprinted name would stand for other content than it did.",
    Forbidden "forbidden" 403 Forbidden "The token may not do this.",
    ForeignBytes "foreign_bytes" 0 Refused "A live site answers with bytes that are not those of its signed version.",
    HostnamesFull "hostnames_full" 409 Refused "The environment has as many hostnames as the edge allows.",
    HostnameTaken "hostname_taken" 409 Refused "Another app or environment has that hostname.",
    HostnameUnproven "hostname_unproven" 422 Refused "DNS does not prove that the hostname may be taken.",
    IdentityKeysUnavailable "identity_keys_unavailable" 503 Unreachable "The keys of an issuer of identity tokens cannot be fetched.",
    ImageRefused "image_refused" 422 Refused "The edge does not run the container image of the backend, or cannot get it.",
    InstanceFailed "instance_failed" 422 Refused "An instance of the backend did not become healthy; it did not go live.",
    Internal "internal" 500 Refused "The edge failed; its log says more.",
    LiveLogBroken "live_log_broken" 0 Refused "The log of what was live in an environment is not whole.",
    LiveMoved "live_moved" 409 Refused "Another version is live than the one that was expected.",
    Locked "locked" 409 Refused "The environment is locked; what is live stays.",
    MethodNotAllowed "method_not_allowed" 405 Refused "That address does not take this method.",
    MissingFolder "missing_folder" 0 Usage "The folder to push does not exist.",
    NameReserved "name_reserved" 409 Refused "That name is kept for the edge's operator or for previews; nothing else may have it.",
    NoCanary "no_canary" 404 Refused "No canary runs in the environment.",
    NodeUnreachable "node_unreachable" 503 Unreachable "A node of the cluster does not answer, and does not count as gone yet.",
    NoPrevious "no_previous" 409 Refused "No earlier version is there to go back to.",
    NotFound "not_found" 404 Refused "There is no such thing here.",
    NothingLive "nothing_live" 404 Refused "Nothing is live there.",
    NotReady "not_ready" 409 Refused "The version could not be prepared for serving.",
    NotSigned "not_signed" 409 Refused "The version has not the signatures that the environment wants; what is live stays.",
    OutcomeUnknown "outcome_unknown" 503 Unreachable "The catalog stopped answering; the change was made as a whole or not at all.",
    PathEscapes "path_escapes" 422 Refused "A path leads out of the bundle.",
    PathTooLong "path_too_long" 413 Refused "A path, or a segment of it, is longer than a limit of the edge allows.",
    PersistFull "persist_full" 507 Refused "The environment keeps more files or bytes in `persist` than the edge allows.",
    PreconditionFailed "precondition_failed" 412 Refused "The record is not as the request expects it.",
    ReleaseFailed "release_failed" 422 Refused "The release command of the backend failed; it did not go live.",
    Restarting "restarting" 503 Unreachable "A new edge takes over from this one; what would change something waits a moment.",
    RunEnded "run_ended" 409 Refused "The edge ended the command before its own end.",
    RunnerForbidden "runner_forbidden" 403 Forbidden "All backends of the edge share its user, and the token is not that of an admin of every app.",
    RunnerOff "runner_off" 422 Refused "The bundle holds a backend, and the edge runs none.",
    SecretsLocked "secrets_locked" 503 Refused "The key that secrets are sealed with cannot be used.",
    SmokeFailed "smoke_failed" 422 Refused "The version did not answer as its smoke checks say; it did not go live.",
    StorageFull "storage_full" 507 Refused "The app stores as many bytes as the edge allows one app.",
    StoreRefused "store_refused" 422 Refused "The S3 store of a backup refuses what is asked of it.",
    StoreUnavailable "store_unavailable" 503 Unreachable "The S3 store of a backup, or of the stored files, cannot be reached, or failed.",
    Superseded "superseded" 409 Refused "A newer push went live in the meantime; this one is stored with its preview.",
    TimedOut "timed_out" 0 Refused "What the command waited for did not come in time.",
    TooLarge "too_large" 413 Refused "The request's body is larger than allowed.",
    TooMany "too_many" 409 Refused "A limit of the edge allows no more of them.",
    TooManyAttempts "too_many_attempts" 429 Unreachable "There were too many attempts to log in, or too many changes in a minute.",
    TooManyPushes "too_many_pushes" 429 Unreachable "The app has begun as many pushes in an hour as the edge allows one app.",
    TooManyStreams "too_many_streams" 429 Unreachable "The token or account follows as many deploys and logs as the edge allows one.",
    TooManyTests "too_many_tests" 429 Unreachable "The app's webhooks were tested as often in a minute as the edge allows one app.",
    Unauthenticated "unauthenticated" 401 Forbidden "A token is needed.",
    Unreachable "unreachable" 0 Unreachable "The edge cannot be reached.",
    UnreadableFile "unreadable_file" 0 Usage "A file of the folder cannot be read.",
    UnsupportedType "unsupported_type" 415 Refused "The body's media type is not one that is taken here.",
    UntrustedSource "untrusted_source" 0 Usage "The token and the address of the edge come from sources of unequal trust.",
    UpstreamForbidden "upstream_forbidden" 422 Refused "A route points where upstreams of this app may not point.",
    UpstreamUnknown "upstream_unknown" 404 Refused "The live version has no upstream of that name whose members can change.",
    Usage "usage" 0 Usage "The command was called in a way that it does not understand.",
    VersionCollected "version_collected" 410 Refused "The app had this version; it was old, nothing held it, and it was collected.",
    VersionInUse "version_in_use" 409 Refused "The version is live, or something points at it or goes back to it.",
    Warnings "warnings" 422 Refused "There are doubts; --allow-warnings lets them pass.",
    WatchFailed "watch_failed" 409 Refused "Errors rose after the switch, which was undone.",
    WebhookFailed "webhook_failed" 0 Refused "The receiver of a webhook did not take a message.",
    WebhookForbidden "webhook_forbidden" 422 Refused "A webhook points where webhooks of this app may not point.",
}

/// Limit that a request would exceed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachedLimit {
    /// Key in `[limits]` of `edge.toml`.
    pub name: String,
    /// Value for the app.
    pub max: u64,
    /// Current use, without the request.
    pub used: u64,
}

/// Live version of an environment, after a request with a different expectation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveNow {
    /// The environment.
    pub environment: PlaceName,
    /// Live version; `None` without a live version.
    pub version: Option<VersionId>,
}

/// Problem in the format of RFC 9457, with the further members `code`, `hint`, `limit`, `lines`, `live`, `mistakes` and
/// `retry_after_s`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// `about:blank`: the code identifies the kind of problem (RFC 9457 §4.2.1).
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// Title of the code.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// The stable code.
    pub code: Code,
    /// Description of the event and its place, as a sentence.
    #[serde(default)]
    pub detail: String,
    /// Advice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Exceeded limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<ReachedLimit>,
    /// Last log lines of the failed instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    /// Live version in place of the expected version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveNow>,
    /// Mistakes of files, for a problem in files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<Mistake>,
    /// Seconds until a retry may succeed, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

fn about_blank() -> String {
    "about:blank".to_owned()
}

impl Problem {
    /// Makes a problem with `code` and the sentence `detail`.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: about_blank(),
            title: code.title().to_owned(),
            status: code.status(),
            code,
            detail: detail.into(),
            hint: None,
            limit: None,
            lines: Vec::new(),
            live: None,
            mistakes: Vec::new(),
            retry_after_s: None,
        }
    }

    /// Adds advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the exceeded limit, and its name to the hint.
    #[must_use]
    pub fn limit(mut self, name: &str, max: u64, used: u64) -> Self {
        let where_set = format!("`{name}` in edge.toml is the limit");
        self.hint = Some(match self.hint.take() {
            Some(hint) => format!("{hint}; {where_set}"),
            None => where_set,
        });
        self.limit = Some(ReachedLimit { name: name.to_owned(), max, used });
        self
    }

    /// Adds the seconds until a retry may succeed.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Adds the live version of an environment.
    #[must_use]
    pub fn live(mut self, environment: &PlaceName, version: Option<VersionId>) -> Self {
        self.live = Some(LiveNow { environment: environment.clone(), version });
        self
    }

    /// Adds the last log lines of an instance.
    #[must_use]
    pub fn with_lines(mut self, lines: Vec<String>) -> Self {
        self.lines = lines;
        self
    }

    /// Adds mistakes of files: at most [`MISTAKES_MAX`], and a final entry with the number of further mistakes. Fixing
    /// the first mistakes reveals the rest.
    #[must_use]
    pub fn with_mistakes(mut self, mut mistakes: Vec<Mistake>) -> Self {
        let more = mistakes.len().saturating_sub(MISTAKES_MAX);
        mistakes.truncate(MISTAKES_MAX);
        if let Some(last) = mistakes.last().filter(|_| more > 0) {
            let message = match more {
                1 => "1 more is not listed.".to_owned(),
                _ => format!("{more} more are not listed."),
            };
            mistakes.push(Mistake { line: 0, message, hint: None, ..last.clone() });
        }
        self.mistakes = mistakes;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parsing::Weight;

    #[test]
    fn mistakes_beyond_a_bound_are_counted_in_a_last_one() {
        let listed = |count: usize| {
            let mistake = |line| Mistake {
                file: "devanture.toml".to_owned(),
                line,
                weight: Weight::Mistake,
                message: "This is not right.".to_owned(),
                hint: Some("put it right".to_owned()),
            };
            Problem::new(Code::BadConfig, "").with_mistakes((1..=count).map(mistake).collect()).mistakes
        };
        assert_eq!((listed(0).len(), listed(MISTAKES_MAX).len()), (0, MISTAKES_MAX));
        for (count, last) in [(MISTAKES_MAX + 1, "1 more is not listed."), (500_000, "499800 more are not listed.")] {
            let mistakes = listed(count);
            assert_eq!(mistakes.len(), MISTAKES_MAX + 1);
            assert_eq!(mistakes[MISTAKES_MAX - 1].line, MISTAKES_MAX);
            let end = &mistakes[MISTAKES_MAX];
            assert_eq!((end.message.as_str(), end.line, &end.hint), (last, 0, &None));
        }
    }

    #[test]
    fn codes_are_sorted_and_read_back() {
        assert!(Code::ALL.is_sorted_by_key(|c| c.as_str().replace('_', "")));
        for code in Code::ALL {
            let json = serde_json::to_string(code).unwrap();
            assert_eq!(json, format!("\"{}\"", code.as_str()));
            assert_eq!(serde_json::from_str::<Code>(&json).unwrap(), *code);
        }
    }

    #[test]
    fn a_problem_is_rfc_9457_json() {
        let json = serde_json::to_value(Problem::new(Code::NotFound, "No app `x`.").hint("List them.")).unwrap();
        assert_eq!(json["type"], "about:blank");
        assert_eq!(json["status"], 404);
        assert_eq!(json["code"], "not_found");
    }

    #[test]
    fn a_limit_is_named_in_the_hint_and_told_in_numbers() {
        let problem = Problem::new(Code::TooMany, "The app shop has 3 aliases already.").hint("delete some");
        assert!(!serde_json::to_string(&problem).unwrap().contains("\"limit\":"));
        let problem = problem.limit("aliases_max", 3, 3);
        assert_eq!(problem.hint.as_deref(), Some("delete some; `aliases_max` in edge.toml is the limit"));
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(json["limit"], serde_json::json!({"name": "aliases_max", "max": 3, "used": 3}));
        assert_eq!(serde_json::from_value::<Problem>(json).unwrap(), problem);
    }

    #[test]
    fn the_last_lines_of_an_instance_are_there_only_where_there_are_some() {
        let plain = Problem::new(Code::ReleaseFailed, "It ended with 1.");
        assert!(!serde_json::to_string(&plain).unwrap().contains("lines"));
        let listed = plain.with_lines(vec!["Error: no database".to_owned()]);
        let json = serde_json::to_string(&listed).unwrap();
        assert_eq!(serde_json::from_str::<Problem>(&json).unwrap().lines, ["Error: no database"]);
    }
}
