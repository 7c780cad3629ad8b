//! One run: two minutes of work and faults, then quiet, then the last checks.

use std::collections::BTreeSet;

use serde_json::json;

use super::api::Request;
use super::world::{Event, Rates, User, World};
use super::{Bug, Fault, Violation};

const FAULTS_UNTIL: u64 = 120_000;
/// Time to converge after the last fault: twice the progress deadline of a release.
const CONVERGE: u64 = 900_000;
/// Time between looks whether it has converged.
const SETTLE: u64 = 10_000;
/// Time of silence that is watched.
const SILENCE: u64 = 60_000;

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What was broken; empty if all is well.
    pub violations: Vec<Violation>,
    /// Faults that really happened.
    pub reached: BTreeSet<Fault>,
    /// Everything that happened, one line each.
    pub trace: Vec<String>,
    /// Documents that were accepted.
    pub accepted: usize,
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, bug: Option<Bug>) -> Outcome {
    let mut world = World::new(seed, bug);
    prepare(&mut world);
    while world.checks.violations.is_empty() && world.step(FAULTS_UNTIL) {}
    if world.checks.violations.is_empty() {
        calm(&mut world);
    }
    Outcome {
        violations: world.checks.violations,
        reached: world.reached,
        trace: world.trace,
        accepted: world.plane.accepted.len(),
    }
}

fn prepare(world: &mut World) {
    let data_plane = json!({ "kind": "DataPlane", "metadata": { "name": "default" }, "spec": {} });
    let policy = json!({
        "kind": "DataPlanePolicy",
        "metadata": { "name": "default" },
        "spec": { "registries": [{ "prefix": "registry.example/" }], "logs": { "mode": "Off" } },
    });
    let [_, _] = [data_plane, policy].map(|object| world.api.execute(&Request::Create(object)));
    world.start_link();
    world.start_operator();
    let releases = world.dice.between(1, 4);
    for _ in 0..world.dice.between(4, 20) {
        let release = usize::try_from(world.dice.between(1, releases)).unwrap_or(1);
        let user = if world.dice.per_mille(250) {
            User::Undeploy { release }
        } else {
            User::Deploy { release, content: world.dice.between(1, 5), bad: world.dice.per_mille(250) }
        };
        world.after(0, FAULTS_UNTIL, Event::User(user));
    }
    let process_faults = [
        Fault::LinkCut,
        Fault::LinkSilent,
        Fault::GatewayRestart,
        Fault::LinkCrash,
        Fault::OperatorCrash,
        Fault::OldDocument,
    ];
    for _ in 0..world.dice.between(0, 12) {
        let at = usize::try_from(world.dice.between(0, 5)).unwrap_or(0);
        let fault = process_faults.get(at).copied().unwrap_or(Fault::LinkCut);
        world.after(0, FAULTS_UNTIL, Event::Break(fault));
    }
}

fn calm(world: &mut World) {
    world.rates = Rates::default();
    world.note("faults end".to_owned());
    let end = world.now + CONVERGE;
    let mut before = 0;
    while !(world.is_quiet() && world.api.version() == before) {
        before = world.api.version();
        let until = world.now + SETTLE;
        while world.checks.violations.is_empty() && world.step(until) {}
        if !world.checks.violations.is_empty() {
            return;
        }
        if world.now > end {
            world.checks.broken("I6", "not converged when it had to be".to_owned());
            return;
        }
    }
    let (version, end) = (world.api.version(), world.now + SILENCE);
    while world.checks.violations.is_empty() && world.step(end) {}
    if world.api.version() != version {
        world.checks.broken("I6", "writes go on though nothing changes".to_owned());
    }
    let (plane, api) = (&world.plane, &world.api);
    world.checks.finish(plane, api);
}
