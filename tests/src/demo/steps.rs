//! The steps of the demo, in order. Each reads as what a person does and ends with what it proved.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::Screen;
use super::commands::enrolled;
use crate::installation::{ControlPlane, Installation, Options, Pdpctl, artifacts};
use crate::load::beside;
use crate::testbed::{Cut, Sample, Side, Testbed, wait_until};

const ORGANIZATION: &str = "acme";
const PROJECT: &str = "shop";
const STEPS: usize = 10;

/// What the steps hand on to each other.
#[derive(Debug)]
pub struct Demo {
    pub(super) screen: Screen,
    instance: String,
    /// A demo was up already: it is continued, and never removed.
    standing: bool,
}

/// The service as the customer's network reaches it.
#[derive(Debug, Clone)]
struct Service {
    namespace: String,
    address: std::net::SocketAddr,
    deployment: String,
}

impl Demo {
    /// A demo on the test cluster of this name.
    #[must_use]
    pub fn new(instance: &str) -> Self {
        let standing = Testbed::attach(instance).is_ok();
        Self { screen: Screen::new(STEPS), instance: instance.to_owned(), standing }
    }

    /// Whether it goes on with a demo that was left up.
    #[must_use]
    pub const fn goes_on(&self) -> bool {
        self.standing
    }

    /// Plays all steps. Not cancel safe: the caller removes the test cluster when it drops this.
    ///
    /// # Errors
    /// The first step that fails, with what was said.
    pub async fn play(&mut self) -> Result<()> {
        if self.standing {
            self.screen.say(&format!(
                "A demo is up already ({}): going on with its cluster, its control plane and its agent. `make demo FRESH=1` removes it and begins anew.",
                self.instance
            ));
        }
        let bed = self.cluster().await?;
        let image = self.image(&bed).await?;
        let plane = self.control_plane(&bed).await?;
        let agent = self.agent(&bed, &plane, image).await?;
        let cli = plane.pdpctl().within(ORGANIZATION, PROJECT);
        let namespace = self.organization(&bed, &cli, &agent).await?;
        let service = self.deploy(&bed, &cli, namespace).await?;
        self.logs(&bed, &cli, &service).await?;
        self.update_under_load(&bed, &cli, &service).await?;
        self.repair_while_cut(&bed, &cli, &service).await?;
        self.reconnect(&bed, &cli, &agent, &service).await?;
        self.next(&bed, &agent)
    }

    async fn cluster(&mut self) -> Result<Testbed> {
        self.screen.step("The customer's side: a Kubernetes cluster, a registry, a vault, a firewall");
        let program = artifacts::binary("testbed");
        self.screen.command(&format!("testbed --name {} up", self.instance));
        let mut command = Command::new(program);
        command.args(["--name", &self.instance, "up", "--yes"]);
        self.stream(command).await?;
        let bed = Testbed::attach(&self.instance)?;
        // A demo that was stopped while the link was cut.
        bed.restore_link().await?;
        let version =
            bed.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].status.nodeInfo.kubeletVersion}"]).await?;
        // The API server listens on all addresses of the node; only the firewall is in the way.
        let inward = bed.connect(Side::ControlPlane, "10.77.1.2:6443".parse()?);
        let refused =
            tokio::time::timeout(Duration::from_millis(1500), inward).await.map_or(true, |open| open.is_err());
        ensure!(refused, "a connection into the customer's network was not stopped by its firewall");
        self.screen.proves(&format!(
            "Kubernetes {version} runs in a network that nobody outside can connect into: tried from the control plane's network, dropped"
        ));
        Ok(bed)
    }

    async fn image(&mut self, bed: &Testbed) -> Result<String> {
        self.screen.step("The agent's image, pushed to the customer's registry");
        self.screen.command("testbed image push pdp-agent:demo target/debug/pdp-agent");
        let folder = tempfile::tempdir()?;
        let spec = artifacts::dynamic_image(&artifacts::binary("pdp-agent"), folder.path()).await;
        let reference = bed.push_image(&spec, "pdp-agent:demo").await?;
        self.screen.output(&reference);
        self.screen.proves(
            "nothing in it but this checkout's agent as compiled for tests, the C library and CA roots; deployed by digest. \
             `make image` makes the one that ships: static, from scratch, under 10 MB",
        );
        Ok(reference)
    }

    async fn control_plane(&mut self, bed: &Testbed) -> Result<ControlPlane> {
        self.screen.step("The control plane: somebody else's, across the firewall");
        let state = bed.instance()?.path("control-plane-state");
        // An enrolled agent stays with its control plane and would not use another one's token.
        if state.exists() && !enrolled(bed).await? {
            std::fs::remove_dir_all(&state)?;
        }
        self.screen.command("control-plane-mock serve --listen 10.77.1.1:8443 --store store.db");
        let plane = ControlPlane::start(bed, &state, &[]).await?;
        self.screen.proves("it answers in its own network, with a CA of its own");
        Ok(plane)
    }

    async fn agent(&mut self, bed: &Testbed, plane: &ControlPlane, image: String) -> Result<Installation> {
        self.screen.step("Enrol: one token, one Helm chart");
        let options = Options {
            namespace: "pdp-agent".to_owned(),
            release: "pdp-agent".to_owned(),
            organization: ORGANIZATION.to_owned(),
            data_plane: "berlin".to_owned(),
            image,
            values: String::new(),
        };
        self.screen.command(&format!("pdpctl create organization {ORGANIZATION}"));
        self.screen.command("pdpctl create data-plane berlin");
        let agent = Installation { bed: bed.clone(), control_plane: plane.clone(), options };
        let token = agent.token().await?;
        self.screen.output(match token {
            Some(_) => "one-time token, good for an hour and for this data plane only",
            None => "enrolled already: no token is needed, the chart is upgraded",
        });
        agent.prepare_namespace().await?;
        self.screen.command(
            "helm install pdp-agent helm/pdp-agent -n pdp-agent --set controlPlane.url=https://control-plane.test:8443 \
             --set enrolment.token=… --set-file controlPlane.caBundle=ca.crt",
        );
        agent.helm_install(token.as_deref()).await?;
        agent.connected(Duration::from_secs(60)).await?;
        let cli = plane.pdpctl().within(ORGANIZATION, "");
        self.show(&cli, &["get", "data-plane", "berlin"]).await?;
        self.screen.proves("the agent made its own key, dialled out and is connected; no port was opened");
        Ok(agent)
    }

    async fn organization(&mut self, bed: &Testbed, cli: &Pdpctl, agent: &Installation) -> Result<String> {
        self.screen.step("A project with two environments, and a secret that never leaves the customer's vault");
        self.create(cli, &["project", PROJECT], &[]).await?;
        for environment in ["dev", "prod"] {
            self.create(cli, &["environment", environment], &["--data-plane", &agent.options.data_plane]).await?;
        }
        let mut namespaces = Vec::new();
        for environment in ["dev", "prod"] {
            let namespace = wait_until(Duration::from_secs(60), "the environment to be ready", || async {
                let status = cli.json(&["status", "--environment", environment]).await?;
                let rows = status.as_array().context("status is no list")?;
                let row = rows.iter().find(|row| row.get("kind").and_then(Value::as_str) == Some("Environment"));
                let ready = row.filter(|row| row.get("phase").and_then(Value::as_str) == Some("Ready"));
                let namespace = ready.and_then(|row| row.pointer("/state/namespace")).and_then(Value::as_str);
                namespace.map(str::to_owned).with_context(|| status.to_string())
            })
            .await?;
            namespaces.push(namespace);
        }
        let namespace = namespaces.first().context("no environment")?.clone();
        self.screen.command(&format!("bao kv put secret/{namespace}/httpbin api-token=…"));
        let secret = serde_json::json!({ "api-token": "demo-token-3b1f" });
        bed.vault_put(&format!("{namespace}/httpbin"), secret).await?;
        self.show_kubectl(bed, &["get", "namespaces", "-l", "pdp-agent.dev/environment"]).await?;
        self.screen.proves("each environment is a namespace of its own, closed to the other; the vault lets each read its own secrets only");
        Ok(namespace)
    }

    async fn deploy(&mut self, bed: &Testbed, cli: &Pdpctl, namespace: String) -> Result<Service> {
        self.screen.step("Deploy: go-httpbin with configuration and the secret");
        self.deploy_version(bed, cli, Sample::HttpbinOld).await?;
        let list = bed.kubectl(&["get", "services", "-n", &namespace, "-o", "json"]).await?;
        let list: Value = serde_json::from_str(&list)?;
        let service = list.pointer("/items/0").context("the namespace has no Service")?;
        let ip = service.pointer("/spec/clusterIP").and_then(Value::as_str).context("the Service has no address")?;
        let port = service.pointer("/spec/ports/0/port").and_then(Value::as_u64).context("the Service has no port")?;
        let deployment = bed.kubectl(&["get", "deployments", "-n", &namespace, "-o", "name"]).await?.trim().to_owned();
        let service = Service { namespace, address: format!("{ip}:{port}").parse()?, deployment };
        self.screen.command(&format!("curl http://{}/env", service.address));
        let env = get(bed, &service, "/env").await?;
        ensure!(env.contains("hello from dev"), "the configuration did not reach the process: {env}");
        ensure!(env.contains("demo-token-3b1f"), "the secret did not reach the process");
        self.screen.output(
            "HTTPBIN_ENV_GREETING=hello from dev, HTTPBIN_ENV_API_TOKEN=(the vault's value, compared, not shown)",
        );
        self.screen.proves("ready means that it answers: configuration and secret are in the process");
        Ok(service)
    }

    async fn logs(&mut self, bed: &Testbed, cli: &Pdpctl, service: &Service) -> Result<()> {
        self.screen.step("Logs, through the same outbound link");
        let args = ["logs", "httpbin", "--environment", "dev", "-f", "--tail", "3"];
        self.screen.command(&format!("pdpctl {}", args.join(" ")));
        let mut follower = cli.command(&args).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(follower.stdout.take().context("no output")?).lines();
        let marker = format!("/status/200?word={}", uuid::Uuid::new_v4().simple());
        let asked = Instant::now();
        let seen = async {
            let mut shown = 0;
            while let Some(line) = lines.next_line().await? {
                if shown < 6 || line.contains(&marker) {
                    shown += 1;
                    self.screen.output(&line);
                }
                if line.contains(&marker) {
                    return Ok(asked.elapsed());
                }
            }
            bail!("the stream of logs ended before the line came")
        };
        let ask = async {
            get(bed, service, &marker).await?;
            Ok::<_, anyhow::Error>(())
        };
        let (took, asked) = tokio::join!(tokio::time::timeout(Duration::from_secs(20), seen), ask);
        asked?;
        let took = took.context("the line did not come within 20 s")??;
        follower.kill().await?;
        self.screen.proves(&format!(
            "a request's log line is at the console {:.0} ms after the request",
            took.as_secs_f64() * 1000.0
        ));
        Ok(())
    }

    async fn update_under_load(&mut self, bed: &Testbed, cli: &Pdpctl, service: &Service) -> Result<()> {
        self.screen.step("Update to the second version while requests keep coming, none repeated");
        let kept = beside::start(bed, service.address, true)?;
        let single = beside::start(bed, service.address, false)?;
        let deployed = self.deploy_version(bed, cli, Sample::HttpbinNew).await;
        // Old pods may still drain: the load goes on until the last of them is gone.
        wait_until(Duration::from_secs(90), "the old pods to be gone", || async {
            let phases =
                ["get", "pods", "-n", &service.namespace, "-o", "jsonpath={.items[*].metadata.deletionTimestamp}"];
            let leaving = bed.kubectl(&phases).await?;
            ensure!(leaving.trim().is_empty(), "still leaving: {leaving}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        let (kept, single) = (beside::finish(kept).await?, beside::finish(single).await?);
        deployed?;
        let mut rate = 0.0;
        for (name, report) in [("100 requests a connection", &kept), ("a connection a request", &single)] {
            rate += report.requests as f64 / report.seconds;
            let answers: Vec<String> = report.answers.iter().map(|(mark, count)| format!("{mark} {count}")).collect();
            self.screen.output(&format!(
                "{name}: {} requests, {} failures; {}; p99 {:.0} ms",
                report.requests,
                report.failures,
                answers.join(", "),
                report.p99_ms,
            ));
            ensure!(report.failures == 0, "requests failed during the update: {:?}", report.reasons);
            for sample in [Sample::HttpbinOld, Sample::HttpbinNew] {
                let version = Testbed::sample_version(sample);
                ensure!(report.answers.contains_key(version), "version {version} never answered: {:?}", report.answers);
            }
        }
        // A busy machine sends fewer; that none is lost means something as long as there are enough.
        ensure!(rate >= 20.0, "only {rate:.0} requests a second were sent");
        let all = kept.requests + single.requests;
        self.screen.proves(&format!("{all} requests at {rate:.0} a second, 0 failures, both versions answered"));
        Ok(())
    }

    async fn repair_while_cut(&mut self, bed: &Testbed, cli: &Pdpctl, service: &Service) -> Result<()> {
        self.screen.step("Cut the link, then break something");
        self.screen.command(&format!("testbed --name {} link cut --how drop", self.instance));
        bed.cut_link(Cut::Drop).await?;
        let before = uid(bed, service).await?;
        self.screen.command(&format!("kubectl delete {} -n {}", service.deployment, service.namespace));
        bed.kubectl(&["delete", &service.deployment, "-n", &service.namespace, "--wait=false"]).await?;
        let deleted = Instant::now();
        wait_until(Duration::from_secs(60), "the Deployment to be made again", || async {
            let now = uid(bed, service).await?;
            ensure!(now != before, "it is still the old one");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        let made = deleted.elapsed();
        // The deleted Deployment's pods drain for a while: only a ready pod of the new one is an answer.
        let ready = ["get", &service.deployment, "-n", &service.namespace, "-o", "jsonpath={.status.readyReplicas}"];
        wait_until(Duration::from_secs(90), "a new pod to be ready", || async {
            let count = bed.kubectl(&ready).await?;
            ensure!(count.trim().parse().is_ok_and(|count: u32| count > 0), "no pod is ready");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        get(bed, service, "/version").await?;
        self.screen.output(&format!(
            "made again after {:.1} s, its pods ready after {:.1} s",
            made.as_secs_f64(),
            deleted.elapsed().as_secs_f64()
        ));
        wait_until(Duration::from_secs(60), "the control plane to notice the silence", || async {
            let plane = cli.json(&["get", "data-plane", "berlin"]).await?;
            let status = plane.get("status").and_then(Value::as_str).unwrap_or_default();
            ensure!(status == "Disconnected", "it says {status}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        self.show(cli, &["get", "data-plane", "berlin"]).await?;
        self.screen
            .proves("the cluster was repaired from what it holds itself, without control plane and without vault");
        Ok(())
    }

    async fn reconnect(&mut self, bed: &Testbed, cli: &Pdpctl, agent: &Installation, service: &Service) -> Result<()> {
        self.screen.step("Restore the link: both sides compare, and agree");
        self.screen.command(&format!("testbed --name {} link restore", self.instance));
        bed.restore_link().await?;
        let restored = Instant::now();
        agent.connected(Duration::from_secs(90)).await?;
        let connected = restored.elapsed();
        let expected = get(bed, service, "/version").await?;
        wait_until(Duration::from_secs(30), "the state at the control plane to be the truth", || async {
            let status = cli.json(&["status", "httpbin", "--environment", "dev"]).await?;
            let rows = status.as_array().context("status is no list")?;
            let row = rows
                .iter()
                .find(|row| row.get("kind").and_then(Value::as_str) == Some("Release"))
                .context("no release")?;
            let phase = row.get("phase").and_then(Value::as_str).unwrap_or_default();
            ensure!(phase == "Ready", "it says {phase}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        ensure!(expected.contains(Testbed::sample_version(Sample::HttpbinNew)), "the old version answers: {expected}");
        self.show(cli, &["status", "--environment", "dev"]).await?;
        self.screen.proves(&format!(
            "connected {:.1} s after the cable was back; the last state is the truth",
            connected.as_secs_f64()
        ));
        Ok(())
    }

    fn next(&self, bed: &Testbed, agent: &Installation) -> Result<()> {
        self.screen.summary();
        self.screen.say("");
        self.screen.say("All of it is still up. What to try next:");
        let cli = agent.control_plane.pdpctl();
        let folder = artifacts::binary("");
        let file = bed.instance()?.path("env");
        let exports = [
            format!("export PATH={}:$PATH", folder.to_string_lossy().trim_end_matches('/')),
            format!("eval \"$(testbed --name {} env)\"", self.instance),
            format!("export PDPCTL_SERVER={} PDPCTL_CA_FILE={}", cli.server, cli.ca.display()),
            format!("export PDPCTL_TOKEN_FILE={}", cli.token.display()),
            format!("export PDPCTL_ORGANIZATION={ORGANIZATION} PDPCTL_PROJECT={PROJECT}\n"),
        ];
        std::fs::write(&file, exports.join("\n")).with_context(|| format!("write {}", file.display()))?;
        for (line, why) in [
            (format!("source {}", file.display()).as_str(), ""),
            ("pdpctl status", ""),
            ("pdpctl logs httpbin --environment dev -f", ""),
            ("pdpctl rollback httpbin --environment dev --wait", ""),
            (
                "pdpctl deploy -f config/samples/httpbin.yaml --environment dev --set image=nginx:1.27",
                "refused, and why",
            ),
            ("kubectl get pdp -n pdp-agent", "the queue: all that the agent holds"),
            ("make demo-down", ""),
        ] {
            self.screen.command(line);
            if !why.is_empty() {
                self.screen.output(why);
            }
        }
        Ok(())
    }
}

async fn uid(bed: &Testbed, service: &Service) -> Result<String> {
    let path = "jsonpath={.metadata.uid}";
    Ok(bed.kubectl(&["get", &service.deployment, "-n", &service.namespace, "-o", path]).await?)
}

async fn get(bed: &Testbed, service: &Service, path: &str) -> Result<String> {
    crate::installation::get(bed, service.address, path).await
}
