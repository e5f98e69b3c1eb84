//! End-to-end tests of Devanture: the real programs, real sockets, third-party sites.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test that cannot go on should stop where it is"
)]

mod accounts;
mod backends;
mod backends_page;
mod bytes;
mod canary;
mod check;
mod cookies;
mod crash;
mod curl;
mod data;
mod data_format;
mod dev;
mod dev_backend;
mod dev_remote;
mod dictionaries;
mod envs;
mod faults;
mod foresight;
mod game;
mod gate;
mod git_hook;
mod halves;
mod halves_page;
mod hostnames;
mod http3;
mod images;
mod images_page;
mod integrity;
mod isolation;
mod keep;
mod managed;
mod managed_faults;
mod managed_switching;
mod model;
mod moves;
mod oidc;
mod pages;
mod parts;
mod php_page;
mod pins;
mod protection;
mod recipe_comments;
mod recipe_machine;
mod recipes;
mod refusals;
mod routes;
mod running;
mod schedules;
mod signing;
mod sites;
mod sole_workers;
mod spellings;
mod starting;
mod stories;
mod story;
mod switching;
mod takeover;
mod takeover_backends;
mod takeover_http3;
mod takeover_times;
mod team;
mod trust;
mod upgrades;
mod upkeep;
mod upstreams;
mod webhooks;
mod who;
