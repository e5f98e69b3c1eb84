//! The control plane. [`admin`] accepts a push, [`publish`] stores its blobs, and [`ledger`] commits the switch by a
//! compare-and-swap that moves the live pointer of the serving plane.

pub mod runner;

pub mod ledger;

pub mod cluster;

pub mod access;

pub mod encode;

pub mod places;

pub mod signing;

pub mod pauses;

pub mod upstreams;

pub mod instances;

pub mod hostnames;

pub mod settings;

pub mod aliases;

pub mod protection;

pub mod data;

pub mod commands;

pub mod schedules;

pub mod environments;

pub mod acme;

pub mod webhooks;

pub mod retention;

pub mod safekeeping;

pub mod archive;

pub mod switch;

pub mod publish;

pub mod admin;
