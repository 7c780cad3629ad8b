//! `pdpctl` as tests and the demo run it, and the one question that has no command: the record of what the control plane received.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::process::Command;

use super::artifacts;

/// `pdpctl` as a person has it set up.
#[derive(Debug, Clone)]
pub struct Pdpctl {
    /// Address as the host reaches it.
    pub server: String,
    /// CA file.
    pub ca: PathBuf,
    /// File with the token.
    pub token: PathBuf,
    /// Organization of all commands.
    pub organization: Option<String>,
    /// Project of all commands.
    pub project: Option<String>,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Exit code; -1 after a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Pdpctl {
    /// The same, inside an organization and a project.
    #[must_use]
    pub fn within(&self, organization: &str, project: &str) -> Self {
        Self { organization: Some(organization.to_owned()), project: Some(project.to_owned()), ..self.clone() }
    }

    /// A command to be started by the caller.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(artifacts::binary("pdpctl"));
        command
            .env("PDPCTL_SERVER", &self.server)
            .env("PDPCTL_CA_FILE", &self.ca)
            .env("PDPCTL_TOKEN_FILE", &self.token)
            .args(args)
            .kill_on_drop(true);
        if let Some(organization) = &self.organization {
            command.env("PDPCTL_ORGANIZATION", organization);
        }
        if let Some(project) = &self.project {
            command.env("PDPCTL_PROJECT", project);
        }
        command
    }

    /// Runs a command to its end, whatever that is.
    ///
    /// # Errors
    /// It cannot be started, or takes longer than ten minutes.
    pub async fn ended(&self, args: &[&str]) -> Result<Ended> {
        let output = self.command(args).output();
        let output = tokio::time::timeout(Duration::from_secs(600), output).await??;
        Ok(Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a command that must succeed and returns its standard output.
    ///
    /// # Errors
    /// It fails; the error holds what it said.
    pub async fn run(&self, args: &[&str]) -> Result<String> {
        let ended = self.ended(args).await?;
        if ended.code != 0 {
            bail!("pdpctl {} ended with {}: {}{}", args.join(" "), ended.code, ended.stdout, ended.stderr);
        }
        Ok(ended.stdout)
    }

    /// Runs a command that must succeed with `-o json` and reads its output.
    ///
    /// # Errors
    /// It fails, or does not print JSON.
    pub async fn json(&self, args: &[&str]) -> Result<Value> {
        let text = self.run(&[args, &["-o", "json"]].concat()).await?;
        serde_json::from_str(&text).with_context(|| format!("pdpctl {}: not JSON: {text}", args.join(" ")))
    }

    /// What the control plane received and sent, oldest first; `query` as in `after=17&what=Renew`.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn record(&self, query: &str) -> Result<Vec<Value>> {
        let answer = self.admin(reqwest::Method::GET, &format!("record?{query}"), None).await?;
        Ok(serde_json::from_str(&answer)?)
    }

    /// Lets something go wrong at the control plane, or lets it lie: a `Scripted` of the mock.
    ///
    /// # Errors
    /// It does not answer, or knows no such fault.
    pub async fn fault(&self, fault: &Value) -> Result<()> {
        self.admin(reqwest::Method::POST, "faults", Some(fault)).await.map(drop)
    }

    async fn admin(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> Result<String> {
        // Another part of the process may have chosen it already; there is one in the whole tree.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let authority = reqwest::Certificate::from_pem(&std::fs::read(&self.ca)?)?;
        let http = reqwest::Client::builder().tls_certs_only([authority]).no_proxy().timeout(Duration::from_secs(20));
        let token = std::fs::read_to_string(&self.token)?;
        let request = http.build()?.request(method, format!("{}/api/v1/admin/{path}", self.server));
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        Ok(request.bearer_auth(token.trim()).send().await?.error_for_status()?.text().await?)
    }
}
