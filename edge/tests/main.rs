//! Tests of a whole edge in one program: each module is a subject, and [`support`] starts the edges.
//!
//! Tests that count allocations are a separate program, `allocations.rs`.

mod acme;
mod admin_archive;
mod admin_openapi;
mod attacks;
mod cluster;
mod containers;
mod data;
mod demo;
mod deploying;
mod development;
mod dictionaries;
mod docs;
#[path = "support/etcd.rs"]
mod etcd;
mod fingerprints;
mod hostnames;
mod http;
mod http1;
mod http2;
mod http3;
#[path = "support/http3_client.rs"]
mod http3_client;
#[path = "support/in_process.rs"]
mod in_process;
mod lane;
mod protection;
mod proxy;
#[path = "support/relay.rs"]
mod relay;
mod rooms;
mod rules;
mod runner;
mod schedules;
#[path = "support/seaweed.rs"]
mod seaweed;
mod sessions;
mod signing;
#[path = "support/small_disk.rs"]
mod small_disk;
mod spawner;
mod support;
mod trust;
mod upkeep;
mod upstreams;
mod webhooks;
#[path = "support/wire.rs"]
mod wire;
