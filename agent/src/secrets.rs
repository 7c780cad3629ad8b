//! Where secret values come from: the one source that the customer's policy names.
//!
//! Values are read as the environment that they belong to, are wrapped at the first byte and go nowhere but into its Secret. A further
//! source is a variant of [`Source`] with its rows here, a file beside [`vault`], and a field of the policy.

use std::collections::BTreeMap;

use protocol::document::SecretRef;
use secrecy::{SecretSlice, SecretString};

use crate::kinds::{DataPlanePolicySpec, VaultPolicy};

pub mod vault;

use vault::{Vault, VaultError};

/// Whose secrets are read.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// Namespace of the environment.
    pub namespace: &'a str,
    /// Handle of the organization.
    pub organization: &'a str,
    /// Handle of the project.
    pub project: &'a str,
    /// Handle of the environment.
    pub environment: &'a str,
}

/// A source with its settings.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A KV engine of HashiCorp Vault or OpenBao.
    Vault(&'a VaultPolicy),
}

impl<'a> Source<'a> {
    /// What a policy without a source lacks, in sentences: "DataPlanePolicy names no vault".
    pub const LACKING: &'static str = "no vault";
    /// The settings of the policy that name a source.
    pub const SETTINGS: &'static str = "spec.vault";

    /// The source of `policy`, if it names one.
    #[must_use]
    pub fn of(policy: &'a DataPlanePolicySpec) -> Option<Self> {
        policy.vault.as_ref().map(Self::Vault)
    }

    /// How `doctor` finds out whether it can be used.
    #[must_use]
    pub fn endpoint(self) -> Endpoint<'a> {
        match self {
            Self::Vault(policy) => vault::endpoint(policy),
        }
    }
}

/// The HTTP server of a source, and its resource that says without an account whether it can be used.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint<'a> {
    /// What it is called in findings.
    pub server: &'static str,
    /// URL of the server.
    pub address: &'a str,
    /// Setting that holds the address.
    pub address_setting: &'static str,
    /// CA bundle, PEM; platform roots when left out.
    pub bundle: Option<&'a str>,
    /// Setting that holds the bundle.
    pub bundle_setting: &'static str,
    /// Path of the resource.
    pub health_path: &'static str,
    /// What a status code of the resource means.
    pub health: fn(u16) -> Health,
}

/// What a source says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It can be used; how, in a few words.
    Usable(&'static str),
    /// It cannot: why, and what to do.
    Unusable(&'static str, &'static str),
    /// The code is none of a source of this kind.
    Unknown,
}

/// Why secret values could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct SecretError {
    /// One word for a condition.
    pub reason: &'static str,
    /// The message of a condition, which the control plane reads too: nothing that only the customer knows.
    pub outside: String,
    /// All of it, for the operator's log. Never a value.
    pub detail: String,
}

/// What is kept of the sources between reads.
#[derive(Default)]
pub struct Sources {
    vault: Vault,
}

impl Sources {
    /// Reads every reference from the source of `policy`. `account` asks the cluster for a token of the environment's account with
    /// the audience that the source expects; it is called only when a source needs one.
    ///
    /// # Errors
    /// The policy names no source, or the first reference that could not be read. Cancel safe: nothing is written.
    pub async fn read<F, E>(
        &self,
        policy: &DataPlanePolicySpec,
        reader: &Reader<'_>,
        references: &BTreeMap<String, SecretRef>,
        account: impl Fn(String) -> F,
    ) -> Result<BTreeMap<String, SecretSlice<u8>>, SecretError>
    where
        F: Future<Output = Result<SecretString, E>>,
        E: std::fmt::Display,
    {
        match Source::of(policy) {
            Some(Source::Vault(policy)) => {
                let login = || account(policy.audience.clone());
                Ok(self.vault.read(policy, reader, references, login).await?)
            }
            // Admission refuses such a release; the policy may have changed since.
            None => Err(VaultError::Settings(format!("DataPlanePolicy names {}", Source::LACKING)).into()),
        }
    }
}
