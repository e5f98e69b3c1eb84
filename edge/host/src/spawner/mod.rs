//! Starts, limits, signals and cleans up the processes of backends ("instances"), by a process of its own.
//!
//! [`Spawner`] is the edge's handle (`handle`). Behind it, `client` holds the conversation (`wire`) with the spawner: a
//! child, `devanture-edge spawner`, or one that runs with more privileges behind a socket (`privileged_socket`). There,
//! `host` starts each instance by `devanture-edge exec-instance` (`exec`), passes its output on (`instance`) and
//! watches what it uses, by a control group where there is one (`cgroup`), else by what `/proc` tells (`processes`,
//! `usage`). What is done as a user of instances is done by `devanture-edge user-task` (`user_task`).
//!
//! Nothing is left behind by any end of anybody: an instance dies with the spawner by the signal at its parent's end;
//! the spawner kills all when the edge is gone, which ends its standard input; what comes from an instance stays below
//! the spawner, which is a subreaper; where the spawner was killed, it comes to the edge, which is one too; and where
//! both were killed at once, the next start finds what is left by the marker in its environment (`leftovers`).
//!
//! A spawner goes from an edge to the next one with all that it runs (`handover`): it falls silent, the next edge gets
//! a copy of the connection, and has it go on. The edge before does that where the next one does not come up.

mod attached;
mod attaching;
mod begin;
mod cgroup;
mod children;
pub mod claims;
mod client;
mod ending;
mod error;
mod event;
mod exec;
mod handle;
mod handover;
mod host;
mod instance;
mod kernel_files;
mod launch;
mod leftovers;
mod measure;
mod own_program;
mod passed_file;
mod private_folders;
mod private_memory;
mod private_terminals;
mod privileged_socket;
mod process_users;
mod processes;
mod session;
mod settings;
mod system_calls;
mod tag;
mod terminal;
mod usage;
mod user;
mod user_task;
mod wire;

pub use attaching::{Attached, PassedSignal, WindowSize};
pub use begin::{HostUsers, claim_when_free};
pub use error::SpawnError;
pub use event::{Exit, Happened, Stream, Usage};
pub use exec::exec_instance;
pub use handle::{AttachedSignaller, Monitor, Running, Signaller, Spawner};
pub use handover::{HandedProcess, HandedSpawner, SpawnerConnection};
pub use host::{HostSettings, host};
pub use launch::{InstanceLimits, Launch, Temporary};
pub use leftovers::kill_leftovers;
pub use measure::{MEASURED_DEPTH_MAX, Measured, MeasuredFolder};
pub use private_terminals::TERMINALS_MAX;
pub use privileged_socket::{AUTO, SocketSettings, open_door};
pub use settings::{Means, SpawnerSettings};
pub use user::has_ipc_objects;
pub use user_task::user_task;
pub use wire::PROTOCOL as SPAWNER_PROTOCOL;
