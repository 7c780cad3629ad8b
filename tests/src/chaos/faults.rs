//! Making each fault, and waiting for what follows it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::plan::{Dice, Fault, Form, Role};
use super::replicas::{self, Replica};
use super::rig::{LIMIT, Rig};
use super::watch::NAMESPACE;
use crate::testbed::{Cut, wait_until};

/// Longest wait for a failpoint: renewals of certificates come every 80 s.
const REACHED: Duration = Duration::from_secs(240);
/// What a slow link does to every piece, and how much of it comes through.
const SLOW: (Duration, u32) = (Duration::from_millis(400), 24);

/// What followed a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum After {
    /// Another holder of the Lease, after a leader was killed.
    TakeoverAfterCrash,
    /// The same, after it was asked to stop.
    TakeoverAfterStop,
    /// The holder of a Lease that was made again leads under it.
    LedAgain,
    /// A document that was asked for afterwards was accepted.
    Flows,
    /// A restored control plane was adopted.
    Adopted,
}

impl After {
    /// As it stands in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TakeoverAfterCrash | Self::TakeoverAfterStop => "another replica leads",
            Self::LedAgain => "a replica leads again",
            Self::Flows => "a new document is accepted",
            Self::Adopted => "held, then adopted",
        }
    }

    /// Longest that it may take, where that is promised. The short form shares its processors with other tests, so it tells only what
    /// is far too slow.
    #[must_use]
    pub const fn limit(self, form: Form) -> Option<Duration> {
        let (crash, stop) = match form {
            Form::Short => (30, 6),
            Form::Full => (15, 2),
        };
        match self {
            Self::TakeoverAfterCrash | Self::LedAgain => Some(Duration::from_secs(crash)),
            Self::TakeoverAfterStop => Some(Duration::from_secs(stop)),
            Self::Flows | Self::Adopted => None,
        }
    }
}

/// Times that were taken, and failpoints that were reached.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Times.
    pub times: Vec<(After, Duration)>,
    /// Failpoints: role and name.
    pub reached: Vec<(Role, String)>,
    /// Failpoints that were not, and why.
    pub failed: Vec<String>,
}

impl Rig {
    /// Makes a fault, waits until it is over and documents flow again.
    ///
    /// # Errors
    /// The fault cannot be made, or nothing flows afterwards.
    pub async fn make(&mut self, fault: &Fault, dice: &mut Dice) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        match fault {
            Fault::Points(points) => {
                let ends = futures::future::join_all(points.iter().map(|(role, name)| self.end_at(*role, name))).await;
                for ((role, name), end) in points.iter().zip(ends) {
                    match end {
                        Ok(took) => {
                            outcome.times.extend(took.map(|took| (After::TakeoverAfterCrash, took)));
                            outcome.reached.push((*role, name.clone()));
                        }
                        Err(error) => outcome.failed.push(format!("{} at {name}: {error:#}", role.name())),
                    }
                }
            }
            Fault::KillLeader(role) => {
                let (leader, identity) = self.leader(*role).await?;
                let since = Instant::now();
                leader.kill()?;
                outcome.times.push((After::TakeoverAfterCrash, self.takeover(*role, &identity, since).await?));
            }
            Fault::KillAny(role) => {
                let all = replicas::replicas(self.bed(), *role)?;
                all.get(dice.below(all.len())).context("none runs")?.kill()?;
            }
            Fault::Stop(role) => {
                let (leader, identity) = self.leader(*role).await?;
                let since = Instant::now();
                leader.process.signal(Signal::SIGTERM)?;
                outcome.times.push((After::TakeoverAfterStop, self.takeover(*role, &identity, since).await?));
            }
            Fault::Freeze(role, length) => {
                let (leader, identity) = self.leader(*role).await?;
                let since = Instant::now();
                leader.process.signal(Signal::SIGSTOP)?;
                let took = self.takeover(*role, &identity, since).await;
                tokio::time::sleep(length.saturating_sub(since.elapsed())).await;
                leader.process.signal(Signal::SIGCONT)?;
                outcome.times.push((After::TakeoverAfterCrash, took?));
            }
            Fault::Lease(role) => outcome.times.push((After::LedAgain, self.lease(*role).await?)),
            Fault::Part(part, length) => {
                self.bed().kill(*part).await?;
                tokio::time::sleep(*length).await;
                self.bed().restart(*part).await?;
                self.api_ready().await?;
            }
            Fault::Cut(how, length) => {
                self.bed().cut_link(*how).await?;
                tokio::time::sleep(*length).await;
                self.bed().restore_link().await?;
            }
            Fault::Slow(length) => {
                self.bed().slow_link(SLOW.0, SLOW.1).await?;
                // Only a new connection goes the slow way.
                self.bed().cut_link(Cut::Reject).await?;
                tokio::time::sleep(Duration::from_secs(2)).await;
                self.bed().restore_link().await?;
                tokio::time::sleep(*length).await;
                self.bed().fast_link().await?;
            }
            Fault::ControlPlane(length) => {
                self.kill_control_plane().await?;
                tokio::time::sleep(*length).await;
                self.agent.control_plane.restart().await?;
            }
            Fault::Restored => outcome.times.push((After::Adopted, self.restore_older().await?)),
        }
        let flows = self.flows(Instant::now(), LIMIT).await.with_context(|| format!("after {fault}"))?;
        outcome.times.push((After::Flows, flows));
        Ok(outcome)
    }

    /// Ends a leader at a failpoint. Returns the time until the next one leads, where that can be measured.
    async fn end_at(&self, role: Role, name: &str) -> Result<Option<Duration>> {
        let end = Instant::now() + REACHED;
        while Instant::now() < end {
            let (leader, identity) = self.leader(role).await?;
            let all = replicas::replicas(self.bed(), role)?;
            let armed: Vec<Replica> = if name.ends_with("Acquire") {
                all.into_iter().filter(|replica| *replica != leader).collect()
            } else {
                vec![leader.clone()]
            };
            for replica in &armed {
                // One that is just starting is armed in the next round.
                drop(replica.arm(name).await);
            }
            if name.ends_with("Acquire") {
                leader.kill()?;
            } else if name.ends_with("Release") {
                leader.process.signal(Signal::SIGTERM)?;
            }
            let gone = wait_until(Duration::from_secs(20), "the failpoint", || async {
                if armed.iter().any(|replica| !replica.process.alive()) { Ok(()) } else { Err("nobody ended") }
            });
            let ended = gone.await.is_ok();
            let since = Instant::now();
            if ended && self.told(&armed, name).await {
                for replica in replicas::replicas(self.bed(), role)? {
                    replica.disarm().await;
                }
                if name.ends_with("Acquire") || name.ends_with("Release") {
                    return Ok(None);
                }
                return self.takeover(role, &identity, since).await.map(Some);
            }
            for replica in &armed {
                replica.disarm().await;
            }
            if role == Role::Link {
                // Some points of the link are only reached with a new connection (change of its key), or when one is lost for more than
                // two seconds (its own status).
                self.bed().cut_link(Cut::Reject).await?;
                tokio::time::sleep(Duration::from_secs(6)).await;
                self.bed().restore_link().await?;
            }
        }
        bail!("it was never reached")
    }

    /// Whether one of these said that it reached the point.
    async fn told(&self, armed: &[Replica], name: &str) -> bool {
        let look = || async {
            let logs = replicas::logs(self.bed())?;
            let of_armed = |file: &std::path::Path| {
                armed.iter().any(|replica| file.to_string_lossy().contains(&format!("_{}_", replica.pod)))
            };
            let mut said = logs.iter().filter(|(file, _)| of_armed(file)).flat_map(|(_, text)| replicas::reached(text));
            ensure!(said.any(|said| said == name), "not said");
            Ok::<_, anyhow::Error>(())
        };
        wait_until(Duration::from_secs(3), "the last words", look).await.is_ok()
    }

    /// Deletes a Lease. Gives the time until the agent has made it again and its holder says that it leads.
    async fn lease(&self, role: Role) -> Result<Duration> {
        let name = format!("pdp-agent-{}", role.name());
        let get = ["get", "lease", &name, "-n", NAMESPACE, "-o", "json"];
        let old: Value = serde_json::from_str(&self.bed().kubectl(&get).await?)?;
        let uid = old.pointer("/metadata/uid").cloned().unwrap_or_default();
        self.bed().kubectl(&["delete", "lease", &name, "-n", NAMESPACE]).await?;
        let since = Instant::now();
        let led = wait_until(LIMIT, "somebody to lead under the new Lease", || async {
            let lease: Value = serde_json::from_str(&self.bed().kubectl(&get).await?)?;
            let holder = lease.pointer("/spec/holderIdentity").and_then(Value::as_str).unwrap_or_default();
            ensure!(!holder.is_empty() && lease.pointer("/metadata/uid") != Some(&uid), "{lease}");
            let pod = holder.split('_').next().unwrap_or_default();
            let mut all = replicas::replicas(self.bed(), role)?.into_iter();
            let leader = all.find(|replica| replica.pod == pod).context("the holder does not run")?;
            ensure!(leader.leads(role).await?, "{holder} does not lead yet");
            Ok::<_, anyhow::Error>(since.elapsed())
        });
        Ok(led.await?)
    }
}
