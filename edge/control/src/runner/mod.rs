//! Runs the backends of versions as local instances: starts, health checks, routing of requests, logs, ends.
//!
//! The instances of one backend in one environment with one revision of settings form a group
//! ([`devanture_serve::proxy::RunId`]), shared by versions that differ only in the front. Each group has a supervising
//! task (`supervise`), and so has each instance (`instance`), for one process after the other (`life`). The runner
//! follows live versions (`follow`), and publishes healthy instances to pools.
//!
//! A process (`program`) runs from a laid-out folder (`folder`), is PHP-FPM (`php`, with the settings of `user_ini`),
//! or stands in for a container of an image (`image`, with the edge's images in `own_images`). One-off commands run
//! before a switch (`release`), on a schedule (`scheduled`), or interactively for a client (`once`).
//!
//! In a cluster, each node runs its share of an environment's instances ([`spread`]) among the known nodes ([`nodes`]).

mod authority;
mod backoff;
mod bounds;
mod capacity;
mod counts;
mod data;
mod environment;
mod error;
mod folder;
mod follow;
mod forget;
mod gauges;
mod group;
mod handle;
mod handover;
mod health;
mod holds;
mod image;
mod instance;
mod instance_handle;
mod life;
mod nodes;
mod once;
mod open_ports;
mod own_images;
mod persist;
mod persisted;
mod php;
mod place_user;
mod ports;
mod program;
mod release;
mod request;
mod scheduled;
mod set_up;
mod shared;
mod sole;
mod spread;
mod supervise;
mod temporary;
mod temporary_folders;
mod user_ini;
mod users;
mod variables;
mod wait;

pub use data::{DataArchive, Upload, unless_abandoned};
pub use error::{ERROR_LINES_MAX, Error, TURN_ON};
pub(crate) use folder::folder_count;
pub use handle::{InstanceLease, Parts, Runner};
pub use handover::handed::{Handed, Handover, Terms};
pub use once::{EndedBy, EndedRun, FrameSender, FrameSource, Once};
pub use open_ports::{LISTEN_ON_HOST, OpenPort};
pub use request::BackendSpec;
pub use scheduled::{Scheduled, ScheduledEnd};
pub use shared::Report;
pub use variables::Variables;
