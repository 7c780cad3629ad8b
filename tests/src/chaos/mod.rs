//! Chaos on a real cluster: a steady stream of wishes while one fault follows the other, and then the proof that nothing was lost and
//! nothing done twice.
//!
//! The agent is the test build with failpoints, installed by the real chart with two replicas of each role. What happened is told by
//! witnesses of their own: a watch with all rights, the API server's audit log, the control plane's store. The rules are in
//! [`check`](mod@check), pure. Touches one test cluster of its own.

pub mod check;
pub mod faults;
pub mod gather;
pub mod history;
pub mod plan;
pub mod replicas;
pub mod rig;
pub mod stream;
pub mod table;
pub mod watch;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::installation::{ControlPlane, Installation, Options};
use crate::support::push_failpoints;
use crate::testbed::{Part, Testbed, wait_until};
use check::{Rule, Violation};
use history::History;
use plan::{Dice, Fault, Form, Role};
use rig::Rig;
use stream::{Counts, DATA_PLANE, Load, ORGANIZATION, Rest, Stream};
use table::Made;
use watch::{NAMESPACE, Observer};

/// What is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the test cluster.
    pub name: String,
    /// How much is broken.
    pub form: Form,
    /// Makes the schedule.
    pub seed: u64,
    /// Leave the cluster up.
    pub keep: bool,
    /// Only faults whose name contains this.
    pub only: Option<String>,
}

/// Two replicas each, and a container that ends is started again at once.
const VALUES: &str = "link: { replicas: 2 }\noperator: { replicas: 2 }\npolicy: { limits: null }\n";
const RESTARTS: &str = "crashLoopBackOff: { maxContainerRestartPeriod: 1s }\n";

/// How long nothing may be written at the end.
const SILENCE: Duration = Duration::from_secs(15);

const fn load(form: Form) -> Load {
    match form {
        Form::Short => Load { projects: 2, releases: 40, real: 1, pace: Duration::from_millis(500), run_every: 15 },
        Form::Full => Load { projects: 4, releases: 120, real: 3, pace: Duration::from_millis(800), run_every: 12 },
    }
}

/// Runs everything on a fresh cluster, prints the table.
///
/// # Errors
/// A rule does not hold, or a fault of the plan could not be made.
pub async fn run(settings: &Settings) -> Result<()> {
    if let Ok(left) = Testbed::attach(&settings.name) {
        left.down().await?;
    }
    let bed = Testbed::up(&settings.name).await?;
    let ran = on(&bed, settings).await;
    if settings.keep {
        println!("the cluster is left up: testbed --name {} down", settings.name);
    } else {
        bed.down().await?;
    }
    ran
}

async fn on(bed: &Testbed, settings: &Settings) -> Result<()> {
    println!("seed {} (SEED={0} replays the schedule of faults)", settings.seed);
    let mut rig = install(bed, settings).await?;
    let (leader, _) = rig.leader(Role::Link).await?;
    let mut plan = plan::schedule(settings.seed, settings.form, &leader.points().await?);
    if let Some(only) = &settings.only {
        plan.retain(|fault| fault.to_string().contains(only));
    }
    if plan.iter().any(|fault| matches!(fault, Fault::Slow(_))) {
        bed.prepare_slow_link().await?;
    }
    let stream = std::sync::Arc::new(Stream::new(bed, rig.rest.clone(), load(settings.form))?);
    stream.begin().await?;
    rig.flows(Instant::now(), rig::LIMIT).await?;
    let stop = CancellationToken::new();
    let mut wishes = JoinSet::new();
    let (one, two, until, again, seed) = (stream.clone(), stream.clone(), stop.clone(), stop.clone(), settings.seed);
    wishes.spawn(async move { one.wish(seed, &until).await });
    wishes.spawn(async move { two.visit(&again).await });

    let mut run = Run {
        made: Vec::new(),
        reached: Vec::new(),
        panics: BTreeSet::new(),
        said: BTreeSet::new(),
        failed: Vec::new(),
        began: Instant::now(),
    };
    run.faults(&mut rig, &plan, settings.seed).await?;

    say("faults are off; waiting until everything is settled");
    stop.cancel();
    while let Some(ended) = wishes.join_next().await {
        ended?.context("the stream")?;
    }
    let (history, violations) = run.settle(&rig).await?;
    run.tell(settings.form, &rig, &plan, &stream.counts, &history, &violations)
}

/// The agent with failpoints, two replicas each, certificates of two minutes.
async fn install(bed: &Testbed, settings: &Settings) -> Result<Rig> {
    let config = bed.instance()?.path("config/kubelet.yaml");
    let kubelet = std::fs::read_to_string(&config)?;
    std::fs::write(&config, format!("{kubelet}{RESTARTS}"))?;
    bed.restart(Part::Kubelet).await?;
    let state = bed.instance()?.path("control-plane-state");
    let plane = ControlPlane::start(bed, &state, &["--certificate-lifetime", "2m", "--record-limit", "0"]).await?;
    let options = Options {
        namespace: NAMESPACE.to_owned(),
        release: NAMESPACE.to_owned(),
        organization: ORGANIZATION.to_owned(),
        data_plane: DATA_PLANE.to_owned(),
        image: push_failpoints(bed).await?,
        values: VALUES.to_owned(),
    };
    say(&format!("installing the agent on {}", settings.name));
    let agent = Installation::install(bed, &plane, options).await?;
    Ok(Rig {
        observer: Observer::start(bed).await?,
        rest: Rest::new(&plane)?,
        agent,
        lost: Vec::new(),
        strangers: BTreeSet::new(),
        scratch: tempfile::tempdir()?,
        probes: std::sync::atomic::AtomicUsize::new(0),
    })
}

struct Run {
    made: Vec<Made>,
    reached: Vec<(Role, String)>,
    panics: BTreeSet<String>,
    /// Last words at failpoints: log and point.
    said: BTreeSet<(std::path::PathBuf, String)>,
    failed: Vec<String>,
    began: Instant,
}

impl Run {
    /// One fault after the other. One that cannot be made is told at the end.
    async fn faults(&mut self, rig: &mut Rig, plan: &[Fault], seed: u64) -> Result<()> {
        let mut dice = Dice(seed);
        for (index, fault) in plan.iter().enumerate() {
            say(&format!("[{:4.0} s] {}/{} {fault}", self.began.elapsed().as_secs_f64(), index + 1, plan.len()));
            let (at, since, from) = (self.began.elapsed(), Instant::now(), latest(rig));
            match rig.make(fault, &mut dice).await {
                Ok(outcome) => {
                    self.reached.extend(outcome.reached);
                    self.failed.extend(outcome.failed);
                    let (name, what, to) = (fault.name(), fault.to_string(), latest(rig));
                    self.made.push(Made { name, what, at, took: since.elapsed(), from, to, times: outcome.times });
                }
                Err(error) => {
                    say(&format!("    FAILED: {error:#}"));
                    self.failed.push(format!("{fault}: {error:#}"));
                    self.mend(rig).await?;
                }
            }
            self.look(rig)?;
        }
        Ok(())
    }

    /// Repairs whatever is still broken.
    async fn mend(&self, rig: &Rig) -> Result<()> {
        rig.bed().restore_link().await?;
        rig.bed().fast_link().await?;
        for part in Part::ALL {
            // Woken if it is frozen, started if it is gone.
            if rig.bed().signal(part, nix::sys::signal::Signal::SIGCONT).is_err() {
                rig.bed().restart(part).await?;
            }
        }
        if rig.bed().control_plane()?.is_none() {
            rig.agent.control_plane.restart().await?;
        }
        rig.api_ready().await
    }

    /// Collects panics and reached failpoints before the kubelet deletes the logs.
    fn look(&mut self, rig: &Rig) -> Result<()> {
        for (file, text) in replicas::logs(rig.bed())? {
            self.panics.extend(replicas::panics(&text));
            self.said.extend(replicas::reached(&text).into_iter().map(|point| (file.clone(), point)));
        }
        Ok(())
    }

    /// Waits until nothing is open any more, or until waiting is over; gives what was found then.
    async fn settle(&self, rig: &Rig) -> Result<(History, Vec<Violation>)> {
        const OPEN: [Rule; 6] =
            [Rule::Settled, Rule::FinalContent, Rule::StateIsTruth, Rule::LeftOver, Rule::Outcome, Rule::FactOnce];
        let waited = wait_until(Duration::from_secs(150), "everything to be settled", || async {
            let history = self.history(rig).await?;
            let open = check::check(&history).into_iter().filter(|violation| OPEN.contains(&violation.rule)).count();
            ensure!(open == 0, "{open} open");
            Ok::<_, anyhow::Error>(())
        });
        if let Err(error) = waited.await {
            say(&format!("not settled: {error}"));
        }
        let settled = latest(rig);
        tokio::time::sleep(SILENCE).await;
        let mut history = self.history(rig).await?;
        history.late = history.versions.iter().filter(|version| version.resource_version > settled).cloned().collect();
        gather::audited(&mut history, rig.bed())?;
        let violations = check::check(&history);
        Ok((history, violations))
    }

    async fn history(&self, rig: &Rig) -> Result<History> {
        let mut history = History {
            failpoints: self.said.len().max(self.reached.len()),
            panics: self.panics.clone(),
            strangers: rig.strangers.clone(),
            ..History::default()
        };
        gather::observed(&mut history, &rig.observer.seen());
        let store = rig.agent.control_plane.state().join("store.db");
        for store in rig.lost.iter().chain([&store]) {
            gather::recorded(&mut history, store).await?;
        }
        // The cluster first: what it says later must have arrived in the store.
        gather::stands(&mut history, rig.bed()).await?;
        gather::wished(&mut history, &store).await?;
        Ok(history)
    }

    /// Prints everything; an error if anything is not as it must be.
    fn tell(
        &self,
        form: Form,
        rig: &Rig,
        plan: &[Fault],
        counts: &Counts,
        history: &History,
        violations: &[Violation],
    ) -> Result<()> {
        let count = |counter: &std::sync::atomic::AtomicUsize| counter.load(Ordering::Relaxed);
        let planned: Vec<_> = plan
            .iter()
            .filter_map(|fault| if let Fault::Points(points) = fault { Some(points.clone()) } else { None })
            .flatten()
            .collect();
        for one in violations {
            table::violation(one, history, &self.made);
        }
        table::faults(&self.made);
        table::points(&planned, &self.reached);
        let broken = rig.observer.seen().broken;
        table::counts(history, count(&counts.wishes), count(&counts.repeated), count(&counts.visits), broken);
        let slow: Vec<_> = self
            .made
            .iter()
            .flat_map(|made| made.times.iter().map(move |(after, took)| (made, after, took)))
            .filter(|(_, after, took)| after.limit(form).is_some_and(|limit| **took > limit))
            .map(|(made, after, took)| {
                format!("{}: {} only after {:.1} s", made.what, after.name(), took.as_secs_f64())
            })
            .collect();
        println!("\nfaults that could not be made: {}", self.failed.len());
        for line in self.failed.iter().chain(&slow) {
            println!("  {line}");
        }
        println!("rules that did not hold: {} (of {} rules)", violations.len(), Rule::ALL.len());
        if !violations.is_empty() || !self.failed.is_empty() || !slow.is_empty() {
            bail!(
                "{} violations, {} faults that could not be made, {} that took too long",
                violations.len(),
                self.failed.len(),
                slow.len()
            );
        }
        Ok(())
    }
}

/// The latest write that the observer has seen.
fn latest(rig: &Rig) -> u64 {
    let seen = rig.observer.seen();
    let versions = seen.versions.iter().map(|version| version.resource_version).max();
    versions.max(seen.held.iter().map(|held| held.resource_version).max()).unwrap_or(0)
}

fn say(text: &str) {
    println!("… {text}");
}
