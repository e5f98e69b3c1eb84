//! Tests that count allocations. A separate program, because the counter replaces the global allocator.

mod heap_bytes;
#[path = "support/in_process.rs"]
mod in_process;
mod no_allocation;
