//! The edge: stores bundles, serves versions of them, and switches between versions without a visitor noticing.
//!
//! The rooms, lowest first; one may use those above it in this list and never those below (`tests/rooms` holds it).
//! A request comes in by [`listen`], [`handler`] asks [`live`] who it is for and the crate `devanture-site` what it
//! means, and answers from [`version`] or hands it to [`proxy`]. A push comes in by [`admin`], goes down [`publish`]
//! into [`blobs`], and ends with one compare-and-swap by [`ledger`] in [`catalog`], whose watch moves [`live`].

pub mod telemetry;

pub mod s3;

pub mod durable;

pub mod blobs;

pub mod catalog;

pub mod records;

pub mod engine;

pub mod version;

pub mod live;

pub mod proxy;

pub mod handler;

pub mod tls;

pub mod listen;

pub mod containers;

pub mod spawner;

pub mod data_task;

pub mod output;

pub mod runner;

pub mod ledger;

pub mod cluster;

pub mod access;

pub mod encode;

pub mod environments;

pub mod acme;

pub mod webhooks;

pub mod retention;

pub mod safekeeping;

pub mod archive;

pub mod switch;

pub mod publish;

pub mod admin;

pub mod server;

pub mod doctor;
