//! An API server in memory, for tests: objects with uid, resource version and status subresource, preconditions as the real one
//! has them, watches, and faults that a test asks for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::{Call, Change, Reply, Store, Table};
use crate::api::{ApiStatus, CallError};

/// How the next matching call fails.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It is not carried out.
    Answer(ApiStatus),
    /// It is carried out and the answer is lost.
    LoseAnswer,
}

#[derive(Clone)]
pub(crate) struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
    changes: broadcast::Sender<(Table, Change)>,
}

#[derive(Default)]
struct Inner {
    objects: BTreeMap<(Table, String), Value>,
    version: u64,
    calls: Vec<Call>,
    faults: VecDeque<(Table, Fault)>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { inner: Arc::default(), changes: broadcast::channel(1024).0 }
    }
}

impl MemoryStore {
    /// Puts an object there as somebody else would.
    pub(crate) fn put(&self, table: Table, name: &str, spec: Value, status: Value) {
        let mut inner = self.inner.lock().unwrap();
        let mut object =
            json!({ "apiVersion": table.api_version(), "kind": table.kind(), "metadata": { "name": name } });
        if table == Table::Secret {
            object["data"] = spec;
        } else {
            object["spec"] = spec;
            object["status"] = status;
        }
        inner.insert(table, name, object, &self.changes);
    }

    /// Changes an object as somebody else would.
    pub(crate) fn edit(&self, table: Table, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut inner = self.inner.lock().unwrap();
        let mut object = inner.objects.get(&(table, name.to_owned())).unwrap().clone();
        edit(&mut object);
        inner.insert(table, name, object, &self.changes);
    }

    pub(crate) fn get(&self, table: Table, name: &str) -> Option<Value> {
        self.inner.lock().unwrap().objects.get(&(table, name.to_owned())).cloned()
    }

    /// Everything in `table`.
    pub(crate) fn all(&self, table: Table) -> Vec<Value> {
        let inner = self.inner.lock().unwrap();
        inner.objects.iter().filter(|((of, _), _)| *of == table).map(|(_, object)| object.clone()).collect()
    }

    /// Writes to `table` so far.
    pub(crate) fn writes(&self, table: Table) -> usize {
        let of_table = |call: &Call| match call {
            Call::Get { .. } => false,
            Call::Create { table: t, .. }
            | Call::Update { table: t, .. }
            | Call::UpdateStatus { table: t, .. }
            | Call::Delete { table: t, .. } => *t == table,
        };
        self.inner.lock().unwrap().calls.iter().filter(|call| of_table(call)).count()
    }

    /// The next write to `table` fails like this.
    pub(crate) fn fail_next_write(&self, table: Table, fault: Fault) {
        self.inner.lock().unwrap().faults.push_back((table, fault));
    }
}

impl Inner {
    fn insert(
        &mut self,
        table: Table,
        name: &str,
        mut object: Value,
        changes: &broadcast::Sender<(Table, Change)>,
    ) -> Value {
        self.version += 1;
        let known = self.objects.get(&(table, name.to_owned()));
        let uid = known.map_or_else(|| json!(format!("uid-{}", self.version)), |old| old["metadata"]["uid"].clone());
        object["metadata"]["uid"] = uid;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert((table, name.to_owned()), object.clone());
        let _nobody_watches = changes.send((table, Change::Applied(object.clone())));
        object
    }

    fn fault(&mut self, table: Table) -> Option<Fault> {
        let at = self.faults.iter().position(|(of, _)| *of == table)?;
        self.faults.remove(at).map(|(_, fault)| fault)
    }

    fn carry_out(&mut self, call: Call, changes: &broadcast::Sender<(Table, Change)>) -> Reply {
        match call {
            Call::Get { table, name } => Ok(self.objects.get(&(table, name)).cloned()),
            Call::Create { table, name, body } => {
                if self.objects.contains_key(&(table, name.clone())) {
                    return Err(error(409, "AlreadyExists", &name));
                }
                Ok(Some(self.insert(table, &name, body, changes)))
            }
            Call::Update { table, name, body } => {
                let old = self.precondition(table, &name, &body)?;
                let mut object = body;
                if let Some(status) = old.get("status") {
                    object["status"] = status.clone();
                }
                Ok(Some(self.insert(table, &name, object, changes)))
            }
            Call::UpdateStatus { table, name, body } => {
                let mut object = self.precondition(table, &name, &body)?;
                object["status"] = body.get("status").cloned().unwrap_or(Value::Null);
                Ok(Some(self.insert(table, &name, object, changes)))
            }
            Call::Delete { table, name, uid, resource_version } => {
                let expected = json!({ "metadata": { "uid": uid, "resourceVersion": resource_version } });
                let object = self.precondition(table, &name, &expected)?;
                self.objects.remove(&(table, name));
                let _nobody_watches = changes.send((table, Change::Deleted(object.clone())));
                Ok(Some(object))
            }
        }
    }

    fn precondition(&self, table: Table, name: &str, body: &Value) -> Result<Value, CallError> {
        let Some(stored) = self.objects.get(&(table, name.to_owned())) else {
            return Err(error(404, "NotFound", name));
        };
        for field in ["uid", "resourceVersion"] {
            if stored["metadata"][field] != body["metadata"][field] {
                return Err(error(409, "Conflict", name));
            }
        }
        Ok(stored.clone())
    }
}

fn error(code: u16, reason: &str, name: &str) -> CallError {
    let message = format!("\"{name}\" {reason}");
    CallError::Refused(ApiStatus { code, reason: reason.to_owned(), message, ..ApiStatus::default() })
}

impl Store for MemoryStore {
    async fn call(&self, call: Call) -> Reply {
        let mut inner = self.inner.lock().unwrap();
        inner.calls.push(call.clone());
        let table = match &call {
            Call::Get { table, .. }
            | Call::Create { table, .. }
            | Call::Update { table, .. }
            | Call::UpdateStatus { table, .. }
            | Call::Delete { table, .. } => *table,
        };
        let fault = if call.writes() { inner.fault(table) } else { None };
        match fault {
            Some(Fault::Answer(status)) => Err(CallError::Refused(status)),
            Some(Fault::LoseAnswer) => {
                let _lost = inner.carry_out(call, &self.changes);
                Err(CallError::NoAnswer("as the test asked".to_owned()))
            }
            None => inner.carry_out(call, &self.changes),
        }
    }

    fn watch(&self, table: Table) -> BoxStream<'static, Change> {
        let inner = self.inner.lock().unwrap();
        let changes = self.changes.subscribe();
        let found =
            inner.objects.iter().filter(|((of, _), _)| *of == table).map(|(_, object)| Change::Found(object.clone()));
        let list: Vec<_> = std::iter::once(Change::Begin).chain(found).chain([Change::Complete]).collect();
        let later = stream::unfold(changes, move |mut changes| async move {
            loop {
                match changes.recv().await {
                    Ok((of, change)) if of == table => return Some((change, changes)),
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
        });
        stream::iter(list).chain(later).boxed()
    }
}
