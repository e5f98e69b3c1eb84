//! Failing disk for tests: fails once or for good at the n-th step below a folder.

use std::io::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::Step;

const ENOSPC: i32 = 28;

/// Action at the n-th step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// All steps from there on fail, including clean-up, as if the process had been killed.
    Death,
    /// The step fails for lack of room; later steps succeed.
    Full,
    /// No failure: the steps are only recorded.
    None,
    /// All steps from there on fail with this system error.
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

/// Armed plan; disarmed on drop.
pub struct Armed(Arc<Plan>);

/// Plans `fault` for the step after `nth` earlier steps below `folder`.
pub fn arm(folder: &Path, fault: Fault, nth: usize) -> Armed {
    let plan = Arc::new(Plan { folder: folder.to_path_buf(), fault, nth, steps: Mutex::default() });
    PLANS.lock().push(Arc::clone(&plan));
    Armed(plan)
}

impl Armed {
    /// Returns the steps taken, including failed steps.
    pub fn steps(&self) -> Vec<Step> {
        self.0.steps.lock().iter().map(|(step, _)| *step).collect()
    }

    /// Returns true if the planned step was reached.
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
