//! One run: two minutes of work and faults, then quiet, then the last checks.

use std::collections::BTreeSet;

use protocol::mutant;
use protocol::spec::Desired;
use serde_json::{Value, json};

use super::api::{Id, Request, generation};
use super::event::Event;
use super::people::User;
use super::rates::Rates;
use super::trace::note;
use super::world::World;
use super::{Fault, Mistake, Violation, renderings};

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
    /// Everything that happened, one line each, if asked for.
    pub trace: Vec<String>,
    /// Documents that were accepted.
    pub accepted: usize,
}

/// Runs one seed, with a mistake built in or none.
#[must_use]
pub fn run(seed: u64, mistake: Option<Mistake>) -> Outcome {
    simulate(seed, mistake, false)
}

/// The same, with its trace.
#[must_use]
pub fn traced(seed: u64, mistake: Option<Mistake>) -> Outcome {
    simulate(seed, mistake, true)
}

fn simulate(seed: u64, mistake: Option<Mistake>, trace: bool) -> Outcome {
    if mistake.is_some() {
        renderings::forget();
    }
    mutant::choose(match mistake {
        Some(Mistake::Product(mutant)) => Some(mutant),
        Some(Mistake::Around(_)) | None => None,
    });
    let mut world = World::new(seed, mistake, trace);
    prepare(&mut world);
    while world.checks.violations.is_empty() && world.step(FAULTS_UNTIL) {}
    if world.checks.violations.is_empty() {
        calm(&mut world);
    }
    mutant::choose(None);
    if mistake.is_some() {
        renderings::forget();
    }
    let accepted = world.plane.record.accepted.len();
    world.plane.give_back();
    Outcome { violations: world.checks.violations, reached: world.reached, trace: world.trace.into_lines(), accepted }
}

fn prepare(world: &mut World) {
    let data_plane = json!({ "kind": "DataPlane", "metadata": { "name": "default" }, "spec": {} });
    let policy = json!({
        "kind": "DataPlanePolicy",
        "metadata": { "name": "default" },
        "spec": { "registries": [{ "prefix": "registry.example/" }], "logs": { "mode": "Disabled" } },
    });
    let [_, _] = [data_plane, policy].map(|object| world.api.execute(&Request::Create(object)));
    world.start_link();
    world.start_operator();
    let releases = world.dice.between(1, 4);
    let mut at = 0;
    for _ in 0..world.dice.between(4, 20) {
        let user = user(world, releases);
        // Often one thing after the other, sometimes in a burst.
        at = if world.dice.per_mille(300) {
            at + world.dice.between(0, 3_000)
        } else {
            world.dice.between(0, FAULTS_UNTIL)
        };
        world.at(at.min(FAULTS_UNTIL), Event::User(user));
    }
    let faults: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| fault.is_an_event()).collect();
    for _ in 0..world.dice.between(0, 12) {
        let last = u64::try_from(faults.len()).unwrap_or(1) - 1;
        let at = usize::try_from(world.dice.between(0, last)).unwrap_or(0);
        let fault = faults.get(at).copied().unwrap_or(Fault::LinkCut);
        // A restore needs a person afterwards: not in every run.
        let restores = matches!(fault, Fault::StoreRestored | Fault::ApiRestored);
        if restores && !world.dice.per_mille(400) {
            continue;
        }
        if restores {
            let copy = if fault == Fault::StoreRestored { Event::Backup } else { Event::Snapshot };
            world.after(0, FAULTS_UNTIL / 2, copy);
        }
        world.after(0, FAULTS_UNTIL, Event::Break(fault));
    }
}

fn user(world: &mut World, releases: u64) -> User {
    let small = |number: u64| usize::try_from(number).unwrap_or(1);
    let release = small(world.dice.between(1, releases));
    match world.dice.between(0, 99) {
        0..=19 => User::Undeploy { release },
        20..=27 => User::Environment {
            environment: small(world.dice.between(1, 2)),
            present: true,
            pods: world.dice.between(1, 3),
        },
        28..=33 => User::Environment { environment: small(world.dice.between(1, 2)), present: false, pods: 0 },
        34..=43 => User::Run { task: small(world.dice.between(1, 2)) },
        44..=46 => User::Cancel { task: small(world.dice.between(1, 2)) },
        _ => User::Deploy { release, content: world.dice.between(1, 5), bad: world.dice.per_mille(250) },
    }
}

fn calm(world: &mut World) {
    world.rates = Rates::default();
    note!(world, "faults end");
    let end = world.now + CONVERGE;
    let mut before = 0;
    while !(is_quiet(world) && world.api.version() == before) {
        before = world.api.version();
        world.ask_again_for_quarantined();
        let until = world.now + SETTLE;
        while world.checks.violations.is_empty() && world.step(until) {}
        if !world.checks.violations.is_empty() {
            return;
        }
        if world.now > end {
            let why = unquiet(world);
            world.checks.broken("I6", format!("not converged when it had to be: {why}"));
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

/// What is not as it should be, for people.
fn unquiet(world: &World) -> String {
    let stored = |key: &protocol::name::ResourceKey| {
        world
            .api
            .get(&Id::own(key.kind.as_str(), &key.name))
            .map_or_else(|| "none".to_owned(), |object| generation(object).to_string())
    };
    let wanted: Vec<_> = world
        .plane
        .wanted()
        .iter()
        .map(|wish| {
            let (stored, answer) = (stored(&wish.key), wish.answer.as_ref());
            format!("{} {:?} {} stored {stored} answered {answer:?}", wish.key, wish.state, wish.generation)
        })
        .collect();
    let current = world.plane.session.as_ref().and_then(|(_, wire)| world.wires.get(wire));
    let depths = current.and_then(|wire| wire.gateway.as_ref()).map(protocol::session::ControlSession::depths);
    let link =
        world.link.and_then(|link| world.links.get(&link)).map(|link| (link.session.is_open(), link.session.depths()));
    format!(
        "held {:?}, {} links, {} operators, link {link:?}, gateway {depths:?}, wanted {wanted:?}",
        world.plane.held(),
        world.links.len(),
        world.operators.len(),
    )
}

/// Whether nothing is left to be done or told.
fn is_quiet(world: &World) -> bool {
    let current = world.plane.session.as_ref().and_then(|(_, wire)| world.wires.get(wire));
    let gateway = current.and_then(|wire| wire.gateway.as_ref());
    let link = world.link.and_then(|link| world.links.get(&link));
    let (Some(link), Some(_), Some(gateway)) = (link, world.operator, gateway) else { return false };
    let awake = world.asleep.values().all(|wake| *wake <= world.now);
    let alone = awake && world.links.len() == 1 && world.operators.len() == 1 && world.plane.held().is_none();
    let open = link.session.is_open() && gateway.is_open();
    let told = link.session.depths() == (0, 0) && gateway.depths() == (0, 0);
    if !(alone && open && told) {
        return false;
    }
    let stored = world.plane.wanted().iter().all(|wish| {
        let object = world.api.get(&Id::own(wish.key.kind.as_str(), &wish.key.name));
        object.is_some_and(|object| generation(object) == wish.generation)
            && wish.state == Desired::Present
            && wish.key.kind != protocol::name::Kind::TaskRun
    });
    let no_facts = |object: &Value| object.pointer("/status/facts").and_then(Value::as_array).is_none_or(Vec::is_empty);
    let settles = |object: &Value| {
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        conditions
            .into_iter()
            .flatten()
            .any(|condition| condition.get("reason").and_then(Value::as_str) == Some("Settling"))
    };
    stored && world.api.iter().all(|(_, object)| no_facts(object) && !settles(object))
}
