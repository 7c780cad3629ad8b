//! From a validated release to the objects of its rendering. Pure: no client, no clock, no secret value.
//!
//! Defaults are made here and nowhere else. Objects come in the order in which they are added: configuration, addresses,
//! limits, then the workload that uses them.

#![expect(clippy::indexing_slicing, reason = "members of JSON objects that are made here")]

use std::collections::BTreeMap;

use protocol::document::{Endpoint, Workload};
use protocol::name::joined;
use serde_json::Value;

use super::parsed::ValidRelease;
use crate::kinds::labels::{DATA_PLANE, ENVIRONMENT, MANAGER, RELEASE};
use crate::kinds::{SecurityLevel, StartGate};
use crate::operator::object;
use crate::operator::reconcile::rendering::{RENDERER, Rendering};

mod config;
mod deployment;
mod disruption;
mod gate;
mod job;
mod literal;
mod pod;
mod security;
mod service;

#[cfg(test)]
pub(crate) use literal::expand;
pub(crate) use literal::literals;

/// What a rendering is made of, beside the release itself.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Id of the data plane.
    pub data_plane: &'a str,
    pub name: &'a str,
    /// Name of its Environment.
    pub environment: &'a str,
    /// Handle of the project.
    pub project: &'a str,
    /// Where the objects go.
    pub namespace: &'a str,
    /// Hash of the stored spec.
    pub content_hash: &'a str,
    /// Pod Security level of the namespace.
    pub level: SecurityLevel,
    /// Names of pull Secrets in the namespace.
    pub pull_secrets: &'a [String],
    /// What holds its pods back until they are closed.
    pub gate: Option<&'a StartGate>,
    /// The release.
    pub release: &'a ValidRelease,
}

/// Renders a release.
#[must_use]
pub fn build(input: &Input<'_>) -> Rendering {
    let config = config::plan(input);
    let mut objects = Vec::new();
    objects.extend(config.config_map.clone());
    let mut job = None;
    let shape = input.release.component_type.shape();
    objects.extend(input.release.endpoints.iter().map(|endpoint| service::service(input, endpoint)));
    if shape.disruption_budget {
        objects.push(disruption::budget(input));
    }
    match shape.workload {
        Workload::Deployment => objects.push(deployment::deployment(input, &config)),
        Workload::Job => job = Some(job::job(input, &config)),
    }
    let endpoints = &input.release.endpoints;
    let addresses = endpoints.iter().map(|endpoint| (endpoint.name.clone(), service::address(input, endpoint)));
    let majors = endpoints.iter().map(|endpoint| (endpoint.name.clone(), service::major_address(input, endpoint)));
    let rendering = Rendering {
        renderer: RENDERER,
        image: input.release.image.clone(),
        deadline_seconds: input.release.progress_deadline_seconds,
        objects,
        job,
        addresses: addresses.collect(),
        major_addresses: majors.collect(),
        majors: endpoints.iter().map(|endpoint| service::of_major(input, endpoint)).collect(),
        secrets: config.secrets,
    };
    #[cfg(feature = "failpoints")]
    let rendering = crate::failpoints::rendered(rendering);
    rendering
}

/// Labels of every object of a release. None of them changes between generations, so that selectors may use them.
pub(in crate::operator) fn labels(input: &Input<'_>) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", input.release.owner.component.as_str()),
        ("app.kubernetes.io/instance", input.name),
        ("app.kubernetes.io/part-of", input.project),
        ("app.kubernetes.io/managed-by", MANAGER),
        ("pdp-agent.dev/component", input.release.owner.component.as_str()),
        ("pdp-agent.dev/track", input.release.owner.track.as_str()),
        (DATA_PLANE, input.data_plane),
        (ENVIRONMENT, input.environment),
        (RELEASE, input.name),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// The head of an object of the release.
fn head(input: &Input<'_>, kind: object::ObjectKind, name: &str) -> Value {
    object::head(kind, name, Some(input.namespace), &labels(input))
}

/// Sets a member, if there is a value for it.
fn set(object: &mut Value, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        object[key] = value;
    }
}

/// Name of the Service of one endpoint: `component-endpoint-vMAJOR-MINOR`, or `…-vMAJOR`. Where the words could be split in two ways, or would
/// be too long, it gets a hash.
#[must_use]
pub fn service_name(component: &str, endpoint: &Endpoint, version: &str) -> String {
    let version = version.replace('.', "-");
    let plain = format!("{component}-{}-{version}", endpoint.name);
    let starts_with_letter = plain.starts_with(|c: char| c.is_ascii_lowercase());
    let one_word = endpoint.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if one_word && starts_with_letter && plain.len() <= protocol::name::MAX_NAME {
        return plain;
    }
    joined(&[component, &endpoint.name, &version], protocol::name::MAX_NAME)
}

#[cfg(test)]
mod tests;
