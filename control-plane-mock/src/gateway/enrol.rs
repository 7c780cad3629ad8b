//! `POST /v1/enrol` and `POST /v1/renew`: how a data plane gets and keeps its certificate.
//!
//! Neither asks for a client certificate: the first spends a one-time token, the second proves possession of the registered key.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use protocol::enrol::{
    EnrolError, EnrolErrorCode, EnrolRequest, EnrolResponse, MAX_ENROL_BODY, MAX_RENEW_SKEW_SECONDS, RenewRequest,
    renewal_statement,
};
use serde_json::json;

use crate::domain::{data_planes, keys};
use crate::faults::Fault;
use crate::gateway::ca::{self, Request};
use crate::shared::Shared;
use crate::store::Error;

/// A refusal of an enrolment or a renewal.
pub struct No(EnrolError);

impl IntoResponse for No {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, axum::Json(self.0)).into_response()
    }
}

impl From<Error> for No {
    fn from(error: Error) -> Self {
        tracing::error!(%error, "enrolment failed in the store");
        let message = "the control plane's store does not answer; try again".to_owned();
        Self(EnrolError { code: EnrolErrorCode::Busy, message, retry_after_ms: Some(2_000) })
    }
}

impl From<ca::Error> for No {
    fn from(error: ca::Error) -> Self {
        Self(data_planes::no(EnrolErrorCode::InvalidRequest, &error.to_string()))
    }
}

fn read<T: serde::de::DeserializeOwned>(body: &Bytes) -> Result<T, No> {
    if body.len() > MAX_ENROL_BODY {
        return Err(No(data_planes::no(EnrolErrorCode::InvalidRequest, "the body is too long")));
    }
    // The answer gives the position of the error and never the text there: it may be the token.
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("the body is not the request, at line {} column {}", error.line(), error.column());
        No(data_planes::no(EnrolErrorCode::InvalidRequest, &message))
    })
}

/// `POST /v1/enrol`
///
/// # Errors
/// As the wire has them.
pub async fn enrol(State(shared): State<Arc<Shared>>, body: Bytes) -> Result<Response, No> {
    if let Some(refusal) = scripted(&shared) {
        return Ok(refusal);
    }
    let EnrolRequest { token, csr } = read(&body)?;
    let request = ca::read_request(&csr)?;
    let key = request.key.clone();
    let enrolled = shared.store.run(move |c| data_planes::enrol(c, token.expose(), &key)).await?;
    match enrolled {
        Ok((data_plane, generation)) => {
            shared.record.add("Enrol", Some(&data_plane), json!({ "accepted": true }));
            answer(&shared, request, data_plane, generation).await
        }
        Err(error) => {
            shared.record.add("Enrol", None, json!({ "accepted": false, "code": error.code }));
            tracing::info!(code = ?error.code, "enrolment was refused");
            Err(No(error))
        }
    }
}

/// `POST /v1/renew`
///
/// # Errors
/// As the wire has them.
pub async fn renew(State(shared): State<Arc<Shared>>, body: Bytes) -> Result<Response, No> {
    if let Some(refusal) = scripted(&shared) {
        return Ok(refusal);
    }
    let renewal: RenewRequest = read(&body)?;
    let data_plane = renewal.data_plane.clone();
    let (request, generation) = match check(&shared, renewal).await? {
        Ok(checked) => checked,
        Err(error) => {
            shared.record.add("Renew", Some(&data_plane), json!({ "accepted": false, "code": error.code }));
            tracing::info!(data_plane, code = ?error.code, "renewal was refused");
            let error = shared.store.run(move |c| data_planes::refused(c, &data_plane, "a renewal", error)).await?;
            return Err(No(error));
        }
    };
    shared.record.add("Renew", Some(&data_plane), json!({ "accepted": true, "by": "https" }));
    answer(&shared, request, data_plane, generation).await
}

/// Gives the request and the generation of its key.
async fn check(shared: &Shared, renewal: RenewRequest) -> Result<Result<(Request, i64), EnrolError>, No> {
    let request = ca::read_request(&renewal.csr)?;
    let skew = Timestamp::now().as_second().abs_diff(renewal.time);
    if skew > MAX_RENEW_SKEW_SECONDS {
        let message = format!("the agent's clock is {skew} s away from the control plane's; set the clocks right");
        return Ok(Err(data_planes::no(EnrolErrorCode::ClockSkew, &message)));
    }
    let RenewRequest { data_plane, csr, time, signature, certificate } = renewal;
    let statement = renewal_statement(&data_plane, &csr, time);
    let signature = STANDARD.decode(signature).unwrap_or_default();
    // Somebody with an old key from a backup must not get a certificate for a key of their own: a new key needs a session.
    if !ca::proves(&request.key, &statement, &signature) {
        let message =
            "the request is not signed by the key that it wants certified; a new key is registered over the link";
        return Ok(Err(data_planes::no(EnrolErrorCode::BadProof, message)));
    }
    let certified = certificate.and_then(|pem| ca::read_signed(&pem, &shared.authority.bundle).ok());
    let certified = certified.filter(|peer| peer.data_plane == data_plane && peer.key == request.key);
    let grace = SignedDuration::try_from(shared.config.renewal_grace).unwrap_or(SignedDuration::MAX);
    let key = request.key.clone();
    let proven = shared.store.run(move |c| {
        let generation = match keys::prove(c, &data_plane, &key, certified.map(|peer| peer.generation))? {
            Ok(generation) => generation,
            Err(error) => return Ok(Err(error)),
        };
        if keys::not_after(c, &data_plane)?.is_some_and(|end| Timestamp::now().duration_since(end) > grace) {
            let message = "the certificate ended too long ago to be renewed; enrol again with a new token";
            return Ok(Err(data_planes::no(EnrolErrorCode::GraceOver, message)));
        }
        Ok(Ok(generation))
    });
    Ok(proven.await?.map(|generation| (request, generation)))
}

async fn answer(shared: &Shared, request: Request, data_plane: String, generation: i64) -> Result<Response, No> {
    let certificate = certify(shared, request, &data_plane, generation).await?;
    if shared
        .faults
        .take(Some(&data_plane), |fault| matches!(fault, Fault::LoseEnrolmentAnswer).then_some(()))
        .is_some()
    {
        // An answer that never comes whole: hyper cuts the connection when the body fails.
        let cut = futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("scripted fault")) });
        return Ok(([(header::CONTENT_LENGTH, "4096")], axum::body::Body::from_stream(cut)).into_response());
    }
    let ca_bundle = Some(shared.authority.bundle.clone());
    let lie = |fault: &Fault| if let Fault::LieAboutId { id } = fault { Some(id.clone()) } else { None };
    let data_plane = shared.faults.take(Some(&data_plane), lie).unwrap_or(data_plane);
    Ok(axum::Json(EnrolResponse { data_plane, certificate, ca_bundle }).into_response())
}

/// Makes a certificate for a key that is registered.
async fn certify(shared: &Shared, request: Request, data_plane: &str, generation: i64) -> Result<String, No> {
    let key = request.key.clone();
    let issued = shared.authority.issue(request, data_plane, generation)?;
    let (id, serial, end) = (data_plane.to_owned(), issued.serial, issued.not_after);
    shared.store.run(move |c| keys::record_certificate(c, &id, &serial, &key, generation, end)).await?;
    Ok(issued.certificate)
}

/// A renewal over the link, whose client certificate is of the key `by`: registers the key of the request and certifies it.
///
/// # Errors
/// As the wire has them.
pub async fn renew_by(shared: &Shared, request: Request, data_plane: &str, by: &str) -> Result<String, No> {
    let (id, by, key) = (data_plane.to_owned(), by.to_owned(), request.key.clone());
    let generation = shared.store.run(move |c| keys::renew(c, &id, &by, &key)).await?.map_err(No)?;
    certify(shared, request, data_plane, generation).await
}

impl No {
    /// The error itself, for an answer over the link.
    #[must_use]
    pub fn into_inner(self) -> EnrolError {
        self.0
    }
}

fn scripted(shared: &Shared) -> Option<Response> {
    let pick = |fault: &Fault| if let Fault::RefuseEnrolment { status } = fault { Some(*status) } else { None };
    let status = shared.faults.take(None, pick)?;
    Some(StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE).into_response())
}
