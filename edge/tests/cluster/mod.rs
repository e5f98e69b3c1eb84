//! Several nodes sharing etcd and a bucket: one push for all nodes, and behavior during partial outages.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on should stop where it is"
)]

mod away;
mod bucket;
mod canary;
mod certificates;
mod clocks;
mod collections;
mod confirmations;
mod copies;
mod data;
mod faults;
mod forwarding;
mod halves;
mod identity;
mod images;
mod instance_settings;
mod instances;
mod logins;
mod logs;
mod restores;
mod rollout;
mod routes;
mod runs;
mod schedules;
mod signing;
mod switches;
mod trust;
mod upgrades;
mod visitors;
mod webhooks;
pub(crate) mod world;
