//! The OpenAPI description matches the API: every path, every method, every error code and the responses.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

use std::collections::BTreeSet;

use crate::support::description::{DESCRIPTION, described};
use crate::support::{Got, edge, got};
use devanture_config::manifest::{FileEntry, ServerFile, ServerFolder};
use devanture_config::problem::Code;
use devanture_config::site_toml::rules::{CacheTable, HeadersTable, RedirectTable};
use devanture_config::site_toml::{
    FieldRules, HealthCheck, Route, ScheduleTable, ServerTable, Serving, SmokeCheck, Upstream,
};
use devanture_config::{Manifest, api};
use devanture_control::admin::{OPERATIONS, Operation};
use http::{Method, StatusCode};
use yaml_rust2::{Yaml, YamlLoader};

/// Paths that need no token.
const OPEN: [&str; 3] = ["/health/live", "/health/ready", "/v1/openapi.yaml"];

/// Paths whose request body authenticates the client, so that no token is needed; any other body is answered 401.
const DOORS: [&str; 9] = [
    "/v1/device",
    "/v1/device/token",
    "/v1/exchange",
    "/v1/invitations",
    "/v1/login",
    "/v1/logout",
    "/v1/refresh",
    "/v1/session",
    "/v1/session/challenge",
];

/// Fills in a value for each parameter of a described path.
fn concrete(path: &str) -> String {
    path.replace("{app}", "shop")
        .replace("{env}", "prod")
        .replace("{name}", "feature")
        .replace("{account}", "ada")
        .replace("{host}", "www.example.org")
        .replace("{address}", "http:%2F%2F203.0.113.7:3000")
        .replace("{id}", "012345")
        .replace("{digest}", &"0".repeat(64))
        .replace("{deploy}", "0123")
}

/// Row of the operations table: path, method, operation id, query parameters.
type Row = (String, String, String, BTreeSet<String>);

/// Rows of the description.
fn rows_of_description() -> BTreeSet<Row> {
    let documents = YamlLoader::load_from_str(DESCRIPTION).expect("it is YAML");
    let description = &documents[0];
    let in_query = |parameter: &Yaml| {
        let parameter = match parameter["$ref"].as_str() {
            Some(target) => &description["components"]["parameters"][target.rsplit('/').next().unwrap()],
            None => parameter,
        };
        (parameter["in"].as_str() == Some("query")).then(|| parameter["name"].as_str().unwrap().to_owned())
    };
    let mut rows = BTreeSet::new();
    for (path, item) in description["paths"].as_hash().unwrap() {
        let (path, shared) = (path.as_str().unwrap(), &item["parameters"]);
        for (method, operation) in item.as_hash().unwrap().iter().filter(|(key, _)| key.as_str() != Some("parameters"))
        {
            let parameters = [shared, &operation["parameters"]].into_iter().filter_map(Yaml::as_vec).flatten();
            rows.insert((
                path.to_owned(),
                method.as_str().unwrap().to_uppercase(),
                operation["operationId"].as_str().unwrap().to_owned(),
                parameters.filter_map(in_query).collect(),
            ));
        }
    }
    rows
}

#[test]
fn the_description_and_the_table_have_the_same_operations() {
    let row = |row: &Operation| {
        let query = row.query.iter().map(|name| (*name).to_owned()).collect();
        (row.path.to_owned(), row.method.to_string(), row.id.to_owned(), query)
    };
    let rows: BTreeSet<Row> = OPERATIONS.iter().map(row).collect();
    assert_eq!(rows_of_description(), rows);
    assert_eq!(rows.len(), OPERATIONS.len(), "no row stands there twice");
}

#[tokio::test]
async fn every_address_takes_the_methods_that_are_described_and_no_others() {
    let edge = edge().with_app("shop", &[("index.html", b"hi")]).start().await;
    for (path, methods) in described() {
        let concrete = concrete(&path);
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE, Method::PATCH] {
            let answer = got(edge.api(method.clone(), &concrete)).await;
            let name = if method == Method::HEAD { "GET" } else { method.as_str() };
            if methods.contains(name) {
                let is_missing = answer.text().contains("no such address");
                assert!(answer.status != StatusCode::METHOD_NOT_ALLOWED && !is_missing, "{method} {path}: {answer:?}");
                continue;
            }
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            let allowed: BTreeSet<&str> = answer.header("allow").split(", ").filter(|name| *name != "HEAD").collect();
            assert_eq!(allowed, methods.iter().map(String::as_str).collect(), "{method} {path}");
        }
        let is_open = OPEN.contains(&path.as_str());
        let method: Method = methods.first().unwrap().parse().unwrap();
        let stranger = got(edge.client().request(method, format!("https://{}{concrete}", edge.admin()))).await;
        assert_eq!(stranger.status == StatusCode::UNAUTHORIZED, !is_open, "{path}: {stranger:?}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn what_a_query_does_not_know_is_refused_before_anything_is_done() {
    let edge = edge().with_app("shop", &[("index.html", b"hi")]).start().await;
    for (path, methods) in described().into_iter().filter(|(path, _)| !OPEN.contains(&path.as_str())) {
        let concrete = concrete(&path);
        for method in methods {
            for query in ["dryrun=true", "dry_run=true&dry_run=false", "%ff"] {
                let answer = got(edge.api(method.parse().unwrap(), &format!("{concrete}?{query}"))).await;
                let is_door = DOORS.contains(&path.as_str()) && method == "POST";
                let code = if is_door { Code::Unauthenticated } else { Code::BadRequest };
                assert_eq!(answer.code(), code, "{method} {path}?{query}");
            }
        }
    }
    let hostname = "/v1/apps/shop/environments/prod/hostnames/www.example.org";
    let set = got(edge.api(Method::PUT, &format!("{hostname}?dry_run"))).await;
    assert_eq!(set.status, StatusCode::OK, "{set:?}");
    let listed = got(edge.api(Method::GET, "/v1/apps/shop/environments/prod/hostnames")).await;
    assert!(!listed.text().contains("www.example.org"), "`?dry_run` alone asks, too: {listed:?}");
    edge.stop().await;
}

/// Member names of a schema object in the description.
fn members(schema: &str) -> BTreeSet<String> {
    let (_, schema) = DESCRIPTION.split_once(&format!("\n    {schema}:\n")).unwrap();
    let schema: Vec<&str> = schema.lines().take_while(|line| line.starts_with("      ")).collect();
    let members = schema.iter().skip_while(|line| **line != "      properties:").skip(1);
    let members = members.filter_map(|line| line.strip_prefix("        ").filter(|rest| !rest.starts_with(' ')));
    members.map(|line| line.split(':').next().unwrap().to_owned()).collect()
}

/// Member names that deserialization accepts, taken from the error for an unknown member.
fn read<T: serde::de::DeserializeOwned>() -> BTreeSet<String> {
    let Err(error) = serde_json::from_str::<T>(r#"{"no such member":0}"#) else { panic!("it was taken") };
    let error = error.to_string();
    if error.contains("there are no fields") {
        return BTreeSet::new();
    }
    let (_, names) = error.split_once(", expected ").unwrap_or_else(|| panic!("{error}"));
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn what_is_sent_has_the_members_that_are_read_and_no_others() {
    for (schema, read) in [
        ("AcceptRequest", read::<api::AcceptRequest>()),
        ("AccountRequest", read::<api::AccountRequest>()),
        ("AliasRequest", read::<api::AliasRequest>()),
        ("Assertion", read::<api::Assertion>()),
        ("BackupRequest", read::<api::BackupRequest>()),
        ("BeginDeploy", read::<api::BeginDeploy>()),
        ("CacheTable", read::<CacheTable>()),
        ("CanaryEnd", read::<api::CanaryEnd>()),
        ("CanaryRequest", read::<api::CanaryRequest>()),
        ("ChangesPauseRequest", read::<api::ChangesPauseRequest>()),
        ("ChallengeRequest", read::<api::ChallengeRequest>()),
        ("ConfirmRequest", read::<api::ConfirmRequest>()),
        ("Confirmations", read::<api::Confirmations>()),
        ("DeployOptions", read::<api::DeployOptions>()),
        ("FieldRules", read::<FieldRules>()),
        ("FileEntry", read::<FileEntry>()),
        ("HeadersTable", read::<HeadersTable>()),
        ("HealthCheck", read::<HealthCheck>()),
        ("HostnameRequest", read::<api::HostnameRequest>()),
        ("InvitationRequest", read::<api::InvitationRequest>()),
        ("LockRequest", read::<api::LockRequest>()),
        ("DeviceRequest", read::<api::DeviceRequest>()),
        ("DeviceTokenRequest", read::<api::DeviceTokenRequest>()),
        ("ExchangeRequest", read::<api::ExchangeRequest>()),
        ("LoginRequest", read::<api::LoginRequest>()),
        ("Manifest", read::<Manifest>()),
        ("MemberRequest", read::<api::MemberRequest>()),
        ("PasskeyRequest", read::<api::PasskeyRequest>()),
        ("PasswordRequest", read::<api::PasswordRequest>()),
        ("PauseRequest", read::<api::PauseRequest>()),
        ("PromoteRequest", read::<api::PromoteRequest>()),
        ("RedirectTable", read::<RedirectTable>()),
        ("RefreshRequest", read::<api::RefreshRequest>()),
        ("RepairRequest", read::<api::RepairRequest>()),
        ("RestartRequest", read::<api::RestartRequest>()),
        ("RollbackRequest", read::<api::RollbackRequest>()),
        ("Route", read::<Route>()),
        ("RunRequest", read::<api::RunRequest>()),
        ("ScaleRequest", read::<api::ScaleRequest>()),
        ("ScheduleTable", read::<ScheduleTable>()),
        ("ServerFile", read::<ServerFile>()),
        ("ServerFolder", read::<ServerFolder>()),
        ("ServerTable", read::<ServerTable>()),
        ("Serving", read::<Serving>()),
        ("SessionRequest", read::<api::SessionRequest>()),
        ("SettingWanted", read::<api::SettingWanted>()),
        ("SettingsPatch", read::<api::SettingsPatch>()),
        ("SmokeCheck", read::<SmokeCheck>()),
        ("SignRequest", read::<api::SignRequest>()),
        ("SignersRequest", read::<api::SignersRequest>()),
        ("Source", read::<api::Source>()),
        ("SwitchRequest", read::<api::SwitchRequest>()),
        ("TokenRequest", read::<api::TokenRequest>()),
        ("ProtectionRequest", read::<api::ProtectionRequest>()),
        ("ShareRequest", read::<api::ShareRequest>()),
        ("UndeleteRequest", read::<api::UndeleteRequest>()),
        ("TerminalSize", read::<api::TerminalSize>()),
        ("Upstream", read::<Upstream>()),
        ("WebhookRequest", read::<api::WebhookRequest>()),
        ("WithdrawRequest", read::<api::WithdrawRequest>()),
    ] {
        assert_eq!(members(schema), read, "{schema}");
    }
}

#[test]
fn every_code_is_described() {
    let (_, rest) = DESCRIPTION.split_once("\n    Code:\n").unwrap();
    let (description, rest) = rest.split_once("\n      enum:\n").unwrap();
    for code in Code::ALL {
        let status = if code.status() == 0 { "—".to_owned() } else { code.status().to_string() };
        let row = format!("| `{}` | {status} | {} |", code.as_str(), code.title());
        assert!(description.contains(&row), "{row}");
    }
    let listed: Vec<&str> = rest.lines().map_while(|line| line.strip_prefix("        - ")).collect();
    let answered: Vec<&str> = Code::ALL.iter().filter(|code| code.status() != 0).map(|code| code.as_str()).collect();
    assert_eq!(listed, answered);
}

#[tokio::test]
async fn the_description_is_served_to_everybody() {
    let edge = edge().start().await;
    let ask = async |path: &str| -> Got { got(edge.client().get(format!("https://{}{path}", edge.admin()))).await };
    let answer = ask("/v1/openapi.yaml").await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/yaml"));
    assert_eq!(answer.text(), DESCRIPTION);
    for path in ["/", "/v1", "/v1/openapi.json", "/metrics", "/v1/apps/shop/aliases"] {
        assert_eq!(ask(path).await.code(), Code::Unauthenticated, "{path}");
    }
    edge.stop().await;
}
