//! Runs the backends that came with versions, as instances of this machine: starts them, asks whether they are well,
//! has requests led to them, keeps their logs, ends them.
//!
//! The instances of one backend in one place with one revision of settings are a group
//! ([`devanture_serve::proxy::RunId`]): versions that differ in the front alone share it. Each group has a task that
//! looks after it (`supervise`), and so has each instance (`instance`), for one process after the other (`life`); what
//! is live is followed (`follow`), and pools get the instances that answer.
//!
//! What such a process is (`program`) comes from a folder that is laid out (`folder`), is PHP-FPM for one (`php`, with
//! the settings of `user_ini`), or stands for a container of an image (`image`, with the images of the edge in
//! `own_images`). Commands run once before a switch (`release`), at times (`scheduled`), or for a client that watches
//! (`once`).
//!
//! In a cluster each node runs its share of the instances of an environment ([`spread`]) of the nodes that it knows
//! ([`nodes`]).

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
pub use handle::{Held, Parts, Runner};
pub use handover::handed::{Handed, Handover, Terms};
pub use once::{EndedBy, EndedRun, FrameSender, FrameSource, Once};
pub use open_ports::{LISTEN_ON_HOST, OpenPort};
pub use request::Wanted;
pub use scheduled::{Scheduled, ScheduledEnd};
pub use shared::Report;
pub use variables::Variables;
