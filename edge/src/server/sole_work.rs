//! Work that one process of an edge does at a time, such as looking through what is stored.

use tokio::runtime::{Handle, Runtime};
use tokio_util::sync::CancellationToken;

/// Such work of this process: it ends once a successor serves, which does the same.
#[derive(Clone)]
pub(super) struct SoleWork {
    control: Handle,
    ended: CancellationToken,
}

impl SoleWork {
    pub(super) fn on(control: &Runtime) -> Self {
        Self { control: control.handle().clone(), ended: CancellationToken::new() }
    }

    /// Begins work; it may be broken off anywhere, as it is where a process is killed.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.control.spawn(self.ended.clone().run_until_cancelled_owned(work)));
    }

    /// Ends all of it.
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
