//! From a document to an answer, without doing anything itself.
//!
//! A [`Job`] is one document or one forget on its way. It asks for the next call to the API server and gets its result, until it
//! has the answer. It may touch only the object that the document names and the floor in the status of `DataPlane/default`. Rules:
//! what is stored is replaced only by a higher generation; a write carries uid and resourceVersion, so a decision on an old view
//! fails instead of overwriting; an answer that says *accepted* comes after the API server's 2xx or after reading the document
//! back; whatever is not certain is *deferred*, since the sender asks again and finds out.

use std::sync::Arc;
use std::time::Duration;

use protocol::message::{DeferReason, FieldError, RefusalClass, Verdict};
use protocol::mutant::{self, Mutant};
use protocol::name::{Kind, ResourceKey};
use serde_json::{Map, Value, json};

use super::store::{Call, DEFAULT, Reply, Step, Table};
use crate::api::CallError;
use crate::kinds::PENDING_FACTS;

mod forget;
mod meaning;
mod policy;
mod request;
mod stored;

pub use forget::ForgetJob;
pub use meaning::{Deferral, Meaning, classify};
pub use policy::{About, Handles, Policy, beyond, objections, weight};
pub use request::Request;
pub use stored::{Stamp, Stored, body, body_hash, differences};

/// Reads per document before it is answered Busy: somebody else writes all the time.
const MAX_LOOKS: u8 = 6;

/// Wait after [`MAX_LOOKS`], and while an object of the same name is going away.
const BUSY: Duration = Duration::from_secs(1);
/// Wait for a person.
const PERSON: Duration = Duration::from_secs(30);

/// What a job is decided on beside the stored object.
#[derive(Debug, Clone)]
pub struct View {
    /// Highest generation that was really deleted here.
    pub floor: i64,
    /// What the customer allows.
    pub policy: Arc<Policy>,
    /// Context that the policy's rules need beside the document.
    pub about: About,
}

/// The stored object as far as it is known before the job begins.
#[derive(Debug, Clone)]
pub enum Known {
    /// Not at all: read first.
    Unknown,
    /// From the watch: good enough to write on, since the write carries its version; not to refuse on.
    Watched(Option<Arc<Stored>>),
}

/// What comes next for a job: a call, or the answer.
pub type Next = Step<Verdict>;

/// One document or forget on its way.
#[derive(Debug)]
pub enum Job {
    /// A document.
    Document(Box<DocumentJob>),
    /// A forget.
    Forget(ForgetJob),
}

impl Job {
    /// Begins a document with what is known of the stored object.
    #[must_use]
    pub fn document(request: Request, view: View, known: &Known) -> (Self, Next) {
        let (job, next) = DocumentJob::begin(request, view, known);
        (Self::Document(Box::new(job)), next)
    }

    /// Begins a forget of `generation`.
    #[must_use]
    pub fn forget(key: ResourceKey, generation: i64, floor: i64) -> (Self, Next) {
        let (job, next) = ForgetJob::begin(key, generation, floor);
        (Self::Forget(job), next)
    }

    /// Takes the result of the last call; returns what comes next.
    pub fn resume(&mut self, reply: Reply) -> Next {
        match self {
            Self::Document(job) => job.resume(reply),
            Self::Forget(job) => job.resume(reply),
        }
    }

    /// The answer if a call could not even be made because this process may not write.
    #[must_use]
    pub fn not_leading(unconfirmed: bool) -> Verdict {
        let (reason, message) = if unconfirmed {
            let message = "the agent cannot renew its lease at the API server, so it writes nothing until it can";
            (DeferReason::ApiServerUnavailable, message)
        } else {
            (DeferReason::NotLeading, "another replica of the agent leads now; its session takes the document")
        };
        deferred(Deferral { reason, message: message.to_owned(), retry_after: BUSY })
    }
}

/// One document on its way.
#[derive(Debug)]
pub struct DocumentJob {
    request: Request,
    view: View,
    looks: u8,
    /// Set once a write may have happened without an answer: finding the document is then *accepted*, not *already*.
    uncertain: Option<Deferral>,
    waits: Waits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    Read,
    Write,
}

impl DocumentJob {
    fn begin(request: Request, view: View, known: &Known) -> (Self, Next) {
        let mut job = Self { request, view, looks: 0, uncertain: None, waits: Waits::Read };
        let next = match known {
            Known::Unknown => job.look(),
            Known::Watched(stored) => match job.decide(stored.as_deref()) {
                // The watch may lag behind: its state is confirmed by a read before anything but *already* is answered.
                Decision::Answer(Verdict::Already) => Next::Done(Verdict::Already),
                Decision::Answer(_) => job.look(),
                Decision::Write(call) => job.write(call),
            },
        };
        (job, next)
    }

    fn resume(&mut self, reply: Reply) -> Next {
        match (self.waits, reply) {
            (Waits::Read, Ok(object)) => {
                let stored = object.as_ref().map(|object| Stored::of(self.kind(), object));
                if let (Some(object), true) = (&object, self.is_ours(stored.as_ref())) {
                    return Next::Done(match self.uncertain {
                        Some(_) => self.accepted(object),
                        None => Verdict::Already,
                    });
                }
                // The read shows that the uncertain write did not happen.
                if let Some(deferral) = self.uncertain.take() {
                    return Next::Done(deferred(deferral));
                }
                match self.decide(stored.as_ref()) {
                    Decision::Answer(verdict) => Next::Done(verdict),
                    Decision::Write(call) => self.write(call),
                }
            }
            (Waits::Read, Err(error)) => Next::Done(unread(self.uncertain.take(), &error)),
            (Waits::Write, Ok(Some(object))) => Next::Done(self.accepted(&object)),
            // If the answer to a write holds no object, the object is read back.
            (Waits::Write, Ok(None)) => self.look(),
            (Waits::Write, Err(error)) => match classify(&error) {
                Meaning::ReadAgain => self.look(),
                Meaning::Uncertain(_) if mutant::is(Mutant::LostIsSuccess) => {
                    Next::Done(Verdict::Accepted { stored_hash: None, modified: Vec::new() })
                }
                Meaning::Uncertain(deferral) => {
                    self.uncertain = Some(deferral);
                    self.look()
                }
                Meaning::Deferred(deferral) => Next::Done(deferred(deferral)),
                Meaning::Refused(class, reasons) => Next::Done(Verdict::Refused { class, reasons }),
            },
        }
    }

    fn kind(&self) -> Kind {
        self.request.key().kind
    }

    fn look(&mut self) -> Next {
        self.looks += 1;
        if self.looks > MAX_LOOKS {
            return Next::Done(busy("somebody else changes this resource at the same time, again and again"));
        }
        self.waits = Waits::Read;
        let ResourceKey { kind, name } = self.request.key().clone();
        Next::Call(Call::Get { table: kind.into(), name })
    }

    fn write(&mut self, call: Call) -> Next {
        self.waits = Waits::Write;
        Next::Call(call)
    }

    fn is_ours(&self, stored: Option<&Stored>) -> bool {
        stored.and_then(|stored| stored.document.as_ref()).is_some_and(|stamp| {
            stamp.generation == self.request.stamp.generation && stamp.hash == self.request.stamp.hash
        })
    }

    /// The decision: desired and stored in, answer or write out.
    fn decide(&self, stored: Option<&Stored>) -> Decision {
        let Request { checked, stamp, body, .. } = &self.request;
        let key = &checked.key;
        let table = Table::from(key.kind);
        let stored = match stored {
            Some(stored) => stored,
            None if key.kind == Kind::DataPlane => {
                return Decision::Answer(deferred(Deferral {
                    reason: DeferReason::Busy,
                    message: format!(
                        "DataPlane/{DEFAULT} is missing in the cluster; installing the chart again makes it"
                    ),
                    retry_after: PERSON,
                }));
            }
            None if stamp.generation <= self.view.floor && !mutant::is(Mutant::FloorIgnored) => {
                return Decision::Answer(Verdict::Stale { generation: None, hash: None, floor: self.view.floor });
            }
            None => {
                return self.allowed(true).unwrap_or_else(|| {
                    let mut metadata = Map::new();
                    metadata.insert("name".to_owned(), json!(key.name));
                    let body = self.request.object(table, metadata);
                    Decision::Write(Call::Create { table, name: key.name.clone(), body })
                });
            }
        };
        match &stored.document {
            None if key.kind == Kind::DataPlane => {}
            None => return Decision::Answer(local(key)),
            Some(Stamp { generation, hash }) if *generation == stamp.generation => {
                return Decision::Answer(if *hash == stamp.hash {
                    Verdict::Already
                } else {
                    Verdict::Conflict { generation: *generation, hash: hash.clone() }
                });
            }
            Some(Stamp { generation, hash }) if *generation > stamp.generation => {
                return Decision::Answer(Verdict::Stale {
                    generation: Some(*generation),
                    hash: Some(hash.clone()),
                    floor: self.view.floor,
                });
            }
            Some(Stamp { .. }) => {}
        }
        if stored.terminating() {
            return Decision::Answer(busy(
                "the stored object is being deleted by somebody in the cluster; waiting until it is gone",
            ));
        }
        if stored.facts >= PENDING_FACTS {
            return Decision::Answer(deferred(Deferral {
                reason: DeferReason::FactsPending,
                message: format!("{PENDING_FACTS} facts of {key} wait for acknowledgement"),
                retry_after: BUSY,
            }));
        }
        if let Some(before) = &stored.task
            && let Some(reasons) = forbidden_change(before, body)
        {
            return Decision::Answer(Verdict::Refused { class: RefusalClass::Invalid, reasons });
        }
        self.allowed(false).unwrap_or_else(|| {
            let body = self.request.object(table, stored.metadata.clone());
            Decision::Write(Call::Update { table, name: key.name.clone(), body })
        })
    }

    /// The answer if the customer's policy does not allow the document; none if it does. `new`: nothing of that name is stored.
    fn allowed(&self, new: bool) -> Option<Decision> {
        let body = &self.request.checked.checked.body;
        match &*self.view.policy {
            Policy::Missing { why } => Some(Decision::Answer(deferred(Deferral {
                reason: DeferReason::NoPolicy,
                message: why.clone(),
                retry_after: PERSON,
            }))),
            Policy::Given(policy) => {
                let mut reasons = objections(policy, body, &self.view.about);
                reasons.extend(beyond(policy, body, &self.request.body, &self.view.about, new));
                (!reasons.is_empty())
                    .then_some(Decision::Answer(Verdict::Refused { class: RefusalClass::Policy, reasons }))
            }
        }
    }

    /// Accepted, with what admission changed in the stored object.
    fn accepted(&self, object: &Value) -> Verdict {
        let stored = body(object.get("spec").unwrap_or(&Value::Null));
        let hash = body_hash(self.request.key(), &stored);
        if hash == Some(self.request.checked.hash) {
            return Verdict::Accepted { stored_hash: None, modified: Vec::new() };
        }
        Verdict::Accepted {
            stored_hash: hash.map(|hash| hash.to_string()),
            modified: differences(&self.request.body, &stored),
        }
    }
}

enum Decision {
    Answer(Verdict),
    Write(Call),
}

/// A run that is stored may only be cancelled.
fn forbidden_change(before: &Value, after: &Value) -> Option<Vec<FieldError>> {
    let reasons: Vec<_> = differences(before, after)
        .into_iter()
        .filter(|field| field != "/cancel" || after.get("cancel") != Some(&Value::Bool(true)))
        .map(|field| FieldError {
            field,
            message: "a TaskRun that is stored can only be cancelled; ask for a new run instead".to_owned(),
        })
        .collect();
    (!reasons.is_empty()).then_some(reasons)
}

fn local(key: &ResourceKey) -> Verdict {
    let message = format!(
        "{key} exists in the cluster as a local object, made without the control plane, and is never overwritten; delete it there or use another name"
    );
    Verdict::Refused { class: RefusalClass::Invalid, reasons: vec![FieldError { field: String::new(), message }] }
}

fn busy(message: &str) -> Verdict {
    deferred(Deferral { reason: DeferReason::Busy, message: message.to_owned(), retry_after: BUSY })
}

fn deferred(deferral: Deferral) -> Verdict {
    let Deferral { reason, message, retry_after } = deferral;
    Verdict::Deferred { reason, message, retry_after_ms: u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX) }
}

/// The answer when a read failed: an earlier deferral takes precedence.
fn unread(earlier: Option<Deferral>, error: &CallError) -> Verdict {
    let later = earlier.or_else(|| match classify(error) {
        Meaning::Uncertain(deferral) | Meaning::Deferred(deferral) => Some(deferral),
        Meaning::ReadAgain | Meaning::Refused(..) => None,
    });
    deferred(later.unwrap_or_else(|| Deferral {
        reason: DeferReason::ApiServerUnavailable,
        message: format!("the stored object cannot be read: {}", meaning::cut(&error.to_string())),
        retry_after: BUSY,
    }))
}

#[cfg(test)]
mod tests;
