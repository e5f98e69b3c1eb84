//! System calls forbidden to instances.
//!
//! In a new user namespace, a process may mount file systems in memory, which no limit of the instance counts, and
//! reaches much of the kernel otherwise reserved for root. The keyrings of keyrings(7) outlive processes and belong to
//! sessions and user ids: all instances inherit the session of the edge, and user ids are reused.
//!
//! Through io_uring(7) the kernel acts past system call filters, and a process that handles its page faults through
//! userfaultfd(2) can stall a reader of its memory; both were used in many attacks on kernels. Container runtimes
//! refuse both with EPERM too, so programs have a fallback.

use std::collections::BTreeMap;
use std::io;

use nix::libc::{
    CLONE_NEWUSER, EINVAL, ENOSYS, EPERM, SYS_add_key, SYS_clone, SYS_clone3, SYS_io_uring_enter,
    SYS_io_uring_register, SYS_io_uring_setup, SYS_keyctl, SYS_request_key, SYS_unshare, SYS_userfaultfd, c_long,
};
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

/// Bit of system calls of the x32 interface, with the architecture of x86_64.
const X32: c_long = 0x4000_0000;

/// Forbids the calls for this thread, which must be unable to gain privileges, and for all descendants.
///
/// A program for another architecture than the edge's, such as a 32-bit program, is killed at the first system call.
///
/// # Errors
/// Fails if the kernel refuses the filter. A kernel without filters is no error: the calls cannot be forbidden there.
pub(super) fn forbid() -> io::Result<()> {
    let architecture: TargetArch = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let flag = u64::from(CLONE_NEWUSER.unsigned_abs());
    let has_flag = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)
        .map_err(io::Error::other)?;
    let rule = SeccompRule::new(vec![has_flag]).map_err(io::Error::other)?;
    let mut denied = both(&[SYS_unshare, SYS_clone], &[rule]);
    denied.extend(both(&[SYS_keyctl, SYS_add_key, SYS_request_key], &[]));
    denied.extend(both(&[SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, SYS_userfaultfd], &[]));
    install(filter(denied, EPERM, architecture)?)?;
    // The flags are in memory, which a filter cannot read. Libraries fall back to `clone`.
    install(filter(both(&[SYS_clone3], &[]), ENOSYS, architecture)?)
}

/// Returns rules for system calls, including the x32 variants.
fn both(calls: &[c_long], rules: &[SeccompRule]) -> BTreeMap<c_long, Vec<SeccompRule>> {
    calls.iter().flat_map(|call| [*call, call | X32]).map(|call| (call, rules.to_vec())).collect()
}

/// Returns a filter that fails the given system calls with an error and permits all others.
fn filter(calls: BTreeMap<c_long, Vec<SeccompRule>>, error: i32, architecture: TargetArch) -> io::Result<BpfProgram> {
    let refused = SeccompAction::Errno(error.unsigned_abs());
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, refused, architecture).map_err(io::Error::other)?;
    filter.try_into().map_err(io::Error::other)
}

fn install(filter: BpfProgram) -> io::Result<()> {
    match apply_filter(&filter) {
        Err(Error::Seccomp(error) | Error::Prctl(error)) if matches!(error.raw_os_error(), Some(ENOSYS | EINVAL)) => {
            Ok(())
        }
        other => other.map_err(io::Error::other),
    }
}
