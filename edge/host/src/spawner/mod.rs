//! Starts, limits, signals and cleans up the processes of backends ("instances") through a separate process.
//!
//! [`Spawner`] is the edge's handle (`handle`). Behind the handle, `client` holds the conversation (`wire`) with the
//! spawner: a child, `devanture-edge spawner`, or a process with more privileges behind a socket (`privileged_socket`).
//! There, `host` starts each instance by `devanture-edge exec-instance` (`exec`), passes on output (`instance`) and
//! monitors the usage, by a control group if available (`cgroup`), otherwise by `/proc` (`processes`, `usage`). Work as
//! a user of instances is done by `devanture-edge user-task` (`user_task`).
//!
//! No crash of any part leaves processes behind. An instance dies with the spawner by the parent-death signal. The
//! spawner kills all instances when the edge is gone, which closes standard input. Descendants of an instance stay
//! below the spawner, a subreaper; if the spawner was killed, they become children of the edge, also a subreaper; and
//! if both were killed at once, the next start finds leftovers by the marker in their environment (`leftovers`).
//!
//! A spawner is handed over from an edge to the next edge with all instances (`handover`): the spawner pauses, the next
//! edge gets a copy of the connection and resumes. If the next edge fails to start, the previous edge resumes.

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
