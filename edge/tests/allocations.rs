//! The tests that count what the allocator gives, one program: the counter stands in for the allocator of all of it.

mod heap_bytes;
#[path = "support/in_process.rs"]
mod in_process;
mod no_allocation;
