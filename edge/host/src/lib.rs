//! Processes of tenants: the process that starts and ends instances ([`spawner`]), container images ([`containers`]),
//! work on tenants' data ([`data_task`]), and output ([`output`]).

pub mod spawner;

pub mod containers;

pub mod data_task;

pub mod output;
