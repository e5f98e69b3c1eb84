//! Messages of the HTTP API, shared by client and server.
//!
//! Each type is re-exported here; the files are by subject.

mod access;
mod accounts;
mod apps;
mod canary;
mod collaboration;
mod confirmations;
mod console;
mod copying;
mod credentials;
mod data;
mod deploys;
mod history;
mod hostnames;
mod instances;
mod integrity;
mod logs;
mod maintenance;
mod nodes;
mod passkeys;
mod pins;
mod protection;
mod retention;
mod roles;
mod rollout;
mod running;
mod safekeeping;
mod schedules;
mod sessions;
mod settings;
mod signing;
mod status;
mod steps;
mod switching;
mod traffic;
mod trust;
mod upstreams;
mod usage;
mod webhooks;

pub use access::{
    ACCOUNT_CHARACTERS_MAX, AccountName, AuditEntry, AuditLog, BadAccountName, By, LoggedIn, LoginRequest,
    RefreshRequest, Scope, Secret, TokenInfo, TokenList, TokenMade, TokenPrediction, TokenRequest, Via, lifetime_s,
};
pub use accounts::{
    AcceptRequest, AccountInfo, AccountList, AccountPrediction, AccountRequest, InvitationAccepted, InvitationMade,
    InvitationRequest, PasswordRequest,
};
pub use apps::{AppEnvironment, AppInfo, AppList, AppTotals};
pub use canary::{
    BadCookieName, BadPercent, BadPlan, CANARY_STEP_S_MAX, CANARY_STEPS_MAX, Canary, CanaryCounts, CanaryEnd,
    CanaryPlan, CanaryRequest, CanaryShare, CanaryStatus, CanaryStep, CookieName, Percent, SideCounts,
};
pub use collaboration::{
    AliasList, AliasPrediction, AliasRequest, Amount, ChangeKind, Diff, DiffSide, FileChange, FileChanges, Lock,
    LockReport, LockRequest, PlaceStatus, ServingChange, VisitorLoad,
};
pub use confirmations::{Confirmations, ConfirmedAction};
pub use console::{ConsoleInstalled, ConsoleStatus};
pub use copying::{ChangesPauseRequest, ChangesPaused, CopyReport, RecordsPage, StoredRecord};
pub use credentials::{
    ACCESS_TOKEN_PREFIX, CREDENTIAL_PREFIXES, INVITATION_PREFIX, REFRESH_TOKEN_PREFIX, SESSION_PREFIX, TOKEN_PREFIX,
    is_credential,
};
pub use data::{
    AUTOMATIC_SNAPSHOT, BadSnapshotName, DATA_ARCHIVE_TYPE, DATA_LIST_DEFAULT, DATA_LIST_MAX, DataEntry, DataKind,
    DataList, DataReport, DataRest, SNAPSHOT_NAME_CHARACTERS_MAX, SnapshotInfo, SnapshotName, SnapshotRequest,
};
pub use deploys::{
    BeginDeploy, BlobBatchLimits, BlobsStored, ByteCounts, DeployBegun, DeployEntry, DeployEvent, DeployList,
    DeployOptions, DeployPrediction, DeployReport, DeployState, DeployStatus, FileCounts, IncomingDeploy, Returning,
};
pub use history::{Deploy, DeployKind, DeployProblem, History, Outcome, Source};
pub use hostnames::{
    CertificateSource, HostnameCertificate, HostnameList, HostnameOwner, HostnameRemoved, HostnameRequest, HostnameSet,
    HostnameSource, HostnameStatus,
};
pub use instances::{InstanceList, InstanceState, InstanceStatus, RestartRequest, ScaleRequest};
pub use integrity::{IntegrityReport, IntegrityReports, LiveIntegrity};
pub(crate) use logs::SOURCES;
pub use logs::{
    BadStatusFilter, InstanceLine, LOGS_GONE_HEADER, LOGS_RESUMED_HEADER, LOGS_SINCE_HEADER, LogFilter, LogLine,
    LogLost, LogStream, LogUnavailable, SOURCE_ALL_INSTANCES, SOURCE_INSTANCES, SOURCE_RELEASE, SOURCE_REQUESTS,
    SOURCE_SCHEDULE, StatusFilter,
};
pub use maintenance::{
    DeleteReport, Pause, PauseReport, PauseRequest, RestoreReport, WithdrawReport, WithdrawRequest, WithdrawnList,
    WithdrawnPath,
};
pub use nodes::{NodeCache, NodeList, NodeState, NodeStatus, NodeVersion};
pub use passkeys::{
    Assertion, Challenge, ChallengeRequest, ConfirmRequest, PasskeyCredential, PasskeyInfo, PasskeyList,
    PasskeyRequest, PasskeyUser, Purpose,
};
pub use pins::Unpinned;
pub use protection::{
    BadProtection, LOGIN_COOKIE, PERSON_COOKIE, Protection, ProtectionList, ProtectionRequest, ProtectionSet,
    ProtectionStatus, Share, ShareList, ShareMade, ShareRequest, ShareRevoked, ShareTarget, VISITOR_COOKIE,
};
pub use retention::{
    CollectReport, CollectStopped, CollectedEnvironment, CollectedVersion, DeletedThing, PlaceDeleteReport,
    PurgeRemains, PurgeRemoved, PurgeReport, UndeleteReport, UndeleteRequest, WhyCollected,
};
pub use roles::{BadRole, Role, RolePlace, RoleRights, rights_of};
pub(crate) use rollout::ROLLOUTS;
pub use rollout::{Rollout, UnknownRollout};
pub use running::{
    RUN_COMMAND_BYTES_MAX, RUN_WORDS_MAX, RunEnd, RunExit, RunPrediction, RunRequest, TERM_CHARACTERS_MAX, TerminalSize,
};
pub use safekeeping::{BackupReport, BackupRequest, CatalogPages, DamagedVersion, RepairRequest, VerifyReport};
pub use schedules::{RunOutcome, ScheduleList, ScheduleRun, ScheduleRunEnd, ScheduleSkip, ScheduleStatus, SkipReason};
pub use sessions::{SESSION_COOKIE, Session, SessionInfo, SessionList, SessionRequest, SessionRight};
pub use settings::{
    BadSettingName, DevelopmentSettings, SettingName, SettingStatus, SettingWanted, SettingsDifference, SettingsList,
    SettingsPatch, SettingsReport,
};
pub use signing::{
    BrokenLog, LiveLog, LiveLogEntry, SignRequest, Signed, Signers, SignersReport, SignersRequest, VersionSignature,
    VersionSignatures, WentLive, check_live_log,
};
pub use status::{Damage, KeptReach, Status};
pub use steps::{Step, StepState, Urls};
pub use switching::{PromoteRequest, RollbackRequest, SwitchReport, SwitchRequest};
pub use traffic::{Latency, Traffic, TrafficPoint, TrafficSwitch, VersionTraffic};
pub use trust::{DevicePrompt, DeviceRequest, DeviceTokenRequest, DeviceWaiting, ExchangeRequest, Exchanged};
pub use upstreams::{Backend, DesiredState, MemberReport, MemberRequest, UpstreamReport, UpstreamsReport};
pub use usage::{AppUsage, LimitUsage};
pub use webhooks::{
    BadWebhookName, DeliveryState, UnknownWebhookEvent, UnknownWebhookFormat, WEBHOOK_NAME_CHARACTERS_MAX,
    WebhookAttempt, WebhookData, WebhookDelivery, WebhookDetails, WebhookEnd, WebhookEvent, WebhookFormat, WebhookList,
    WebhookName, WebhookPayload, WebhookRemoved, WebhookRequest, WebhookRotated, WebhookSet, WebhookState,
    WebhookStatus,
};
