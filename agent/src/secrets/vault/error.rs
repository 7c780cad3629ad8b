//! Why a secret could not be read: in full for the operator's log, and as much of it as the control plane may hear.

use crate::secrets::SecretError;

/// Why a secret could not be read.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The address or the CA bundle in the policy is wrong.
    #[error("the vault settings of DataPlanePolicy cannot be used: {0}; correct spec.vault")]
    Settings(String),
    /// No connection, no answer in time, TLS.
    #[error("the vault at {address} cannot be reached: {cause}")]
    Unreachable {
        /// As in the policy.
        address: String,
        /// What went wrong on the way.
        cause: String,
    },
    /// It is sealed or standing by.
    #[error("the vault at {address} is sealed or not active; it is asked again until it is unsealed")]
    Sealed {
        /// As in the policy.
        address: String,
    },
    /// It did not take the environment's account.
    #[error(
        "the vault at {address} refuses to log in ServiceAccount pdp-vault of namespace {namespace} with role {role} at {mount}; \
         bind that account and namespace to the role"
    )]
    Login {
        /// As in the policy.
        address: String,
        /// Of the environment.
        namespace: String,
        /// As in the policy.
        role: String,
        /// Mount of the auth method.
        mount: String,
    },
    /// The role may not read the path.
    #[error("the vault does not let role {role} read {mount}/{path}; extend its policy")]
    Denied {
        /// As in the policy.
        role: String,
        /// As in `secretRef.path`.
        asked: String,
        /// Mount of the engine.
        mount: String,
        /// With the environment's prefix.
        path: String,
    },
    /// Nothing is stored there.
    #[error("the vault has nothing at {mount}/{path}{version}; write it, or correct secretRef.path")]
    MissingPath {
        /// As in `secretRef.path`.
        asked: String,
        /// Mount of the engine.
        mount: String,
        /// With the environment's prefix.
        path: String,
        /// ` in version n`, if one was asked for.
        version: String,
    },
    /// The path has no such key.
    #[error("the vault has no key {key} at {mount}/{path}; write it, or correct secretRef.key")]
    MissingKey {
        /// As in `secretRef.path`.
        asked: String,
        /// As asked for.
        key: String,
        /// Mount of the engine.
        mount: String,
        /// With the environment's prefix.
        path: String,
    },
    /// Something else.
    #[error("the vault at {address} answered {doing} with status {code}")]
    Other {
        /// As in the policy.
        address: String,
        /// Login or read.
        doing: String,
        /// HTTP status, 0 when there was none.
        code: u16,
    },
    /// The cluster gave no token for the account.
    #[error("no token for ServiceAccount pdp-vault: {0}")]
    Account(String),
}

impl VaultError {
    /// The message of a condition, which the control plane reads too: nothing that only the customer knows, such as the vault's
    /// address, its mounts and prefixes, and the role. The error's own message has all of that, for the operator's log.
    #[must_use]
    pub fn outside(&self) -> String {
        const LOG: &str = "the operator's log says which and why, for the platform team";
        match self {
            Self::Settings(_) => format!("the vault settings of DataPlanePolicy cannot be used; {LOG}"),
            Self::Unreachable { .. } => format!("the vault cannot be reached; {LOG}"),
            Self::Sealed { .. } => {
                "the vault is sealed or not active; it is asked again until it is unsealed".to_owned()
            }
            Self::Login { .. } => {
                format!("the vault refuses to log in this environment's ServiceAccount pdp-vault; {LOG}")
            }
            Self::Denied { asked, .. } => {
                format!("the vault does not let this environment read secretRef.path {asked}; {LOG}")
            }
            Self::MissingPath { asked, version, .. } => {
                format!("the vault has nothing at secretRef.path {asked}{version}; write it, or correct secretRef.path")
            }
            Self::MissingKey { asked, key, .. } => {
                format!("the vault has no key {key} at secretRef.path {asked}; write it, or correct secretRef.key")
            }
            Self::Other { code, .. } => format!("the vault answered with status {code}; {LOG}"),
            Self::Account(_) => format!("the cluster gives no token for ServiceAccount pdp-vault; {LOG}"),
        }
    }

    /// One word for a condition.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Settings(_) => "VaultSettings",
            Self::Unreachable { .. } | Self::Other { .. } => "VaultUnavailable",
            Self::Sealed { .. } => "VaultSealed",
            Self::Login { .. } | Self::Denied { .. } => "VaultDenied",
            Self::MissingPath { .. } | Self::MissingKey { .. } => "SecretMissing",
            Self::Account(_) => "VaultAccount",
        }
    }
}

impl From<VaultError> for SecretError {
    fn from(error: VaultError) -> Self {
        Self { reason: error.reason(), outside: error.outside(), detail: error.to_string() }
    }
}
