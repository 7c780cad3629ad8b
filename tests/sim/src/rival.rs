//! Somebody edits what the operator made; and the checks that drift is repaired, and that the operator gives up only against somebody who
//! insists.

use std::collections::BTreeMap;

use pdp_agent::kinds::labels::DATA_PLANE;
use pdp_agent::operator::object;
use pdp_agent::operator::reconcile::fights;
use serde_json::{Value, json};

use super::api::{Api, Change, Id, Request, is_terminating};
use super::event::{Caller, Event};
use super::owner::owner_of;
use super::truth::says;
use super::world::World;

/// What was edited.
#[derive(Debug, Default)]
pub(super) struct Edited {
    /// How often each process repaired an object, by the object's uid, with its owner.
    taken_back: BTreeMap<(u64, String), (Id, usize)>,
}

/// Edits of somebody who insists: more than a process repairs.
const INSISTENCE: u64 = 12;

/// Repairs of one object that no process may reach. Above the limit of the operator, since repairs whose answer was lost, and one of an
/// object edited before the process started, are counted here only.
const STUBBORN: usize = 10;

/// Where an edit shows, and what it says there.
fn mark(kind: &str) -> Option<(&'static str, &'static str, Value)> {
    Some(match kind {
        "Deployment" => ("/spec", "replicas", json!(5)),
        "Service" => ("/spec", "selector", json!({ "somebody": "else" })),
        "PodDisruptionBudget" => ("/spec", "selector", json!({ "somebody": "else" })),
        "NetworkPolicy" => ("/spec", "policyTypes", json!([])),
        _ => return None,
    })
}

fn edit(kind: &str, object: &mut Value) {
    if let Some((at, member, value)) = mark(kind)
        && let Some(members) = object.pointer_mut(at).and_then(Value::as_object_mut)
    {
        members.insert(member.to_owned(), value);
    }
}

fn is_edited(kind: &str, object: &Value) -> bool {
    mark(kind).is_some_and(|(at, member, value)| object.pointer(at).and_then(|at| at.get(member)) == Some(&value))
}

impl Edited {
    /// A resource that gives up an object to somebody says so by a condition: that is right only after enough repairs, and repairs must
    /// not go on for ever.
    pub(super) fn changed(&mut self, change: &Change, by: Option<Caller>) -> Option<String> {
        let kind = change.id.kind.as_str();
        if let (Some(Caller::Operator(process)), Some(before), Some(after)) = (by, &change.before, &change.after)
            && let Some(owner) = owner_of(after).filter(|_| is_edited(kind, before) && !is_edited(kind, after))
        {
            let (_, times) = self.taken_back.entry((process, change.id.to_string())).or_insert((owner, 0));
            *times += 1;
            // Other kinds are also repaired by each new generation, which is no fight.
            let stubborn = kind == "NetworkPolicy" && *times >= STUBBORN;
            return stubborn.then(|| format!("{} was taken back {times} times", change.id));
        }
        let after = change.after.as_deref().filter(|after| says(after, "Contested"))?;
        let before = change.before.as_deref().is_some_and(|before| says(before, "Contested"));
        let of_it = self.taken_back.values().filter(|(owner, _)| *owner == change.id);
        let times = of_it.map(|(_, times)| *times).max().unwrap_or_default();
        let insisted = before || times >= fights::MAX;
        let conditions = after.pointer("/status/conditions");
        (!insisted).then(|| format!("{} is contested after {times} repairs: {conditions:?}", change.id))
    }

    /// At the end: what was edited and not taken back.
    pub(super) fn finish(&self, api: &Api) -> Vec<String> {
        let edited = api.iter().filter(|(id, object)| is_edited(&id.kind, object));
        let owned = edited.filter_map(|(id, object)| Some((id, owner_of(object)?)));
        // A release that failed at once has nothing that should run, so its objects are not repaired.
        let left = |owner: &Id| api.get(owner).is_none_or(|owner| says(owner, "Contested") || !says(owner, "Ready"));
        let wrong = owned.filter(|(_, owner)| !left(owner));
        wrong.map(|(id, owner)| format!("{id} was edited and not taken back by {owner}")).collect()
    }
}

impl World {
    /// Somebody edits an object that the operator made.
    pub(super) fn edit_workload(&mut self) -> bool {
        let made = |(id, object): &(&Id, &std::sync::Arc<Value>)| {
            mark(&id.kind).is_some() && object::label(object, DATA_PLANE).is_some() && !is_terminating(object)
        };
        let ids: Vec<Id> = self.api.iter().filter(made).map(|(id, _)| id.clone()).collect();
        let Some(last) = u64::try_from(ids.len()).ok().and_then(|count| count.checked_sub(1)) else { return false };
        let at = usize::try_from(self.dice.between(0, last)).unwrap_or(0);
        let Some((id, mut object)) = ids.get(at).and_then(|id| Some((id, self.api.get(id)?.clone()))) else {
            return false;
        };
        edit(&id.kind, &mut object);
        self.by_hand(&Request::Update(object));
        if self.dice.per_mille(250) {
            self.after(500, 4_000, Event::Insist { id: id.clone(), left: INSISTENCE });
        }
        true
    }

    /// Somebody edits an object again after it was repaired.
    pub(super) fn insist(&mut self, id: &Id, left: u64) {
        let Some(mut object) = self.api.get(id).filter(|object| !is_terminating(object)).cloned() else { return };
        if !is_edited(&id.kind, &object) {
            edit(&id.kind, &mut object);
            self.by_hand(&Request::Update(object));
        }
        if left > 0 {
            self.after(500, 4_000, Event::Insist { id: id.clone(), left: left - 1 });
        }
    }
}
