//! What people do at both ends, and what breaks.

use std::collections::BTreeSet;

use protocol::name::{Kind, ResourceKey};
use protocol::session::{CloseCode, Disconnect};

use super::Fault;
use super::api::{AGENT, Id, Request, text};
use super::event::{Caller, Event};
use super::plane::{self, offer};
use super::trace::note;
use super::world::World;

/// What people at the control plane do.
#[derive(Debug, Clone)]
pub(super) enum User {
    Deploy { release: usize, content: u64, bad: bool },
    Undeploy { release: usize },
    Environment { environment: usize, present: bool, pods: u64 },
    Run { task: usize },
    Cancel { task: usize },
}

/// Time after which another replica takes the lease of a leader that is not heard of.
const LEASE: u64 = 12_000;

/// The environment of all releases.
pub(super) const ENVIRONMENT: &str = "shop-dev";

const ABSENT: &str = r#"{"state":"Absent"}"#;

impl World {
    pub(super) fn user(&mut self, user: &User) {
        note!(self, "user {user:?}");
        let (kind, name, body) = match user {
            User::Deploy { release, content, bad } => {
                let image = if *bad { "bad" } else { "web" };
                // Two minor versions of each component.
                let (component, minor) = (release / 2, release % 2);
                let body = format!(
                    r#"{{"state":"Present","environment":"{ENVIRONMENT}","owner":{{"component":"c{component}","track":"v1.{minor}"}},"type":"Service","image":"registry.example/{image}@sha256:{content:064x}","endpoints":[{{"name":"http","port":8080,"kind":"HTTP"}}],"env":[{{"name":"CONTENT","value":"{content}"}}]}}"#
                );
                (Kind::Release, format!("r{release}"), body)
            }
            User::Undeploy { release } => (Kind::Release, format!("r{release}"), ABSENT.to_owned()),
            User::Environment { environment, present: true, pods } => {
                let body = format!(
                    r#"{{"state":"Present","organization":"shop","project":"shop","environment":"e{environment}","quota":{{"pods":{pods}}}}}"#
                );
                (Kind::Environment, format!("e{environment}"), body)
            }
            User::Environment { environment, present: false, .. } => {
                (Kind::Environment, format!("e{environment}"), ABSENT.to_owned())
            }
            User::Run { task } => {
                // A run is asked for once; its name is never used again.
                let id = self.runs.to_string();
                self.runs += 1;
                return drop(self.in_store(|c| plane::run_task(c, *task, &id)));
            }
            User::Cancel { task } => return drop(self.in_store(|c| plane::cancel(c, *task))),
        };
        self.want(kind, &name, &body);
    }

    /// Somebody wants a resource as `body` says.
    pub(super) fn want(&mut self, kind: Kind, name: &str, body: &str) {
        let key = ResourceKey { kind, name: name.to_owned() };
        drop(self.in_store(|c| plane::wish(c, &key, body)));
    }

    /// Somebody has waited until it was gone, and asks for it again at once.
    pub(super) fn gone(&mut self, key: &ResourceKey) {
        if !self.dice.per_mille(400) {
            return;
        }
        // The common environment and the tasks' releases are never removed; others are named by a number.
        let number = |name: &str| name.get(1..).and_then(|number| number.parse().ok());
        let Some(number) = number(&key.name) else { return };
        let user = match key.kind {
            Kind::Release => User::Deploy { release: number, content: self.dice.between(1, 5), bad: false },
            Kind::Environment => {
                User::Environment { environment: number, present: true, pods: self.dice.between(1, 3) }
            }
            Kind::TaskRun | Kind::DataPlane => return,
        };
        self.after(0, 1_500, Event::User(user));
    }

    pub(super) fn break_something(&mut self, fault: Fault) {
        note!(self, "fault {fault:?}");
        let link = self.link.filter(|link| self.sleeps(*link).is_none());
        let operator = self.operator.filter(|operator| self.sleeps(*operator).is_none());
        let mut reached = true;
        match fault {
            Fault::LinkCut => match link.and_then(|link| self.links.get(&link)).map(|link| link.wire) {
                Some(wire) => self.cut(wire, Disconnect::Cut),
                None => reached = false,
            },
            Fault::LinkSilent => {
                let wire = link.and_then(|link| self.links.get(&link)).map(|link| link.wire);
                match wire.and_then(|wire| self.wires.get_mut(&wire)) {
                    Some(wire) => wire.silent = true,
                    None => reached = false,
                }
            }
            Fault::GatewayRestart => {
                let away = self.now + self.dice.between(100, 5_000);
                let which = usize::from(self.dice.per_mille(500));
                if let Some(gateway) = self.gateways.get_mut(which) {
                    *gateway = away;
                }
                self.at(away, Event::GatewayBack { at: which });
                let of_gateway = |(id, wire): (&u64, &super::gateway::Wire)| (wire.at == which).then_some(*id);
                let wires: Vec<u64> = self.wires.iter().filter_map(of_gateway).collect();
                wires.into_iter().for_each(|wire| self.cut(wire, Disconnect::Closed(CloseCode::GoingAway)));
            }
            Fault::LinkCrash => match link {
                Some(link) => {
                    self.leave(Caller::Link(link));
                    self.link = None;
                    self.after(500, 8_000, Event::StartLink);
                }
                None => reached = false,
            },
            Fault::OperatorCrash => match operator {
                Some(operator) => {
                    self.leave(Caller::Operator(operator));
                    self.operator = None;
                    self.after(500, 8_000, Event::StartOperator);
                }
                None => reached = false,
            },
            Fault::LinkPaused => match link {
                Some(link) => self.pause(Caller::Link(link)),
                None => reached = false,
            },
            Fault::OperatorPaused => match operator {
                Some(operator) => self.pause(Caller::Operator(operator)),
                None => reached = false,
            },
            Fault::LinkHandover => match link.and_then(|link| self.links.get_mut(&link)) {
                Some(leader) => {
                    leader.leads = false;
                    leader.session.stop(CloseCode::GoingAway);
                    let caller = Caller::Link(leader.incarnation);
                    self.link = None;
                    self.after(50, 1_000, Event::Leave { caller });
                    self.after(20, 2_000, Event::StartLink);
                }
                None => reached = false,
            },
            Fault::WatchGone => {
                let of_link = self.dice.per_mille(700);
                match if of_link { link.map(Caller::Link) } else { operator.map(Caller::Operator) } {
                    Some(caller) => self.streams(caller).into_iter().for_each(|stream| self.watch_gone(stream)),
                    None => reached = false,
                }
            }
            Fault::StoreRestored => reached = self.restore_store(),
            Fault::ObjectDeleted => reached = self.delete_by_hand("Release"),
            Fault::JobDeleted => reached = self.delete_by_hand("Job"),
            Fault::ApiRestored => reached = self.restore_api(),
            Fault::FinalizerAdded => reached = self.add_finalizer(),
            Fault::DocumentEdited => reached = self.edit_document(),
            Fault::WorkloadEdited => reached = self.edit_workload(),
            Fault::OldDocument => self.old_document(),
            Fault::CallLost
            | Fault::AnswerLost
            | Fault::TooManyRequests
            | Fault::ServerError
            | Fault::SlowCall
            | Fault::LateWatch
            | Fault::WebhookRefuses
            | Fault::WebhookUnavailable
            | Fault::WebhookMutates
            | Fault::SlowDeletion
            | Fault::ClockWrong => reached = false,
        }
        if reached {
            self.reached.insert(fault);
        }
    }

    fn pause(&mut self, caller: Caller) {
        let wake = self.now + self.dice.between(1_000, 40_000);
        self.asleep.insert(caller.incarnation(), wake);
        if let Caller::Operator(incarnation) = caller {
            self.operator_sleeps(incarnation);
            self.at(wake, Event::Wakes { incarnation });
        }
        self.after(LEASE, LEASE, Event::TakeOver { caller, wake });
    }

    pub(super) fn take_over(&mut self, caller: Caller, wake: u64) {
        if self.sleeps(caller.incarnation()) != Some(wake) {
            return;
        }
        note!(self, "{caller:?} has lost its lease");
        let grace = self.dice.between(0, 3_000);
        self.at(wake + grace, Event::Leave { caller });
        match caller {
            Caller::Link(incarnation) => {
                if let Some(link) = self.links.get_mut(&incarnation) {
                    link.leads = false;
                }
                self.link = None;
                self.start_link();
            }
            Caller::Operator(incarnation) => {
                self.operator_lost(incarnation);
                self.operator = None;
                self.start_operator();
            }
        }
    }

    /// A process is gone: so are its connections and what it had in memory. Calls under way go on.
    pub(super) fn leave(&mut self, caller: Caller) {
        match caller {
            Caller::Link(incarnation) => {
                self.links.remove(&incarnation);
                let of_link = |(id, wire): (&u64, &super::gateway::Wire)| (wire.link == incarnation).then_some(*id);
                let wires: Vec<u64> = self.wires.iter().filter_map(of_link).collect();
                wires.into_iter().for_each(|wire| self.cut(wire, Disconnect::Cut));
            }
            Caller::Operator(incarnation) => {
                self.operators.remove(&incarnation);
            }
        }
    }

    fn delete_by_hand(&mut self, kind: &str) -> bool {
        let of_kind: Vec<Id> = self.api.iter().map(|(id, _)| id).filter(|id| id.kind == kind).cloned().collect();
        let last = u64::try_from(of_kind.len()).unwrap_or(0);
        if last == 0 {
            return false;
        }
        let at = usize::try_from(self.dice.between(0, last - 1)).unwrap_or(0);
        let Some((id, object)) = of_kind.get(at).and_then(|id| Some((id.clone(), self.api.get(id)?))) else {
            return false;
        };
        let (uid, resource_version) = (text(object, "uid").to_owned(), text(object, "resourceVersion").to_owned());
        if id.namespace == AGENT {
            self.checks.deleted_by_hand(&id, self.now);
            self.wants_it_gone(&id);
        } else {
            let run = self.api.get(&id).and_then(super::owner::owner_of).and_then(|run| self.api.get(&run));
            self.checks.job_deleted_by_hand(run, self.now);
        }
        self.by_hand(&Request::Delete { id, uid, resource_version });
        true
    }

    /// Somebody who deletes a release by hand often undeploys it next. The recreated object has no record yet of the objects that were
    /// made for it.
    fn wants_it_gone(&mut self, id: &Id) {
        let number = id.name.strip_prefix('r').and_then(|number| number.parse().ok());
        if let Some(release) = number.filter(|_| self.dice.per_mille(500)) {
            self.after(0, 4_000, Event::User(User::Undeploy { release }));
            // Slow deletions: the release is half removed for a while.
            self.deletes_slowly = self.now + 60_000;
        }
    }

    /// Delivers an old document once more, preferably one of a forgotten resource, which only the floor refuses.
    fn old_document(&mut self) {
        let (forgotten, drawn) = (self.plane.forgotten(), &self.plane.record.drawn);
        let wanted: BTreeSet<ResourceKey> = self.plane.wanted().into_iter().map(|wish| wish.key).collect();
        let gone: Vec<_> =
            drawn.iter().filter(|old| forgotten.contains_key(&old.key) && !wanted.contains(&old.key)).collect();
        let choice = if gone.is_empty() { drawn.iter().collect() } else { gone };
        let last = u64::try_from(choice.len()).unwrap_or(0).saturating_sub(1);
        let at = usize::try_from(self.dice.between(0, last)).unwrap_or(0);
        let old = choice.get(at).map(|old| offer(old));
        self.send(old);
    }

    /// The control plane's store is an older copy of itself from now on, with both gateways.
    fn restore_store(&mut self) -> bool {
        let Some(copy) = self.backup.take() else { return false };
        let wires: Vec<u64> = self.wires.keys().copied().collect();
        wires.into_iter().for_each(|wire| self.cut(wire, Disconnect::Closed(CloseCode::GoingAway)));
        if let Err(error) = self.plane.restore(&copy) {
            self.checks.broken("store", error.to_string());
        }
        self.backup = Some(copy);
        self.checks.restored = true;
        true
    }

    pub(super) fn adopt(&mut self) {
        self.adoption_is_due = false;
        if let Ok(true) = self.in_store(plane::adopt) {
            note!(self, "adopted");
        }
    }
}
