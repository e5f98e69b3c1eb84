//! Attacks by the owner of one app on other apps and on the edge.

mod cookies;
mod full_disk;
mod health_checks;
mod instance_limits;
mod instances;
mod levels;
mod manifests;
mod memory;
mod name_servers;
mod names;
mod own_addresses;
mod ports;
mod routes;
mod shares;
mod user_ids;
