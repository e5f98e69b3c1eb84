//! Work that only one process of an edge does at a time, such as scans of the stores.

use tokio::runtime::{Handle, Runtime};
use tokio_util::sync::CancellationToken;

/// The exclusive work of a process, ended once a successor serves, which does the same work.
#[derive(Clone)]
pub(super) struct SoleWork {
    control: Handle,
    ended: CancellationToken,
}

impl SoleWork {
    pub(super) fn on(control: &Runtime) -> Self {
        Self { control: control.handle().clone(), ended: CancellationToken::new() }
    }

    /// Spawns work, which may be interrupted at any point, as by a kill of the process.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.control.spawn(self.ended.clone().run_until_cancelled_owned(work)));
    }

    /// Ends all work.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn work_ends_and_none_begins_once_another_process_does_it() {
        let runtime = Runtime::new().unwrap();
        let sole = SoleWork::on(&runtime);
        let dropped = |sole: &SoleWork| {
            let (works, ended) = oneshot::channel::<()>();
            sole.spawn(async move {
                pending::<()>().await;
                drop(works);
            });
            ended
        };
        let before = dropped(&sole);
        sole.clone().end();
        for ended in [before, dropped(&sole)] {
            let ended = runtime.block_on(async { timeout(Duration::from_secs(60), ended).await });
            assert!(ended.expect("the work ends").is_err());
        }
    }
}
