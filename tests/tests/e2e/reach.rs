//! What a program in a deployed pod reaches: a list of addresses, dialled from inside by one task, with and without egress. Each is
//! proved to answer somebody else first, so that none is closed for want of a listener.

use std::net::SocketAddr;

use anyhow::ensure;
use serde_json::{Value, json};
use tests::guest::Guest;
use tests::installation::{Installation, Pdpctl};
use tests::support::{LIMIT, agent};
use tests::testbed::{Sample, Side, Testbed, wait_until};
use tokio::net::TcpListener;

/// Where every pod finds the API server; no environment reaches it.
const API_SERVER: &str = "10.96.0.1:443";

/// What the test cluster has not: a database that listens on all addresses of its node, a cloud's metadata, the internet.
const ETCD: &str = "10.77.2.1:2379";
const METADATA: &str = "169.254.169.254:80";
const PUBLIC: &str = "203.0.113.7:443";

/// A private address beside the control plane's, and the range in the customer's policy that names it.
const NAMED: &str = "10.77.1.9:443";
const REACHABLE: &str = "10.77.1.9/32";

/// Who reaches an address: a pod that no policy holds, one of an environment without egress, one of an environment with it.
type Reached = [bool; 3];
const FREE_ONLY: Reached = [true, false, false];
const EVERYBODY: Reached = [true, true, true];
const WITH_EGRESS: Reached = [true, false, true];
const OWN: [Reached; 2] = [[false, true, false], [false, false, true]];
const NOBODY: Reached = [false; 3];

/// What it is, its address (or a name to look up), and who reaches it.
type Target = (String, String, Reached);

#[tokio::test]
async fn from_inside_a_pod_only_names_its_own_namespace_and_what_egress_opens_can_be_reached() {
    let bed = &agent().await.bed;
    let _listeners = listeners(bed).await;
    let ((guest, dev, open), (rival, foreign)) = tokio::join!(
        async {
            let guest = installed("reach", "acme").await;
            let project = format!("{}-p", guest.name);
            let place = guest.agent.environment(&project).await.unwrap();
            let more = ["create", "environment", "open", "--data-plane", &guest.name, "--egress"];
            place.cli.run(&more).await.unwrap();
            let namespace = Installation::ready(&place.cli, "open").await.unwrap();
            let open = Room { cli: place.cli.clone(), environment: "open", namespace };
            let dev = Room { cli: place.cli, environment: "dev", namespace: place.namespace };
            tokio::join!(dev.serves(bed), open.serves(bed));
            (guest, dev, open)
        },
        async {
            let rival = installed("rival", "rivals").await;
            let place = rival.agent.environment(&format!("{}-p", rival.name)).await.unwrap();
            let room = Room { cli: place.cli, environment: "dev", namespace: place.namespace };
            room.serves(bed).await;
            (rival, room)
        },
    );
    let mut targets = fixed(bed).await;
    for (room, title, reached) in [
        (&dev, "the environment without egress", OWN[0]),
        (&open, "the environment with egress", OWN[1]),
        (&foreign, "another organization's environment", NOBODY),
    ] {
        targets.push((format!("Service of {title}"), room.service(bed).await, reached));
        targets.push((
            format!("pod of {title}"),
            address(bed, &room.namespace, "pdp-agent.dev/component=web", 8080).await,
            reached,
        ));
    }
    for role in ["link", "operator"] {
        let label = format!("app.kubernetes.io/component={role}");
        targets.push((format!("admin port of the {role}"), address(bed, &guest.name, &label, 8081).await, NOBODY));
    }
    // What no other pod reaches answers the node, from where probes come.
    for (title, address, _) in targets.iter().filter(|(_, _, [free, ..])| !free) {
        let address: SocketAddr = address.parse().unwrap();
        let connected = tokio::time::timeout(LIMIT, bed.connect(Side::Cluster, address)).await.unwrap();
        assert!(connected.is_ok(), "nobody listens at {title}: {address}: {connected:?}");
    }

    let free = format!("{}-free", guest.name);
    let seen = tokio::join!(unconfined(bed, &free, &targets), dev.reaches(bed, &targets), open.reaches(bed, &targets));
    let mut wrong = Vec::new();
    for (who, (name, seen)) in
        [("a pod without policies", seen.0), ("no egress", seen.1), ("egress", seen.2)].into_iter().enumerate()
    {
        for (title, address, reached) in &targets {
            let word = seen.lines().find_map(|line| line.strip_prefix(&format!("{address} ")));
            let is = word.unwrap_or_else(|| panic!("{name}: nothing of {title}: {seen}"));
            if (is == "open") != reached[who] {
                wrong.push(format!("{name}: {title} ({address}) is {is}"));
            }
        }
        // A pod that nobody confined is given one by default, which proves that it would be found.
        if seen.lines().any(|line| line.starts_with("token ")) != (who == 0) {
            wrong.push(format!("{name}: tokens in {seen}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    rival.close().await;
    guest.close().await;
    // The node has little room, and nobody removes environments whose agent is gone.
    let left = [&free, &dev.namespace, &open.namespace, &foreign.namespace].map(String::as_str);
    bed.kubectl(&[&["delete", "namespace", "--wait=false"][..], &left].concat()).await.unwrap();
}

/// Listeners for what the test cluster has not. They answer as long as they are held.
async fn listeners(bed: &Testbed) -> Vec<TcpListener> {
    let mut listeners = Vec::new();
    for (side, address) in
        [(Side::Cluster, ETCD), (Side::Cluster, METADATA), (Side::ControlPlane, PUBLIC), (Side::ControlPlane, NAMED)]
    {
        listeners.push(bed.listen(side, address.parse().unwrap()).await.unwrap());
    }
    listeners
}

/// Addresses that do not depend on what is deployed.
async fn fixed(bed: &Testbed) -> Vec<Target> {
    let coredns = |port| address(bed, "kube-system", "k8s-app=kube-dns", port);
    [
        ("the API server's Service", API_SERVER, FREE_ONLY),
        ("the API server on its host", "10.77.2.1:6443", FREE_ONLY),
        ("the API server by another address of its host", "10.77.1.2:6443", FREE_ONLY),
        ("the kubelet", "10.77.2.1:10250", FREE_ONLY),
        ("the kubelet by the node's address among pods", "10.244.0.1:10250", FREE_ONLY),
        ("the vault", "10.77.2.1:8200", FREE_ONLY),
        ("the registry", "10.77.2.1:5000", FREE_ONLY),
        ("etcd", ETCD, FREE_ONLY),
        ("a cloud's metadata", METADATA, FREE_ONLY),
        ("the control plane, a private address that is not named", "10.77.1.1:8443", FREE_ONLY),
        ("a private address that reachableRanges names", NAMED, WITH_EGRESS),
        ("a public address", PUBLIC, WITH_EGRESS),
        ("the cluster's DNS", "10.96.0.10:53", EVERYBODY),
        ("a pod of the cluster's DNS", &coredns(53).await, EVERYBODY),
        ("a name of the cluster", "kubernetes.default.svc.cluster.local", EVERYBODY),
        ("a name outside of it", "control-plane.test", EVERYBODY),
        ("metrics of the cluster's DNS", &coredns(9153).await, FREE_ONLY),
        ("health of the cluster's DNS", &coredns(8080).await, FREE_ONLY),
        ("readiness of the cluster's DNS", &coredns(8181).await, FREE_ONLY),
    ]
    .map(|(title, address, reached)| (title.to_owned(), address.to_owned(), reached))
    .into()
}

/// An installation of an organization, whose policy names a private range.
async fn installed(name: &str, organization: &str) -> Guest {
    let (mut guest, token) = Guest::of(name, organization).await;
    let policy = json!({
        "environments": [{ "organization": guest.agent.options.organization }], "limits": null, "reachableRanges": [REACHABLE],
    });
    guest.install(Some(&token), json!({ "policy": policy })).await;
    guest.connects().await;
    guest
}

/// One environment of a project.
struct Room {
    cli: Pdpctl,
    environment: &'static str,
    namespace: String,
}

impl Room {
    /// Deploys something that listens.
    async fn serves(&self, bed: &Testbed) {
        let endpoint = json!([{"name": "http", "port": 8080, "kind": "HTTP"}]);
        let more = json!({"name": "web", "type": "Service", "image": bed.sample(Sample::HttpbinOld).unwrap(), "endpoints": endpoint,
            "security": {"runAsUser": 65532}, "resources": {"cpuRequest": "10m"}});
        self.deploy(more).await;
    }

    async fn deploy(&self, mut component: Value) {
        component["apiVersion"] = "pdp-agent.dev/v1alpha1".into();
        component["kind"] = "Component".into();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("component.yaml");
        std::fs::write(&path, component.to_string()).unwrap();
        let path = path.to_string_lossy();
        let args = ["deploy", "-f", &path, "--environment", self.environment, "--wait", "--timeout", "120s"];
        self.cli.run(&args).await.unwrap();
    }

    /// Address of its Service.
    async fn service(&self, bed: &Testbed) -> String {
        let path = "jsonpath={.items[0].spec.clusterIP}:{.items[0].spec.ports[0].port}";
        bed.kubectl(&["-n", &self.namespace, "get", "services", "-o", path]).await.unwrap()
    }

    /// What a task in it says of the targets, once the network of its pod is closed.
    async fn reaches(&self, bed: &Testbed, targets: &[Target]) -> String {
        let image = bed.sample(Sample::Probe).unwrap();
        let args = [&["reach", "-closed", API_SERVER][..], &addresses(targets)].concat();
        self.deploy(json!({"name": "reach", "type": "ManualTask", "image": image, "args": args, "resources": {"cpuRequest": "10m"}})).await;
        self.cli
            .run(&["run", "reach", "--environment", self.environment, "--wait", "--timeout", "120s"])
            .await
            .unwrap();
        let logs = ["-n", &self.namespace, "logs", "-l", "pdp-agent.dev/component=reach", "--tail=-1"];
        bed.kubectl(&logs).await.unwrap()
    }
}

/// What a pod says that nobody confined.
async fn unconfined(bed: &Testbed, namespace: &str, targets: &[Target]) -> String {
    bed.kubectl(&["create", "namespace", namespace]).await.unwrap();
    bed.pull_secret(namespace, "registry").await.unwrap();
    let image = bed.sample(Sample::Probe).unwrap();
    let args = [&["reach"][..], &addresses(targets)].concat();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "free", "namespace": namespace},
        "spec": {
            "restartPolicy": "Never", "imagePullSecrets": [{"name": "registry"}],
            "containers": [{"name": "main", "image": image, "args": args}],
        },
    })
    .to_string();
    // The namespace's account may not be there yet.
    wait_until(LIMIT, "the pod to be made", || bed.apply(&pod)).await.unwrap();
    wait_until(LIMIT, "the pod to have ended", || async {
        let phase = bed.kubectl(&["-n", namespace, "get", "pod", "free", "-o", "jsonpath={.status.phase}"]).await?;
        ensure!(phase == "Succeeded", "{phase}");
        Ok::<_, anyhow::Error>(())
    })
    .await
    .unwrap();
    bed.kubectl(&["-n", namespace, "logs", "free"]).await.unwrap()
}

fn addresses(targets: &[Target]) -> Vec<&str> {
    targets.iter().map(|(_, address, _)| address.as_str()).collect()
}

/// Address of the first pod with this label.
async fn address(bed: &Testbed, namespace: &str, label: &str, port: u16) -> String {
    let get = ["-n", namespace, "get", "pods", "-l", label, "-o", "jsonpath={.items[0].status.podIP}"];
    format!("{}:{port}", bed.kubectl(&get).await.unwrap())
}
