//! API operations, one row each: method, path, id in the description, required right, query parameters, handler.

use std::net::IpAddr;
use std::pin::Pin;

use devanture_config::api::ConfirmedAction;
use devanture_config::api::Scope::{Admin as ToAdmin, Promote, Push, Read, Run};
use devanture_config::problem::{Code, Problem};
use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{HeaderName, Method, Request};

use super::body::RequestBody;
use super::call::{Answer, Call, PathParameters, Right};
use super::effect::Effect;
use super::state::Admin;
use crate::ledger::Error;
use Right::{Alias, App, Checked, Environment, EveryApp, EveryEnvironment};

/// Running handler.
type Running<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// Handler function of an operation.
#[derive(Clone, Copy)]
pub(super) enum Handler {
    /// Open to everyone without a token; the body identifies the caller where identity matters.
    Open(for<'a> fn(&'a Admin, Request<RequestBody>, Option<IpAddr>) -> Running<'a>),
    /// Restricted to actors with the right.
    Authorized(Right, for<'a> fn(&'a Admin, Call) -> Running<'a>),
}

/// Reaction of an operation to a deleted app or environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterDeletion {
    /// Refused with `deleted`.
    Refused,
    /// Refused with `deleted` only for a deleted app.
    RefusedByApp,
    /// Checked by the operation: deleted records can still be listed, restored or purged.
    Own,
}

/// Operation of the API.
pub struct Operation {
    /// Method; every GET also answers HEAD.
    pub method: Method,
    /// Path as in the description, with `{name}` for a parameter.
    pub path: &'static str,
    /// `operationId` in the description.
    pub id: &'static str,
    /// Accepted query parameters.
    pub query: &'static [&'static str],
    pub(super) after_deletion: AfterDeletion,
    /// Evaluated condition fields; changes without the field in their row refuse the condition.
    pub(super) conditions: &'static [HeaderName],
    /// Action confirmed by sessions in an app with confirmations, besides the effect on visitors.
    pub(super) confirms: Option<ConfirmedAction>,
    /// Effect on the visitors of an environment.
    pub(super) effect: Effect,
    pub(super) handler: Handler,
}

impl Operation {
    /// Describes the required scope and its extent in a few words.
    #[must_use]
    pub fn needs(&self) -> String {
        match self.handler {
            Handler::Open(_) => "none".to_owned(),
            Handler::Authorized(right, _) => right.to_string(),
        }
    }

    /// Returns the actions that an app may require sessions to confirm, including changes for visitors of `prod`.
    pub(super) fn confirmed_as(&self) -> impl Iterator<Item = ConfirmedAction> {
        let change = self.effect.is_confirmed().then_some(ConfirmedAction::Promote);
        self.confirms.into_iter().chain(change)
    }

    /// Describes the requirement under required signatures and the confirmed action; `None` without an effect on
    /// visitors.
    #[must_use]
    pub fn changes(&self) -> Option<(&'static str, String)> {
        let needs = self.effect.needs()?;
        let kinds: Vec<String> = self.confirmed_as().map(|action| format!("`{action}`")).collect();
        let confirmed = match self.effect {
            Effect::Continued => "as its push".to_owned(),
            Effect::Chosen => [kinds, vec!["`promote`, for `prod`".to_owned()]].concat().join(", "),
            Effect::Undone => "never".to_owned(),
            _ => kinds.join(", "),
        };
        Some((needs, confirmed))
    }

    /// Returns true if the path names one environment.
    pub(super) fn is_of_environment(&self) -> bool {
        self.path.contains("{env}")
    }

    /// Returns true if the operation begins a push.
    pub(super) fn begins_push(&self) -> bool {
        self.id == "deploy"
    }

    /// Returns true if the operation only stores bytes, without effect until a push is finished.
    pub(super) fn only_stores(&self) -> bool {
        matches!(self.id, "putBlob" | "putBlobs")
    }

    /// Returns true if the operation deletes a whole app.
    pub(super) fn deletes_app(&self) -> bool {
        self.method == Method::DELETE && self.path == "/v1/apps/{app}"
    }
}

macro_rules! handler {
    ([open] $run:ident) => {
        Handler::Open(|admin, request, from| Box::pin(admin.$run(request, from)))
    };
    ([$($right:tt)+] $run:ident) => {
        Handler::Authorized($($right)+, |admin, call| Box::pin(admin.$run(call)))
    };
}

macro_rules! after_deletion {
    () => {
        AfterDeletion::Refused
    };
    ($deleted:ident) => {
        AfterDeletion::$deleted
    };
}

macro_rules! conditions {
    () => {
        &[]
    };
    (IfMatch) => {
        &[IF_MATCH]
    };
    (Both) => {
        &[IF_MATCH, IF_NONE_MATCH]
    };
}

macro_rules! confirms {
    () => {
        None
    };
    ($action:ident) => {
        Some(ConfirmedAction::$action)
    };
}

/// A writing row without `changes` does not compile.
macro_rules! effect {
    (GET) => {
        Effect::Nothing
    };
    ($method:ident $effect:ident) => {
        Effect::$effect
    };
}

macro_rules! operations {
    ($(
        $method:ident $path:literal $id:literal $right:tt
        => $run:ident [$($query:literal),*] $(deleted=$deleted:ident)? $(conditions=$conditions:ident)?
        $(confirms=$confirms:ident)? $(changes=$effect:ident)?;
    )+) => {
        /// All operations of the API.
        pub static OPERATIONS: &[Operation] = &[$(Operation {
            method: Method::$method,
            path: $path,
            id: $id,
            query: &[$($query),*],
            after_deletion: after_deletion!($($deleted)?),
            conditions: conditions!($($conditions)?),
            confirms: confirms!($($confirms)?),
            effect: effect!($method $($effect)?),
            handler: handler!($right $run),
        }),+];
    };
}

/// Path of the pause of all changes, reachable during the pause to end the pause.
pub(super) const PAUSE_PATH: &str = "/v1/pause";

operations! {
    GET "/health/live" "live" [open] => live [];
    GET "/health/ready" "ready" [open] => ready [];
    GET "/v1/openapi.yaml" "description" [open] => description [];
    POST "/v1/login" "login" [open] => login [] changes=Nothing;
    POST "/v1/refresh" "refresh" [open] => refresh [] changes=Nothing;
    POST "/v1/logout" "logout" [open] => logout [] changes=Nothing;
    POST "/v1/exchange" "exchangeToken" [open] => exchange_token [] changes=Nothing;
    POST "/v1/device" "beginDevice" [open] => begin_device [] changes=Nothing;
    POST "/v1/device/token" "deviceToken" [open] => device_token [] changes=Nothing;
    POST "/v1/session/challenge" "challenge" [open] => challenge [] changes=Nothing;
    POST "/v1/session/confirm" "confirmSession" [Checked("a session")] => confirm_session [] changes=Nothing;
    GET "/v1/passkeys" "passkeys" [Checked("a session")] => passkeys [];
    POST "/v1/passkeys" "addPasskey" [Checked("a session")] => add_passkey [] changes=Nothing;
    DELETE "/v1/passkeys/{id}" "removePasskey" [Checked("a session")] => remove_passkey [] changes=Nothing;
    POST "/v1/session" "beginSession" [open] => begin_session [] changes=Nothing;
    GET "/v1/session" "session" [Checked("any")] => session [];
    DELETE "/v1/session" "endOwnSession" [Checked("a session")] => end_own_session [] changes=Nothing;
    GET "/v1/sessions" "sessions" [Checked("any; admin, every app, for all")] => sessions ["limit", "after"];
    DELETE "/v1/sessions/{id}" "endSession" [Checked("any, for its own; admin, every app, for all")]
        => end_session [] changes=Nothing;
    GET "/v1/invitations" "invitationPage" [open] => invitation_page [];
    POST "/v1/invitations" "acceptInvitation" [open] => accept_invitation [] changes=Nothing;

    GET "/metrics" "metrics" [EveryApp(Read)] => all_metrics [];
    GET "/v1/nodes" "nodes" [EveryApp(Read)] => nodes [];
    POST "/v1/gc" "collect" [EveryApp(ToAdmin)] => collect ["dry_run", "force", "purge"] changes=Nothing;
    POST "/v1/verify" "verify" [EveryApp(ToAdmin)]
        => verify ["app", "bytes_per_second_max", "read_bucket"] changes=Nothing;
    POST "/v1/repair" "repair" [EveryApp(ToAdmin)] => repair [] changes=Nothing;
    POST "/v1/backup" "backUp" [Checked("the socket in the data folder")] => back_up [] changes=Nothing;
    GET "/v1/records" "records" [Checked("the socket in the data folder")] => records ["after"];
    POST "/v1/pause" "pauseChanges" [Checked("the socket in the data folder")] => pause_changes [] changes=Nothing;
    DELETE "/v1/pause" "resumeChanges" [Checked("the socket in the data folder")] => resume_changes [] changes=Nothing;
    GET "/v1/console" "consoleStatus" [EveryApp(Read)] => console_status [];
    PUT "/v1/console" "installConsole" [Checked("the socket in the data folder")] => install_console [] changes=Nothing;
    DELETE "/v1/console" "removeConsole" [Checked("the socket in the data folder")]
        => remove_console [] changes=Nothing;
    GET "/v1/audit" "audit" [Checked("admin")] => audit_log ["app", "limit", "before"];
    GET "/v1/tokens" "tokens" [Checked("admin")] => tokens ["app", "limit", "after"];
    POST "/v1/tokens" "createToken" [Checked("admin")] => create_token ["dry_run"] changes=Nothing;
    DELETE "/v1/tokens/{id}" "revokeToken" [Checked("admin, or the token itself")]
        => revoke_token ["dry_run"] changes=Nothing;
    GET "/v1/accounts" "accounts" [EveryApp(ToAdmin)] => accounts [];
    POST "/v1/accounts" "createAccount" [EveryApp(ToAdmin)] => create_account ["dry_run"] changes=Nothing;
    DELETE "/v1/accounts/{account}" "deleteAccount" [EveryApp(ToAdmin)]
        => delete_account ["dry_run"] changes=Nothing;
    POST "/v1/accounts/{account}/invitation" "invite" [EveryApp(ToAdmin)] => invite ["dry_run"] changes=Nothing;
    DELETE "/v1/accounts/{account}/invitation" "revokeInvitation" [EveryApp(ToAdmin)]
        => revoke_invitation ["dry_run"] changes=Nothing;
    PUT "/v1/accounts/{account}/password" "setPassword" [EveryApp(ToAdmin)] => set_password [] changes=Nothing;

    GET "/v1/apps" "apps" [Checked("read")] => apps ["search", "limit", "after"];
    GET "/v1/apps/{app}" "app" [App(Read)] => app [];
    DELETE "/v1/apps/{app}" "deleteApp" [EveryEnvironment(ToAdmin)]
        => delete_app ["dry_run", "purge"] deleted=Own confirms=Delete changes=Unsigned;
    GET "/v1/apps/{app}/deleted" "deleted" [App(Read)] => deleted [] deleted=Own;
    POST "/v1/apps/{app}/undelete" "undelete" [Checked("admin, every environment; push, for a version")]
        => undelete ["dry_run"] deleted=Own changes=Chosen;
    POST "/v1/apps/{app}/blobs" "putBlobs" [App(Push)] => put_blobs ["deploy"] changes=Nothing;
    PUT "/v1/apps/{app}/blobs/{digest}" "putBlob" [App(Push)] => put_blob ["deploy"] changes=Nothing;
    GET "/v1/apps/{app}/deploys/{deploy}" "deployStatus" [App(Read)] => deploy_status [];
    POST "/v1/apps/{app}/deploys/{deploy}/finish" "finish" [App(Push)] => finish [] changes=Continued;
    GET "/v1/apps/{app}/confirmations" "confirmations" [App(Read)] => confirmations [];
    PUT "/v1/apps/{app}/confirmations" "setConfirmations" [EveryEnvironment(ToAdmin)]
        => set_confirmations [] changes=Nothing;
    GET "/v1/apps/{app}/webhooks" "webhooks" [EveryEnvironment(Read)] => webhooks [];
    GET "/v1/apps/{app}/webhooks/{name}" "webhook" [EveryEnvironment(Read)] => webhook ["limit"];
    PUT "/v1/apps/{app}/webhooks/{name}" "setWebhook" [EveryEnvironment(Promote)]
        => set_webhook ["dry_run"] changes=Nothing;
    DELETE "/v1/apps/{app}/webhooks/{name}" "removeWebhook" [EveryEnvironment(Promote)]
        => remove_webhook ["dry_run"] confirms=Delete changes=Nothing;
    POST "/v1/apps/{app}/webhooks/{name}/test" "testWebhook" [EveryEnvironment(Promote)]
        => test_webhook [] changes=Nothing;
    POST "/v1/apps/{app}/webhooks/{name}/rotate" "rotateWebhook" [EveryEnvironment(Promote)]
        => rotate_webhook ["now"] confirms=Delete changes=Nothing;
    POST "/v1/apps/{app}/webhooks/{name}/deliveries/{id}/redeliver" "redeliver" [EveryEnvironment(Promote)]
        => redeliver [] changes=Nothing;
    GET "/v1/apps/{app}/protection" "protections" [App(Read)] => protections [];
    GET "/v1/apps/{app}/shares" "shares" [App(Read)] => shares [];
    POST "/v1/apps/{app}/shares" "makeShare" [App(Push)] => make_share [] changes=Chosen;
    DELETE "/v1/apps/{app}/shares/{id}" "revokeShare" [App(Push)] => revoke_share ["dry_run"] changes=Undone;
    GET "/v1/apps/{app}/usage" "usage" [EveryEnvironment(Read)] => usage [];
    GET "/v1/apps/{app}/diff" "diff" [App(Read)] => diff ["from", "to", "env", "limit", "after"];
    DELETE "/v1/apps/{app}/versions/{id}" "deleteVersion" [EveryEnvironment(Push)]
        => delete_version ["dry_run", "purge"] confirms=Delete changes=Chosen;
    GET "/v1/apps/{app}/versions/{id}/manifest" "manifest" [EveryEnvironment(Read)] => stored_manifest [];
    GET "/v1/apps/{app}/versions/{id}/signatures" "signatures" [EveryEnvironment(Read)] => signatures [];
    POST "/v1/apps/{app}/versions/{id}/signatures" "sign" [EveryEnvironment(Push)] => sign [] changes=Nothing;
    GET "/v1/apps/{app}/withdrawn" "withdrawn" [EveryEnvironment(Read)] => withdrawn ["limit", "after"];
    POST "/v1/apps/{app}/withdrawn" "withdraw" [EveryEnvironment(Push)]
        => withdraw ["dry_run"] confirms=Delete changes=Unsigned;
    DELETE "/v1/apps/{app}/withdrawn" "restore" [EveryEnvironment(Push)]
        => restore ["path", "dry_run"] changes=Unsigned;
    GET "/v1/apps/{app}/aliases" "aliases" [App(Read)] => aliases ["limit", "after"];
    GET "/v1/apps/{app}/aliases/{name}" "alias" [Alias(Read)] => alias [];
    PUT "/v1/apps/{app}/aliases/{name}" "setAlias" [Alias(Push)]
        => set_alias ["dry_run"] conditions=Both changes=Nothing;
    DELETE "/v1/apps/{app}/aliases/{name}" "deleteAlias" [Alias(Push)]
        => delete_alias ["dry_run"] conditions=Both confirms=Delete changes=Nothing;

    GET "/v1/apps/{app}/environments/{env}" "status" [Environment(Read)] => status ["nodes"];
    DELETE "/v1/apps/{app}/environments/{env}" "deleteEnvironment" [EveryEnvironment(ToAdmin)]
        => delete_environment ["dry_run", "purge"] deleted=Own confirms=Delete changes=Unsigned;
    GET "/v1/apps/{app}/environments/{env}/deploys" "deploys" [Environment(Read)] => deploys ["limit", "before"];
    POST "/v1/apps/{app}/environments/{env}/deploys" "deploy" [Environment(Push)]
        => deploy [
            "no_switch", "no_smoke", "watch_s", "force", "if_live", "alias", "alias_expires", "allow_warnings",
            "allow_refingerprint", "dry_run", "rollout", "reason", "only", "with", "message", "commit", "branch", "ci", "url"
        ] changes=Signed;
    GET "/v1/apps/{app}/environments/{env}/history" "history" [Environment(Read)]
        => history ["limit", "before"] deleted=RefusedByApp;
    GET "/v1/apps/{app}/environments/{env}/live-log" "liveLog" [Environment(Read)] => live_log ["limit", "after"];
    GET "/v1/apps/{app}/environments/{env}/signers" "signers" [Environment(Read)] => signers [];
    PUT "/v1/apps/{app}/environments/{env}/signers" "setSigners" [Environment(ToAdmin)]
        => set_signers ["dry_run"] changes=Unsigned;
    GET "/v1/apps/{app}/environments/{env}/integrity" "integrityReports" [Environment(Read)] => integrity [];
    GET "/v1/apps/{app}/environments/{env}/traffic" "traffic" [Environment(Read)] => traffic ["from", "to", "step"];
    GET "/v1/apps/{app}/environments/{env}/logs" "logs" [Environment(Read)]
        => logs ["tail", "lines", "source", "status", "path", "version", "method"];
    POST "/v1/apps/{app}/environments/{env}/switch" "switch" [Environment(Push)]
        => switch ["dry_run"] conditions=Both changes=Signed;
    POST "/v1/apps/{app}/environments/{env}/rollback" "rollback" [Environment(Push)]
        => rollback ["dry_run"] conditions=Both changes=Signed;
    POST "/v1/apps/{app}/environments/{env}/promote" "promote" [Environment(Promote)]
        => promote ["dry_run"] conditions=Both changes=Signed;
    GET "/v1/apps/{app}/environments/{env}/canary" "canary" [Environment(Read)] => canary [];
    PUT "/v1/apps/{app}/environments/{env}/canary" "setCanary" [Environment(Push)] => set_canary [] changes=Signed;
    DELETE "/v1/apps/{app}/environments/{env}/canary" "abortCanary" [Environment(Push)]
        => abort_canary [] changes=Undone;
    POST "/v1/apps/{app}/environments/{env}/canary/finish" "finishCanary" [Environment(Push)]
        => finish_canary [] changes=Signed;
    DELETE "/v1/apps/{app}/environments/{env}/pins" "unpin" [Environment(Push)] => unpin [] changes=Undone;
    GET "/v1/apps/{app}/environments/{env}/lock" "lockOf" [Environment(Read)] => lock_of [];
    PUT "/v1/apps/{app}/environments/{env}/lock" "lock" [Environment(Push)]
        => lock ["dry_run"] conditions=Both changes=Nothing;
    DELETE "/v1/apps/{app}/environments/{env}/lock" "unlock" [Environment(Push)]
        => unlock ["dry_run"] conditions=Both changes=Nothing;
    PUT "/v1/apps/{app}/environments/{env}/protection" "protect" [Environment(Promote)]
        => protect ["dry_run"] changes=Unsigned;
    POST "/v1/apps/{app}/environments/{env}/pause" "pause" [Environment(Push)] => pause ["dry_run"] changes=Worded;
    POST "/v1/apps/{app}/environments/{env}/resume" "resume" [Environment(Push)] => resume ["dry_run"] changes=Declared;
    GET "/v1/apps/{app}/environments/{env}/settings" "settings" [Environment(Read)] => settings [];
    PATCH "/v1/apps/{app}/environments/{env}/settings" "changeSettings" [Environment(Promote)]
        => change_settings ["dry_run"] conditions=IfMatch changes=Unsigned;
    GET "/v1/apps/{app}/environments/{env}/settings/development" "developmentSettings" [Environment(Push)]
        => development_settings [];
    GET "/v1/apps/{app}/environments/{env}/hostnames" "hostnames" [Environment(Read)]
        => hostnames ["limit", "after"];
    PUT "/v1/apps/{app}/environments/{env}/hostnames/{host}" "addHostname" [Environment(Push)]
        => add_hostname ["dry_run"] changes=Unsigned;
    DELETE "/v1/apps/{app}/environments/{env}/hostnames/{host}" "removeHostname" [Environment(Push)]
        => remove_hostname ["dry_run"] confirms=Delete changes=Unsigned;
    GET "/v1/apps/{app}/environments/{env}/upstreams" "upstreams" [Environment(Read)] => upstreams [];
    PUT "/v1/apps/{app}/environments/{env}/upstreams/{name}/members/{address}" "setMember" [Environment(Push)]
        => set_member ["dry_run"] changes=Declared;
    DELETE "/v1/apps/{app}/environments/{env}/upstreams/{name}/members/{address}" "removeMember" [Environment(Push)]
        => remove_member ["dry_run"] changes=Declared;
    GET "/v1/apps/{app}/environments/{env}/instances" "instances" [Environment(Read)] => instances [];
    PATCH "/v1/apps/{app}/environments/{env}/instances" "scale" [Environment(Push)] => scale ["dry_run"] changes=Scaled;
    POST "/v1/apps/{app}/environments/{env}/instances/restart" "restart" [Environment(Push)]
        => restart ["dry_run"] changes=Declared;
    GET "/v1/apps/{app}/environments/{env}/schedules" "schedules" [Environment(Read)] => schedules [];
    POST "/v1/apps/{app}/environments/{env}/schedules/{name}/run" "runSchedule" [Environment(Push)]
        => run_schedule ["dry_run"] changes=Declared;
    POST "/v1/apps/{app}/environments/{env}/run" "run" [Environment(Run)]
        => run_once ["dry_run", "node"] changes=Unsigned;
    GET "/v1/apps/{app}/environments/{env}/data" "data" [Environment(ToAdmin)] => data ["limit", "node"];
    GET "/v1/apps/{app}/environments/{env}/data/archive" "dataArchive" [Environment(ToAdmin)]
        => data_archive ["snapshot", "from", "digest", "node"];
    PUT "/v1/apps/{app}/environments/{env}/data/archive" "pushData" [Environment(ToAdmin)]
        => push_data ["replace", "node"] confirms=Delete changes=Unsigned;
    POST "/v1/apps/{app}/environments/{env}/data/snapshots" "makeSnapshot" [Environment(Push)]
        => make_snapshot ["dry_run", "node"] changes=Nothing;
    DELETE "/v1/apps/{app}/environments/{env}/data/snapshots/{snapshot}" "deleteSnapshot" [Environment(ToAdmin)]
        => delete_snapshot ["dry_run", "node"] confirms=Delete changes=Nothing;
    POST "/v1/apps/{app}/environments/{env}/data/snapshots/{snapshot}/restore" "restoreSnapshot" [Environment(ToAdmin)]
        => restore_snapshot ["dry_run", "node"] confirms=Delete changes=Unsigned;
}

/// Result of matching a method and a path.
pub(super) enum Found {
    Operation(&'static Operation, PathParameters),
    /// The path exists with other methods; states if any of them needs a token.
    OtherMethods {
        allowed: Vec<&'static Method>,
        is_open: bool,
    },
    Nothing,
}

/// Finds the operation of a request.
pub(super) fn find(method: &Method, path: &str) -> Found {
    // Every GET also answers HEAD (RFC 9110 §9.1); the caller drops the content.
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let mut others: Vec<&'static Operation> = Vec::new();
    for operation in OPERATIONS {
        let Some(parameters) = PathParameters::of(operation.path, path) else { continue };
        if operation.method == method {
            return Found::Operation(operation, parameters);
        }
        others.push(operation);
    }
    if others.is_empty() {
        return Found::Nothing;
    }
    let is_open = others.iter().all(|operation| matches!(operation.handler, Handler::Open(_)));
    Found::OtherMethods { allowed: others.into_iter().map(|operation| &operation.method).collect(), is_open }
}

/// Problem of an unknown address.
pub(super) fn no_such_address() -> Error {
    Problem::new(Code::NotFound, "The API has no such address.").hint("/v1/openapi.yaml describes it").into()
}

/// Returns the value of `Allow` for the methods (RFC 9110 §10.2.1).
pub(super) fn allow(methods: &[&Method]) -> String {
    let names = methods.iter().flat_map(|method| match **method {
        Method::GET => vec!["GET", "HEAD"],
        _ => vec![method.as_str()],
    });
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(method: &str, path: &str) -> String {
        match find(&method.parse().unwrap(), path) {
            Found::Operation(operation, _) => operation.id.to_owned(),
            Found::OtherMethods { allowed, .. } => allow(&allowed),
            Found::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn a_method_and_a_path_lead_to_one_operation() {
        let place = "/v1/apps/shop/environments/prod";
        for (method, path, expected) in [
            ("POST", format!("{place}/switch"), "switch"),
            ("HEAD", format!("{place}/history"), "history"),
            ("GET", "/metrics".to_owned(), "metrics"),
            ("GET", format!("{place}/switch"), "POST"),
            ("POST", format!("{place}/lock"), "GET, HEAD, PUT, DELETE"),
            ("GET", format!("{place}/upstreams/api/members/xyz"), "PUT, DELETE"),
            ("POST", format!("{place}/switch/"), "nothing"),
            ("POST", format!("{place}/x"), "nothing"),
            ("POST", "/".to_owned(), "nothing"),
            ("POST", "/v1".to_owned(), "nothing"),
            ("POST", "/v2/apps".to_owned(), "nothing"),
        ] {
            assert_eq!(outcome(method, &path), expected, "{method} {path}");
        }
    }
}
