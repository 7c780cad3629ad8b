//! How the demo runs what it shows: the command as a person would type it, and what it printed.

use anyhow::{Result, ensure};
use tokio::process::Command;

use super::Demo;
use super::programs::lines_of;
use crate::installation::{Pdpctl, artifacts};
use crate::testbed::{Sample, Testbed};

/// The component that is deployed.
const SAMPLE: &str = "config/samples/httpbin.yaml";

impl Demo {
    /// Deploys a version of the sample and shows how it goes.
    pub(super) async fn deploy_version(&self, bed: &Testbed, cli: &Pdpctl, sample: Sample) -> Result<()> {
        let image = format!("image={}", bed.sample(sample)?);
        let file = artifacts::file(SAMPLE);
        let version = Testbed::sample_version(sample);
        self.screen.command(&format!(
            "pdpctl deploy -f {SAMPLE} --set image=registry.customer.test:5000/httpbin@sha256:… --environment dev --wait   # {version}"
        ));
        let file = file.to_string_lossy();
        let mut command = cli.command(&[
            "deploy",
            "-f",
            &file,
            "--set",
            &image,
            "--environment",
            "dev",
            "--wait",
            "--timeout",
            "120s",
        ]);
        command.env("PDPCTL_PROGRESS", "plain");
        self.stream(command).await
    }

    /// Shows a `pdpctl` command, runs it and shows what it prints.
    pub(super) async fn show(&self, cli: &Pdpctl, args: &[&str]) -> Result<()> {
        self.screen.command(&format!("pdpctl {}", args.join(" ")));
        cli.run(args).await?.lines().for_each(|line| self.screen.output(line));
        Ok(())
    }

    /// Shows how an object of the control plane is made; one that is there already is shown itself.
    pub(super) async fn create(&self, cli: &Pdpctl, object: &[&str], more: &[&str]) -> Result<()> {
        let get = [&["get"], object].concat();
        if cli.ended(&get).await?.code == 0 {
            return self.show(cli, &get).await;
        }
        self.show(cli, &[&["create"], object, more].concat()).await
    }

    /// Shows a `kubectl` command, runs it and shows what it prints.
    pub(super) async fn show_kubectl(&self, bed: &Testbed, args: &[&str]) -> Result<()> {
        self.screen.command(&format!("kubectl {}", args.join(" ")));
        bed.kubectl(args).await?.lines().for_each(|line| self.screen.output(line));
        Ok(())
    }

    /// Runs a command and shows its lines as they come.
    pub(super) async fn stream(&self, command: Command) -> Result<()> {
        let status = lines_of(command, |line| self.screen.output(line)).await?;
        ensure!(status.success(), "the command above ended with {status}");
        Ok(())
    }

    /// Shows why the demo ended early.
    pub fn failed(&self, error: &anyhow::Error) {
        self.screen.error(&format!("{error:#}"));
    }

    /// Words outside of steps.
    pub fn say(&self, text: &str) {
        self.screen.say(text);
    }
}

/// Whether the cluster holds an agent's identity.
pub(super) async fn enrolled(bed: &Testbed) -> Result<bool> {
    let args =
        ["get", "secret", "pdp-agent-identity", "-n", "pdp-agent", "--ignore-not-found", "-o", "jsonpath={.data}"];
    Ok(!bed.kubectl(&args).await?.trim().is_empty())
}
