//! Processes of tenants: the process that starts and ends them ([`spawner`]), images ([`containers`]), work on their
//! data ([`data_task`]), and their lines ([`output`]).

pub mod spawner;

pub mod containers;

pub mod data_task;

pub mod output;
