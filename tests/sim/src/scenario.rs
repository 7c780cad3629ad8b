//! One run: two minutes of work and faults, then quiet, then the last checks.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use pdp_agent::kinds;
use protocol::document::Desired;
use protocol::mutant;
use protocol::name::Kind;
use serde_json::{Value, json};

use super::api::{Id, Request, generation};
use super::event::Event;
use super::people::{ENVIRONMENT, User};
use super::plane;
use super::rates::Rates;
use super::trace::note;
use super::truth::says;
use super::world::World;
use super::{Fault, Mistake, Violation};

const FAULTS_UNTIL: u64 = 120_000;
/// Time to converge after the last fault: twice the progress deadline of a release.
const CONVERGE: u64 = 900_000;
/// Time between two checks for convergence: longer than the time-out of a call and the operator's back-off after it.
const SETTLE: u64 = 85_000;
/// Pods start within seconds here, and waits after a failure end after a minute.
const SLOWEST_ROLLOUT: SignedDuration = SignedDuration::from_secs(150);
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

/// Runs one seed, as it should be.
#[must_use]
pub fn run(seed: u64) -> Outcome {
    simulate(seed, None, None, false)
}

/// Runs one seed with a mistake built in, or as it should be, with its trace.
#[must_use]
pub fn traced(seed: u64, mistake: Option<Mistake>) -> Outcome {
    simulate(seed, mistake, mistake.and_then(Mistake::stirred_by), true)
}

/// What a mistake breaks in the run of a seed. None if the same run also fails without the mistake: then it proves nothing.
#[must_use]
pub fn broken_by(seed: u64, mistake: Mistake) -> Option<Violation> {
    let stirred = mistake.stirred_by();
    let broken = simulate(seed, Some(mistake), stirred, false).violations.into_iter().next()?;
    simulate(seed, None, stirred, false).violations.is_empty().then_some(broken)
}

/// `often` is a fault that comes more often than by chance.
fn simulate(seed: u64, mistake: Option<Mistake>, often: Option<Fault>, trace: bool) -> Outcome {
    mutant::choose(match mistake {
        Some(Mistake::Product(mutant)) => Some(mutant),
        Some(Mistake::Around(_)) | None => None,
    });
    // A paused clock moves on only when no task can go on, so the operators' timers become events among the others.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.unwrap_or_else(|error| unreachable!("a runtime without IO: {error}"));
    let mut world = runtime.block_on(async {
        let mut world = World::new(seed, mistake, trace);
        prepare(&mut world, seed);
        for _ in 0..2 {
            often.into_iter().for_each(|fault| break_later(&mut world, fault));
        }
        while world.checks.violations.is_empty() && world.step(FAULTS_UNTIL).await {}
        if world.checks.violations.is_empty() {
            calm(&mut world).await;
        }
        world
    });
    world.operators.clear();
    mutant::choose(None);
    let accepted = world.plane.record.accepted.len();
    world.plane.give_back();
    Outcome { violations: world.checks.violations, reached: world.reached, trace: world.trace.into_lines(), accepted }
}

fn prepare(world: &mut World, seed: u64) {
    // Where logs may leave, pods that fail are stopped only once their last lines were read.
    let logs = if seed.is_multiple_of(2) { "ThroughLink" } else { "Disabled" };
    let data_plane = json!({ "kind": "DataPlane", "metadata": { "name": "default" }, "spec": {} });
    let policy = json!({
        "kind": "DataPlanePolicy",
        "metadata": { "name": "default" },
        "spec": { "registries": [{ "prefix": "registry.example/" }], "logs": { "mode": logs } },
    });
    let system = json!({ "kind": "Namespace", "metadata": { "name": "kube-system" } });
    let definitions = ["dataplanes", "dataplanepolicies", "environments", "releases", "taskruns"].map(|plural| {
        json!({ "kind": "CustomResourceDefinition", "metadata": {
            "name": format!("{plural}.{}", kinds::GROUP),
            "annotations": { kinds::REVISION_ANNOTATION: kinds::SCHEMA_REVISION.to_string() },
        }})
    });
    let all = [data_plane, policy, system].into_iter().chain(definitions);
    all.for_each(|object| drop(world.api.execute(&Request::Create(object))));
    enrol(world);
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
        break_later(world, fault);
    }
}

fn break_later(world: &mut World, fault: Fault) {
    if matches!(fault, Fault::StoreRestored | Fault::ApiRestored) {
        let copy = if fault == Fault::StoreRestored { Event::Backup } else { Event::Snapshot };
        world.after(0, FAULTS_UNTIL / 2, copy);
    }
    world.after(0, FAULTS_UNTIL, Event::Break(fault));
}

/// The link has written the id of the data plane; the environment and the tasks that all works with are wanted.
fn enrol(world: &mut World) {
    if let Some(mut data_plane) = world.api.get(&Id::own("DataPlane", "default")).cloned() {
        if let Some(members) = data_plane.as_object_mut() {
            members.insert("status".to_owned(), json!({ "id": plane::DATA_PLANE }));
        }
        drop(world.api.execute(&Request::UpdateStatus(data_plane)));
    }
    let environment = r#"{"state":"Present","organization":"shop","project":"shop","environment":"dev"}"#;
    world.want(Kind::Environment, ENVIRONMENT, environment);
    for task in 1..=2 {
        let body = format!(
            r#"{{"state":"Present","environment":"{ENVIRONMENT}","owner":{{"component":"t{task}","track":"v1.0"}},"type":"ManualTask","image":"registry.example/task@sha256:{task:064x}","task":{{"retries":1}}}}"#
        );
        world.want(Kind::Release, &plane::release_of_task(task), &body);
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

async fn calm(world: &mut World) {
    world.rates = Rates::default();
    note!(world, "faults end");
    let end = world.now + CONVERGE;
    let mut before = 0;
    while !(is_quiet(world) && world.api.version() == before) {
        before = world.api.version();
        world.ask_again_for_quarantined();
        let until = world.now + SETTLE;
        while world.checks.violations.is_empty() && world.step(until).await {}
        if !world.checks.violations.is_empty() {
            return;
        }
        if let Some(what) = still_rolls(world) {
            world.checks.broken("I6", what);
            return;
        }
        if world.now > end {
            let why = unquiet(world);
            world.checks.broken("I6", format!("not converged when it had to be: {why}"));
            return;
        }
    }
    let (version, end) = (world.api.version(), world.now + SILENCE);
    while world.checks.violations.is_empty() && world.step(end).await {}
    if world.api.version() != version {
        world.checks.broken("I6", "writes go on though nothing changes".to_owned());
    }
    let (plane, api) = (&world.plane, &world.api);
    world.checks.finish(plane, api);
}

/// Reports a rollout that nothing holds up and that still takes longer than any may: the operator forgot to check it again.
fn still_rolls(world: &World) -> Option<String> {
    let now = world.wall_clock();
    world.api.iter().filter(|(_, object)| !says(object, "Contested") && !says(object, "Stalled")).find_map(
        |(id, object)| {
            let since = object.pointer("/status/rollout/since")?.as_str()?.parse::<jiff::Timestamp>().ok()?;
            let rolls = now.duration_since(since);
            (rolls > SLOWEST_ROLLOUT).then(|| format!("{id} has been rolled out for {} s", rolls.as_secs()))
        },
    )
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
            && wish.key.kind != Kind::TaskRun
    });
    let no_facts = |object: &Value| object.pointer("/status/facts").and_then(Value::as_array).is_none_or(Vec::is_empty);
    let settles = |object: &Value| {
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        conditions
            .into_iter()
            .flatten()
            .any(|condition| condition.get("reason").and_then(Value::as_str) == Some("Settling"))
    };
    // A rollout has an end: it serves, or its time is over.
    let rolls = |object: &Value| object.pointer("/status/rollout").is_some_and(|rollout| !rollout.is_null());
    stored && world.api.iter().all(|(_, object)| no_facts(object) && !settles(object) && !rolls(object))
}
