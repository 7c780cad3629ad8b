//! The operator itself, in this process, with the token of its account in a real installation.

use pdp_agent::settings::Settings;
use tests::support::in_process::Running;

use super::account::Account;
use super::installation::Installation;

pub(crate) fn start(installation: &Installation, account: &Account) -> Running {
    let settings = Settings {
        namespace: installation.namespace.clone(),
        fullname: installation.name.clone(),
        agent: format!("{}.{}", installation.namespace, installation.name),
        admission_policies: true,
        admin_address: "127.0.0.1:0".parse().unwrap(),
        instance: "test".to_owned(),
    };
    Running::start(account.client(), settings)
}
