//! `devanture.toml`: the folder of each app, and the settings of its serving.

mod bundle_scripts;
pub mod check;
pub mod command;
mod cors;
mod explain;
mod field_rules;
mod file_name;
mod folder_globs;
mod from_procfile;
mod host_rule;
mod image;
mod layer;
mod media_types;
mod mistaken;
mod overlap;
mod overlays;
mod owned_table;
mod php;
mod process;
pub mod procfile;
mod route_path;
mod routes;
pub mod rules;
mod schedule;
mod scripts;
mod server;
mod server_checks;
mod serving;
mod serving_table;
mod shell_line;
mod site_file;
mod smoke;
mod snapshot_time;
mod upstream_url;
mod upstreams;

pub use bundle_scripts::BundleScripts;
pub use cors::{BadCorsOrigin, CORS_ORIGINS_MAX, CorsOrigin};
pub use field_rules::FieldRules;
pub use file_name::{FILE_NAME, overlay_of};
pub use folder_globs::{BadPathGlob, FOLDER_GLOBS_MAX, FolderGlobs, LeaveOut, LeftOutReason, PathGlob};
pub use host_rule::{BadHostRule, HostRule};
pub use image::{BadImage, Image, RegistryImage, is_registry_prefix};
pub use layer::{Explained, Layer, Origin, PlaceLines};
pub use media_types::MediaTypes;
pub use mistaken::EntryMistake;
pub use overlays::OverlayText;
pub use owned_table::{BadOwnedTable, OWNED_TABLES, OwnedTable};
pub use php::{PHP_COMMAND, PHP_PERSIST, PHP_ROOT, PHP_WORKERS, PHP_WORKERS_MAX, Php};
pub use process::{All, BadProcessName, Instances, Kind, ListenOn, MainKind, ProcessName, WEB};
pub use procfile::{FindProcfile, FromProcfile};
pub use route_path::{BadRoutePath, RoutePath};
pub use routes::{
    BadRouteTo, ROUTE_CONNECT_TIMEOUT_MS, ROUTE_TIMEOUT_MS, ROUTE_TIMEOUT_MS_MAX, ROUTES_MAX, Route, RouteTimes,
    RouteTo, sort_routes, without_prefix,
};
pub use schedule::{BadScheduleName, Missed, SCHEDULES_MAX, Schedule, ScheduleName, ScheduleTable, ScheduleTables};
pub use scripts::{SCRIPT_INDEX, SCRIPT_PATH_BYTES_MAX, SCRIPT_SPLIT, SCRIPTS_MAX, Scripts};
pub use server::{
    DRAIN_MS, INSTANCES_MAX, PROCESSES_MAX, Process, ProcessTable, SERVER_DIR, SERVER_UPSTREAM, START_MS, STOP_MS,
    Server, ServerTable, WARM_MS,
};
pub use serving::{HtmlHandling, Integrity, NotFound, Pin, Rules, Serving};
pub use site_file::SiteFile;
pub use smoke::{SMOKE_CHECKS_MAX, SMOKE_STATUS, SMOKE_TIMEOUT_MS, SMOKE_TIMEOUT_MS_MAX, SmokeCheck, SmokeMethod};
pub use snapshot_time::SnapshotTime;
pub use upstream_url::{BadUpstreamName, BadUpstreamUrl, UpstreamName, UpstreamUrl, is_dns_name};
pub use upstreams::{
    BadStatusRange, Declared, EJECT_AFTER, EJECT_MS, HEALTH_INTERVAL_MS, HEALTH_TIMEOUT_MS, HEALTHY_AFTER, HealthCheck,
    MEMBERS_MAX, Protocol, QUEUE_MAX, QUEUE_MS, RETRIES, RETRY_PERCENT, StatusRange, UNHEALTHY_AFTER, Upstream,
};
