//! The cluster: its version, and what the chart installs.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::time::timeout;

use super::{Notes, STEP_LIMIT, probe};
use crate::cli::DoctorArgs;
use crate::kinds::{DataPlane, DataPlanePolicy, REVISION_ANNOTATION, SCHEMA_REVISION, crds};
use crate::link::status::CA_PROPOSED;
use crate::telemetry::chain;

/// Oldest Kubernetes that is supported: 1.31.
const OLDEST: (u32, u32) = (1, 31);

/// Outcome of a call, as far as findings need it.
pub(super) enum Got<T> {
    Found(T),
    Missing,
    NotAllowed,
    Failed(String),
}

pub(super) async fn got<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Got<T> {
    match timeout(STEP_LIMIT, call).await {
        Ok(Ok(value)) => Got::Found(value),
        Ok(Err(error)) => match if let kube::Error::Api(status) = &error { status.code } else { 0 } {
            404 => Got::Missing,
            401 | 403 => Got::NotAllowed,
            _ => Got::Failed(chain(&error)),
        },
        Err(_) => Got::Failed("no answer in time".to_owned()),
    }
}

/// Whether the API server answers, and which version it has.
pub(super) async fn reachable(notes: &mut Notes<'_>, client: &Client) -> bool {
    match got(client.apiserver_version()).await {
        Got::Found(info) => {
            let version = (number(&info.major), number(&info.minor));
            let detail = format!("Kubernetes {}", info.git_version);
            if version >= OLDEST {
                notes.ok("api-server", detail);
            } else {
                notes.fail("api-server", detail, format!("use Kubernetes {}.{} or newer", OLDEST.0, OLDEST.1));
            }
            true
        }
        Got::Missing | Got::NotAllowed => {
            notes.fail("api-server", "it does not tell its version", "check that the address is that of an API server");
            false
        }
        Got::Failed(reason) => {
            notes.fail("api-server", reason, "check the way to the API server, network policies and its certificate");
            false
        }
    }
}

/// `31+` of some providers is 31.
fn number(text: &str) -> u32 {
    text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or_default()
}

/// Definitions, the DataPlane, the policy and the key. Returns the policy.
pub(super) async fn installed(notes: &mut Notes<'_>, client: &Client, args: &DoctorArgs) -> Option<DataPlanePolicy> {
    let plane: Got<DataPlane> = got(Api::namespaced(client.clone(), &args.namespace).get("default")).await;
    let plane = match plane {
        Got::Found(plane) => Some(plane),
        Got::Missing | Got::NotAllowed | Got::Failed(_) => None,
    };
    definitions(notes, client, plane.as_ref()).await;
    data_plane(notes, plane.as_ref());
    identity(notes, client, args).await;

    let policy = got(Api::<DataPlanePolicy>::namespaced(client.clone(), &args.namespace).get("default")).await;
    match policy {
        Got::Found(policy) => {
            let registries = policy.spec.registries.len();
            notes.ok("policy", format!("{registries} registries allowed, logs {:?}", policy.spec.logs.mode));
            return Some(policy);
        }
        Got::Missing => notes.fail(
            "policy",
            "there is no DataPlanePolicy `default`: nothing new is accepted, what runs goes on",
            "make it, or let `helm upgrade` make it",
        ),
        Got::NotAllowed => notes.skip("policy", "this account may not read the DataPlanePolicy"),
        Got::Failed(reason) => notes.fail("policy", reason, "see above"),
    }
    None
}

async fn definitions(notes: &mut Notes<'_>, client: &Client, plane: Option<&DataPlane>) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let names: Vec<String> =
        crds().unwrap_or_default().into_iter().filter_map(|definition| definition.metadata.name).collect();
    let mut least = u32::MAX;
    for name in &names {
        match got(api.get(name)).await {
            Got::Found(definition) => {
                let annotations = definition.metadata.annotations.unwrap_or_default();
                let revision = annotations.get(REVISION_ANNOTATION).and_then(|text| text.parse().ok()).unwrap_or(0);
                least = least.min(revision);
            }
            Got::Missing => {
                notes.fail(
                    "definitions",
                    format!("{name} is not installed"),
                    "install the chart, or apply `pdp-agent crds`",
                );
                return;
            }
            Got::NotAllowed => match plane.and_then(|plane| plane.status.as_ref()?.schema) {
                Some(revision) => {
                    least = revision;
                    break;
                }
                None => {
                    notes.skip("definitions", "this account may not read them, and no operator has reported them yet");
                    return;
                }
            },
            Got::Failed(reason) => {
                notes.fail("definitions", reason, "see above");
                return;
            }
        }
    }
    let detail = format!("schema revision {least}, this build has {SCHEMA_REVISION}");
    if least >= SCHEMA_REVISION {
        notes.ok("definitions", detail);
    } else {
        notes.fail("definitions", detail, "upgrade the chart with its definitions; the operator does not lead before");
    }
}

fn data_plane(notes: &mut Notes<'_>, plane: Option<&DataPlane>) {
    let Some(plane) = plane else {
        notes.fail("data-plane", "DataPlane `default` is missing or cannot be read", "let `helm upgrade` make it");
        return;
    };
    let status = plane.status.as_ref();
    let connected = status.and_then(|status| status.conditions.iter().find(|one| one.condition_type == "Connected"));
    let Some(id) = status.and_then(|status| status.id.as_ref()) else {
        let why = connected.map_or(String::new(), |why| format!(": {}: {}", why.reason, why.message));
        notes.fail(
            "enrolment",
            format!("this data plane is not enrolled{why}"),
            "give a fresh one-time token (enrolment.token or enrolment.existingSecret) and look at the link's log",
        );
        return;
    };
    notes.ok("enrolment", format!("enrolled as {id}"));
    match connected {
        Some(condition) if condition.status == "True" => {
            notes.ok("connection", format!("connected since {}", condition.last_transition_time))
        }
        Some(condition) if condition.reason == "IdentityLocked" => notes.fail(
            "connection",
            condition.message.clone(),
            "find out who has the key, then give a new enrolment token; docs/trust.md has the steps",
        ),
        Some(condition) => notes.warn(
            "connection",
            format!("{}: {}", condition.reason, condition.message),
            "see the checks of the control plane above",
        ),
        None => notes.warn("connection", "the link has not reported yet", "look at the link's log"),
    }
    let proposed = status.and_then(|status| status.conditions.iter().find(|one| one.condition_type == CA_PROPOSED));
    if let Some(condition) = proposed {
        notes.warn("ca-proposed", condition.message.clone(), "docs/trust.md has the steps of a change of CA");
    }
}

async fn identity(notes: &mut Notes<'_>, client: &Client, args: &DoctorArgs) {
    let name = format!("{}-identity", args.fullname);
    let secret: Got<Secret> = got(Api::namespaced(client.clone(), &args.namespace).get(&name)).await;
    let secret = match secret {
        Got::Found(secret) => secret,
        Got::Missing => {
            notes.fail("certificate", format!("Secret {name} is missing"), "let `helm upgrade` make it");
            return;
        }
        Got::NotAllowed => {
            notes.skip("certificate", "only the link's account may read it");
            return;
        }
        Got::Failed(reason) => {
            notes.fail("certificate", reason, "see above");
            return;
        }
    };
    let data = secret.data.unwrap_or_default();
    // As the link chooses: a pending key is used first.
    let newest = ["pending.crt", "active.crt"].into_iter().find_map(|slot| data.get(slot));
    let end = newest
        .and_then(|pem| CertificateDer::from_pem_slice(&pem.0).ok())
        .and_then(|certificate| probe::not_after(&certificate));
    match end {
        Some(end) if end > jiff::Timestamp::now() => notes.ok("certificate", format!("valid until {end}")),
        Some(end) => notes.warn(
            "certificate",
            format!("ended {end}"),
            "it is renewed by itself within 30 days once the control plane is in reach",
        ),
        None => notes.skip("certificate", "there is none yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_providers_are_numbers_with_a_tail() {
        assert_eq!([number("31"), number("31+"), number("1"), number("")], [31, 31, 1, 0]);
    }
}
