//! What runs beside the loop: workers on resources, dialling, certificates. Each ends by itself and reports as [`Done`].

use protocol::enrol::EnrolErrorClass;
use protocol::message::{Document, Verdict};
use protocol::name::ResourceKey;
use protocol::report::Fact;
use protocol::session::{DialFailure, Ticket};
use serde_json::Value;
use tokio::time::Instant;

use crate::elector::{Leadership, NotLeading};
#[cfg(feature = "failpoints")]
use crate::failpoints::{Act, Edge, reach};
use crate::link::dial::{DialError, Dialer, Limits, Socket};
use crate::link::enrol::{Credentials, KeepError, Keeper};
use crate::link::identity::Certificate;
use crate::link::intake::{Job, Known, Request, View};
use crate::link::reporter::Removal;
use crate::link::status::{LinkStatus, StatusJob};
use crate::link::store::{Call, Reply, Settled, Step, Store, Table};
use crate::settings::ControlPlaneUrl;

/// Path of the upgrade.
const LINK_PATH: &str = "/v1/link";

/// One piece of work on one resource.
#[derive(Debug)]
pub(super) enum Work {
    Document {
        ticket: Ticket,
        document: Box<Document>,
        received: Instant,
    },
    Forget {
        ticket: Ticket,
        generation: i64,
        received: Instant,
    },
    /// Takes acknowledged facts out of the status; which ones is looked up when it starts.
    RemoveFacts,
}

/// How something beside the loop ended.
#[derive(Debug)]
pub(super) enum Done {
    Answered {
        key: ResourceKey,
        ticket: Ticket,
        verdict: Verdict,
        stored: Option<(Table, Value)>,
        received: Instant,
    },
    FactsRemoved {
        key: ResourceKey,
        facts: Vec<Fact>,
        settled: Settled,
        stored: Option<(Table, Value)>,
    },
    Status {
        settled: Settled,
        stored: Option<(Table, Value)>,
    },
    Credentials(Result<Credentials, KeepError>),
    Connected {
        result: Box<Result<(Socket, Credentials), ConnectError>>,
        tried: Option<String>,
    },
    /// The access was taken away: other credentials, if there are any.
    Replaced(Result<Option<Credentials>, KeepError>),
    WriterEnded {
        number: u64,
        error: Option<String>,
    },
    RenewalRequest(Result<String, KeepError>),
    /// A renewed certificate is stored; with fingerprints of those in the bundle that came along and is not trusted.
    Renewed(Result<(Certificate, Vec<String>), KeepError>),
    Promoted(Result<(), KeepError>),
    /// The CA bundle may have been replaced: fingerprints of what the control plane hands out and is not trusted now.
    Proposed(Result<Vec<String>, KeepError>),
    /// The last lines of pods that are being stopped were read.
    LinesRead,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    Keep(#[from] KeepError),
    #[error(transparent)]
    Dial(#[from] DialError),
}

impl ConnectError {
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Keep(error) => error.reason(),
            Self::Dial(error) => error.reason(),
        }
    }

    pub(super) fn failure(&self) -> DialFailure {
        match self {
            Self::Keep(KeepError::Dial(error)) | Self::Dial(error) => error.failure(),
            Self::Keep(KeepError::Refused(error)) => {
                let otherwise = match error.code.class() {
                    EnrolErrorClass::BackOff => 10_000,
                    // Another token or bundle is noticed at once; this is for what changes at the control plane alone.
                    EnrolErrorClass::NeedsPerson => 30_000,
                };
                DialFailure::Busy { retry_after_ms: error.retry_after_ms.or(Some(otherwise)) }
            }
            Self::Keep(
                KeepError::SecretMissing { .. }
                | KeepError::Secret { .. }
                | KeepError::NoToken
                | KeepError::NotLeading(_)
                | KeepError::BadAnswer { .. }
                | KeepError::OtherDataPlane { .. }
                | KeepError::Identity(_),
            ) => DialFailure::Unreachable,
        }
    }
}

/// What a call is made for. Only failpoints need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// The answer to a document or to a forget.
    Answer,
    /// Statuses.
    Status,
}

/// Makes the calls that a pure part asks for, until its end. Leadership is checked before each write. The last object that
/// was written comes back too, so that the cache need not wait for the watch.
#[cfg_attr(not(feature = "failpoints"), expect(unused_variables, reason = "nothing dies on purpose"))]
async fn drive<S: Store, T>(
    store: &S,
    leadership: &Leadership,
    purpose: Purpose,
    mut step: Step<T>,
    mut resume: impl FnMut(Reply) -> Step<T>,
) -> (Result<T, NotLeading>, Option<(Table, Value)>) {
    let mut stored = None;
    loop {
        let call = match step {
            Step::Done(end) => return (Ok(end), stored),
            Step::Call(call) => call,
        };
        let written = match &call {
            Call::Create { table, .. } | Call::Update { table, .. } | Call::UpdateStatus { table, .. } => Some(*table),
            Call::Get { .. } | Call::Delete { .. } => None,
        };
        if call.writes()
            && let Err(error) = leadership.check()
        {
            return (Err(error), stored);
        }
        #[cfg(feature = "failpoints")]
        let point = Act::of_call(&call, purpose == Purpose::Answer);
        #[cfg(feature = "failpoints")]
        reach(Edge::Before, point);
        let reply = store.call(call).await;
        #[cfg(feature = "failpoints")]
        reach(Edge::After, point.filter(|_| reply.is_ok()));
        if let (Some(table), Ok(Some(object))) = (written, &reply) {
            stored = Some((table, object.clone()));
        }
        step = resume(reply);
    }
}

fn verdict(end: Result<Verdict, NotLeading>) -> Verdict {
    end.unwrap_or_else(|error| Job::not_leading(error == NotLeading::Unconfirmed))
}

pub(super) async fn document<S: Store>(
    store: S,
    leadership: Leadership,
    (ticket, received): (Ticket, Instant),
    request: Request,
    view: View,
    known: Known,
) -> Done {
    let key = request.key().clone();
    let (mut job, first) = Job::document(request, view, &known);
    let (end, stored) = drive(&store, &leadership, Purpose::Answer, first, |reply| job.resume(reply)).await;
    Done::Answered { key, ticket, verdict: verdict(end), stored, received }
}

pub(super) async fn forget<S: Store>(
    store: S,
    leadership: Leadership,
    (ticket, received): (Ticket, Instant),
    key: ResourceKey,
    generation: i64,
    floor: i64,
) -> Done {
    let (mut job, first) = Job::forget(key.clone(), generation, floor);
    let (end, stored) = drive(&store, &leadership, Purpose::Answer, first, |reply| job.resume(reply)).await;
    Done::Answered { key, ticket, verdict: verdict(end), stored, received }
}

pub(super) async fn remove_facts<S: Store>(
    store: S,
    leadership: Leadership,
    key: ResourceKey,
    facts: Vec<Fact>,
) -> Done {
    let (mut removal, first) = Removal::begin(key, facts);
    let (end, stored) = drive(&store, &leadership, Purpose::Status, first, |reply| removal.resume(reply)).await;
    let (key, facts) = removal.into_parts();
    Done::FactsRemoved { key, facts, settled: end.unwrap_or(Settled::Later), stored }
}

pub(super) async fn status<S: Store>(store: S, leadership: Leadership, wanted: LinkStatus, now: String) -> Done {
    let (mut job, first) = StatusJob::begin(wanted, now);
    let (end, stored) = drive(&store, &leadership, Purpose::Status, first, |reply| job.resume(reply)).await;
    Done::Status { settled: end.unwrap_or(Settled::Later), stored }
}

/// Gets a certificate and then a connection. `renew`: the control plane refuses the certificate `used`; a newer one that is stored
/// already is as good as a renewal. Returns the certificate of the attempt.
pub(super) async fn connect<S: Store>(
    keeper: Keeper<S>,
    dialer: Dialer,
    url: ControlPlaneUrl,
    renew: bool,
    used: Option<String>,
) -> Done {
    let mut tried = None;
    let connect = async {
        let mut credentials = keeper.credentials(false).await?;
        if renew && used.as_ref() == Some(&credentials.client.certificate) {
            credentials = keeper.credentials(true).await?;
        }
        tried = Some(credentials.client.certificate.clone());
        let limits = Limits { frame: protocol::message::LONGEST_READ, write_buffer: 4 * protocol::message::MAX_FRAME };
        let socket =
            dialer.websocket(&url, LINK_PATH, protocol::message::SUBPROTOCOL, &credentials.client, limits).await?;
        Ok((socket, credentials))
    };
    let result = Box::new(connect.await);
    Done::Connected { result, tried }
}
