//! `forget`: really delete, after the floor was raised.
//!
//! The order matters: once the object is gone, only the floor keeps an old document from bringing it back. So the floor is
//! written first; a crash in between leaves an object that the next forget deletes.

use protocol::document::Desired;
use protocol::message::{DeferReason, FieldError, RefusalClass, Verdict};
use protocol::mutant::{self, Mutant};
use protocol::name::{Kind, ResourceKey};
use serde_json::{Value, json};

use super::{BUSY, Deferral, MAX_LOOKS, Meaning, Next, PERSON, Stamp, Stored, busy, classify, deferred, local, unread};
use crate::api::CallError;
use crate::link::store::{Call, DEFAULT, Reply, Table};

/// One forget on its way.
#[derive(Debug)]
pub struct ForgetJob {
    key: ResourceKey,
    generation: i64,
    looks: u8,
    /// What is to be deleted once the floor is high enough; none when there is nothing.
    target: Option<Version>,
    floor: i64,
    waits: Waits,
}

#[derive(Debug, Clone)]
struct Version {
    uid: String,
    resource_version: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    Object,
    Floor,
    FloorWrite,
    Delete,
}

impl ForgetJob {
    /// It always reads first: nothing is deleted on a view that may be old.
    pub(super) fn begin(key: ResourceKey, generation: i64, floor: i64) -> (Self, Next) {
        let mut job = Self { key, generation, looks: 0, target: None, floor, waits: Waits::Object };
        let next = if job.key.kind == Kind::DataPlane {
            job.refuse("the installation itself cannot be forgotten")
        } else {
            job.look()
        };
        (job, next)
    }

    pub(super) fn resume(&mut self, reply: Reply) -> Next {
        match (self.waits, reply) {
            (Waits::Object, Ok(object)) => self.decide(object.as_ref()),
            (Waits::Floor, Ok(Some(data_plane))) => self.raise(&data_plane),
            (Waits::Floor, Ok(None)) => Next::Done(deferred(Deferral {
                reason: DeferReason::Busy,
                message: format!("DataPlane/{DEFAULT} is missing in the cluster; installing the chart again makes it"),
                retry_after: PERSON,
            })),
            (Waits::FloorWrite, Ok(_)) => {
                self.floor = self.floor.max(self.generation);
                self.delete()
            }
            (Waits::Delete, Ok(_)) => self.done(),
            (Waits::Object | Waits::Floor, Err(error)) => Next::Done(unread(None, &error)),
            (Waits::FloorWrite | Waits::Delete, Err(error)) => self.failed(&error),
        }
    }

    fn look(&mut self) -> Next {
        self.looks += 1;
        if self.looks > MAX_LOOKS {
            return Next::Done(busy("somebody else changes this resource at the same time, again and again"));
        }
        self.waits = Waits::Object;
        Next::Call(Call::Get { table: self.key.kind.into(), name: self.key.name.clone() })
    }

    fn decide(&mut self, object: Option<&Value>) -> Next {
        let Some(object) = object else {
            // Already gone. The floor is raised all the same, or an older document would create the object again.
            self.target = None;
            return self.read_floor();
        };
        let stored = Stored::of(self.key.kind, object);
        let Some(Stamp { generation, hash }) = stored.document.clone() else { return Next::Done(local(&self.key)) };
        if generation > self.generation {
            return Next::Done(Verdict::Stale { generation: Some(generation), hash: Some(hash), floor: self.floor });
        }
        // A finished run may be forgotten even if a lower generation is stored: a cancellation may have drawn a higher one and come
        // too late to be stored.
        let late = self.key.kind == Kind::TaskRun && stored.finished;
        if generation < self.generation && !late {
            return self.refuse(&format!("an older generation is stored here: {generation}"));
        }
        if self.key.kind != Kind::TaskRun && stored.desired == Desired::Present {
            return self.refuse("it is Present; send its Absent document first");
        }
        if !stored.finished {
            let what =
                if self.key.kind == Kind::TaskRun { "the run has not ended" } else { "not everything is removed yet" };
            return Next::Done(facts_pending(what));
        }
        if stored.facts > 0 {
            return Next::Done(facts_pending("some of its facts are not acknowledged"));
        }
        if stored.terminating() {
            return Next::Done(busy("the stored object is being deleted and waits for a finalizer"));
        }
        self.target =
            Some(Version { uid: stored.uid().to_owned(), resource_version: stored.resource_version().to_owned() });
        self.read_floor()
    }

    fn read_floor(&mut self) -> Next {
        self.waits = Waits::Floor;
        Next::Call(Call::Get { table: Table::Document(Kind::DataPlane), name: DEFAULT.to_owned() })
    }

    fn raise(&mut self, data_plane: &Value) -> Next {
        self.floor = data_plane.pointer("/status/floor").and_then(Value::as_i64).unwrap_or(0);
        if self.floor >= self.generation || mutant::is(Mutant::ForgetWithoutFloor) {
            return self.delete();
        }
        let mut body = data_plane.clone();
        let Some(members) = body.as_object_mut() else { return self.look() };
        match members.entry("status").or_insert_with(|| json!({})).as_object_mut() {
            Some(status) => status.insert("floor".to_owned(), json!(self.generation)),
            None => members.insert("status".to_owned(), json!({ "floor": self.generation })),
        };
        self.waits = Waits::FloorWrite;
        Next::Call(Call::UpdateStatus { table: Table::Document(Kind::DataPlane), name: DEFAULT.to_owned(), body })
    }

    fn delete(&mut self) -> Next {
        let Some(Version { mut uid, mut resource_version }) = self.target.clone() else { return self.done() };
        if mutant::is(Mutant::ForgetWithoutPrecondition) {
            (uid, resource_version) = (String::new(), String::new());
        }
        self.waits = Waits::Delete;
        Next::Call(Call::Delete { table: self.key.kind.into(), name: self.key.name.clone(), uid, resource_version })
    }

    /// A write failed, or its answer was lost: start over, every step finds what is done.
    fn failed(&mut self, error: &CallError) -> Next {
        match classify(error) {
            Meaning::ReadAgain | Meaning::Uncertain(_) => self.look(),
            Meaning::Deferred(deferral) => Next::Done(deferred(deferral)),
            Meaning::Refused(class, reasons) => Next::Done(Verdict::Refused { class, reasons }),
        }
    }

    fn done(&self) -> Next {
        Next::Done(Verdict::Forgotten { floor: self.floor })
    }

    fn refuse(&self, why: &str) -> Next {
        let message = format!("{} is not forgotten: {why}", self.key);
        let reasons = vec![FieldError { field: String::new(), message }];
        Next::Done(Verdict::Refused { class: RefusalClass::Invalid, reasons })
    }
}

fn facts_pending(message: &str) -> Verdict {
    deferred(Deferral { reason: DeferReason::FactsPending, message: message.to_owned(), retry_after: BUSY })
}
