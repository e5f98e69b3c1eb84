//! The system calls that instances may not make.
//!
//! In a user namespace of its own a process may mount file systems in memory, which no limit of its instance counts,
//! and reaches much of the kernel that is otherwise for root alone. The keyrings of keyrings(7) outlive processes and
//! belong to sessions and user ids: all instances inherit the session of the edge, and a user id is given again.
//!
//! By io_uring(7) the kernel acts past filters of system calls, and a process that handles its page faults by
//! userfaultfd(2) can hold up a reader of its memory; both have been used for many attacks on kernels. Container
//! runtimes refuse them with EPERM too, so that programs know how to go on without.

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

/// The bit of system calls of the x32 interface, whose architecture is that of x86_64.
const X32: c_long = 0x4000_0000;

/// Rules them out for this thread, which may gain no privileges any more, and all that comes of it.
///
/// A program for another architecture than the edge's, such as a 32-bit one, is ended at its first system call.
///
/// # Errors
/// Where the kernel refuses the filter. One without filters has no error: nothing can be ruled out there.
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
    // Its flags are in memory, which a filter cannot look at. Libraries go on with `clone` where it is not there.
    install(filter(both(&[SYS_clone3], &[]), ENOSYS, architecture)?)
}

/// Rules for system calls, and for the same of the x32 interface.
fn both(calls: &[c_long], rules: &[SeccompRule]) -> BTreeMap<c_long, Vec<SeccompRule>> {
    calls.iter().flat_map(|call| [*call, call | X32]).map(|call| (call, rules.to_vec())).collect()
}

/// A filter that answers these system calls with an error, and lets all others pass.
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
