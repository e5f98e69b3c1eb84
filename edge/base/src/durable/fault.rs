//! The failing disk of the tests: fails once, or dies for good, at the n-th step that is taken below a folder.

use std::io::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::Step;

const ENOSPC: i32 = 28;

/// The action of the n-th step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every step from it on fails, clean-up included, as if the process had been killed there.
    Death,
    /// It fails for lack of room, and those after it do not.
    Full,
    /// Nothing: the steps are only written down.
    None,
    /// Every step from it on fails with this error of the system.
    Refused(i32),
}

#[derive(Debug)]
struct Plan {
    folder: PathBuf,
    fault: Fault,
    nth: usize,
    steps: Mutex<Vec<(Step, PathBuf)>>,
}

static PLANS: Mutex<Vec<Arc<Plan>>> = Mutex::new(Vec::new());

/// A plan that holds until it is dropped.
pub struct Armed(Arc<Plan>);

/// Plans `fault` for the step after `nth` others below `folder`.
pub fn arm(folder: &Path, fault: Fault, nth: usize) -> Armed {
    let plan = Arc::new(Plan { folder: folder.to_path_buf(), fault, nth, steps: Mutex::default() });
    PLANS.lock().push(Arc::clone(&plan));
    Armed(plan)
}

impl Armed {
    /// The steps that were taken, the failed ones included.
    pub fn steps(&self) -> Vec<Step> {
        self.0.steps.lock().iter().map(|(step, _)| *step).collect()
    }

    /// Whether the planned step came.
    pub fn fired(&self) -> bool {
        self.steps().len() > self.0.nth
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        PLANS.lock().retain(|plan| !Arc::ptr_eq(plan, &self.0));
    }
}

pub(super) fn check(step: Step, path: &Path) -> std::io::Result<()> {
    let plans = PLANS.lock();
    for plan in plans.iter().filter(|plan| path.starts_with(&plan.folder)) {
        let mut steps = plan.steps.lock();
        let index = steps.len();
        steps.push((step, path.to_path_buf()));
        match plan.fault {
            Fault::Death if index >= plan.nth => return Err(Error::other("the process is dead")),
            Fault::Full if index == plan.nth => return Err(Error::from_raw_os_error(ENOSPC)),
            Fault::Refused(errno) if index >= plan.nth => return Err(Error::from_raw_os_error(errno)),
            Fault::Death | Fault::Full | Fault::None | Fault::Refused(_) => {}
        }
    }
    Ok(())
}
