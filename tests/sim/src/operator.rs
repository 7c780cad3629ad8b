//! The operator's processes: the real one, `pdp_agent::operator::run`, over the model of the API server.
//!
//! Each runs as tasks on the runtime of the seed, whose clock stands still until nothing can go on. What it asks for lies in the
//! mailbox and is treated like a call of the link: it may be lost, late, refused. A process that sleeps gets no answers and no events,
//! its requests wait, and it may begin no write, since its lease is overdue by its own clock when it wakes. One that is killed is dropped
//! at whatever await it is, and its calls go on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::channel::{mpsc, oneshot};
use jiff::Timestamp;
use pdp_agent::admin::Health;
use pdp_agent::elector::{Epoch, Leadership, Publisher, State};
use pdp_agent::operator::clock::Clock;
use pdp_agent::operator::{self, OperatorContext};
use pdp_agent::settings::Settings;
use pdp_agent::telemetry::{LevelHandle, Metrics};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::Bug;
use super::api::{AGENT, Answer, Request};
use super::event::{Caller, Event};
use super::remote::{News, Remote, Wish};
use super::trace::note;
use super::world::World;

/// One process.
pub(super) struct Operator {
    publisher: Publisher,
    epoch: Epoch,
    /// Whether it holds the lease.
    leads: bool,
    calls: BTreeMap<u64, oneshot::Sender<Answer>>,
    tokens: u64,
    pub(super) follows: BTreeMap<String, mpsc::UnboundedSender<News>>,
    task: AbortHandle,
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    pub(super) fn start_operator(&mut self) {
        if self.operator.is_some() {
            return;
        }
        self.incarnations += 1;
        self.terms += 1;
        let incarnation = self.incarnations;
        let epoch = Epoch { lease: "lease".to_owned(), transitions: self.terms };
        let (publisher, leadership) = Leadership::channel(State::Leading(epoch.clone()));
        let remote = Remote { incarnation, mailbox: Arc::clone(&self.mailbox) };
        let context = OperatorContext {
            api: Arc::new(remote.clone()),
            source: remote,
            clock: Clock::Since { then: self.begin, at: beginning() },
            settings: settings(incarnation),
            leadership,
            metrics: Metrics::default(),
            health: Health::default(),
            level: LevelHandle::detached(),
        };
        #[expect(clippy::disallowed_methods, reason = "a process: its tasks end with it, and `abort` kills it")]
        let task = tokio::spawn(operator::run(context, CancellationToken::new())).abort_handle();
        let (calls, follows) = (BTreeMap::new(), BTreeMap::new());
        self.operators.insert(incarnation, Operator { publisher, epoch, leads: true, calls, tokens: 0, follows, task });
        self.operator = Some(incarnation);
        note!(self, "operator {incarnation} starts");
    }

    /// A process falls asleep: its lease will be overdue when it looks.
    pub(super) fn operator_sleeps(&mut self, incarnation: u64) {
        if let Some(operator) = self.operators.get(&incarnation).filter(|_| self.bug != Some(Bug::LeadershipUnchecked))
        {
            operator.publisher.publish(State::Unconfirmed(operator.epoch.clone()));
        }
    }

    /// It wakes, and renews its lease unless somebody else has it.
    pub(super) fn operator_wakes(&mut self, incarnation: u64) {
        if let Some(operator) = self.operators.get(&incarnation).filter(|operator| operator.leads) {
            operator.publisher.publish(State::Leading(operator.epoch.clone()));
        }
    }

    /// Another process has its lease.
    pub(super) fn operator_lost(&mut self, incarnation: u64) {
        if let Some(operator) = self.operators.get_mut(&incarnation)
            && self.bug != Some(Bug::LeadershipUnchecked)
        {
            operator.leads = false;
            operator.publisher.publish(State::Standby { holder: None });
        }
    }

    /// Takes the requests of the processes. False if there are none.
    pub(super) fn take_wishes(&mut self) -> bool {
        let wishes = self.mailbox.take();
        let some = !wishes.is_empty();
        for (incarnation, wish) in wishes {
            let Some(operator) = self.operators.get_mut(&incarnation) else { continue };
            match wish {
                Wish::Call(request, sender) => {
                    operator.tokens += 1;
                    let token = operator.tokens;
                    operator.calls.insert(token, sender);
                    self.ask(incarnation, token, request);
                }
                Wish::Follow(kind, sender) => {
                    operator.follows.insert(kind.clone(), sender);
                    self.begin_watch(Caller::Operator(incarnation), &kind);
                }
            }
        }
        some
    }

    /// Sends a request on its way, once its process is awake.
    pub(super) fn ask(&mut self, incarnation: u64, token: u64, request: Request) {
        match self.sleeps(incarnation) {
            Some(wake) => self.at(wake, Event::Ask { incarnation, token, request }),
            None if self.operators.contains_key(&incarnation) => {
                let stale = self.checks.told.asked(incarnation, &request);
                stale.into_iter().for_each(|what| self.checks.broken("stale", what));
                self.call(Caller::Operator(incarnation), token, request);
            }
            None => {}
        }
    }

    pub(super) fn operator_reply(&mut self, incarnation: u64, token: u64, answer: Answer) {
        let sender = self.operators.get_mut(&incarnation).and_then(|operator| operator.calls.remove(&token));
        // A caller that has timed out has dropped its receiver.
        if let Some(sender) = sender {
            let told = answer.clone();
            if sender.send(answer).is_ok() {
                self.checks.told.answered(incarnation, &told, self.now);
            }
        }
    }

    pub(super) fn tell_operator(&self, incarnation: u64, kind: &str, news: News) {
        let follows = self.operators.get(&incarnation).and_then(|operator| operator.follows.get(kind));
        // A process that is ending has dropped its receiver.
        drop(follows.map(|sender| sender.unbounded_send(news)));
    }

    /// The virtual clock as a time of day.
    pub(super) fn wall_clock(&self) -> Timestamp {
        beginning() + jiff::SignedDuration::from_millis(i64::try_from(self.now).unwrap_or(0))
    }
}

/// The time of day at which every run begins.
fn beginning() -> Timestamp {
    Timestamp::from_second(1_770_000_000).unwrap_or_default()
}

fn settings(incarnation: u64) -> Settings {
    Settings {
        namespace: AGENT.to_owned(),
        fullname: "pdp-agent".to_owned(),
        agent: "pdp-agent.pdp-agent".to_owned(),
        admission_policies: false,
        admin_address: SocketAddr::from(([127, 0, 0, 1], 0)),
        instance: format!("operator-{incarnation}"),
    }
}
