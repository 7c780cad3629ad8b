//! Why a run is over although its Job goes on: its own container has ended and another one of the pod has not, or its pod can never
//! start. Pure.

use std::time::Duration;

use super::{Draft, words};
use crate::kinds::conditions::{self, Reason};
use crate::operator::release::progress;
use crate::operator::world::workload::PodView;

/// How long a pod may take to end after its main container has: longer, and something else in it runs on.
const OUTLIVED: Duration = Duration::from_secs(10);

impl Draft<'_> {
    /// Its result, and why.
    pub(super) fn over_before_its_job(
        &mut self,
        last: Option<&PodView>,
        pods: &[PodView],
    ) -> Option<(&'static str, Reason)> {
        // Its Job would keep such a pod until task.timeoutSeconds.
        let never = pods.iter().filter(|pod| !pod.evicted && !pod.terminating).find_map(progress::never_starts);
        if let Some(why) = never.filter(|_| self.next.started.is_none()) {
            return Some(("Failed", why));
        }
        self.outlived(last)
    }

    /// Why the run has ended although its Job goes on: the task's container has ended, and another one of the pod, which a mesh put there
    /// for instance, runs on.
    fn outlived(&mut self, last: Option<&PodView>) -> Option<(&'static str, Reason)> {
        let pod = last.filter(|pod| pod.running && !pod.terminating)?;
        let finished = pod.finished.as_deref().and_then(conditions::parse_time)?;
        let since = Duration::try_from(self.now.duration_since(finished)).unwrap_or_default();
        if let Some(left) = OUTLIVED.checked_sub(since).filter(|left| !left.is_zero()) {
            self.wake = Some(left);
            return None;
        }
        let others = "other containers of its pod run on, and are stopped later";
        // The exit code may be withheld.
        let success = pod.terminated.as_ref().is_some_and(|(reason, _)| reason.is("Completed"));
        Some(if success {
            ("Succeeded", Reason::new("Succeeded", format!("the task ended with success; {others}")))
        } else {
            let message = format!("the task failed and is not tried again{}; {others}", words::death(pod));
            ("Failed", Reason::new("Failed", message))
        })
    }
}
