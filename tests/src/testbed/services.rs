//! The customer's services as tests use them: registry, sample images, vault.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config::{self, REGISTRY_USER, Record};
use super::vault::Vault;
use super::{Cache, Error, ImageSpec, Testbed, files, image, recipe, registry};

/// An image that is in the registry of every test cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// go-httpbin, the older version; `/version` and `/env` tell it. Listens on 8080.
    HttpbinOld,
    /// go-httpbin, the newer version.
    HttpbinNew,
    /// A client for use inside pods: `probe get URL`, `probe dial HOST:PORT`, `probe reach TARGET…`, `probe load URL`, `probe sleep`.
    Probe,
}

/// Registry and images.
impl Testbed {
    /// Pushes an image made from files and returns its reference by digest. `name` is `repository:tag`.
    ///
    /// # Errors
    /// The image cannot be built or the registry does not take it.
    pub async fn push_image(&self, spec: &ImageSpec, name: &str) -> Result<String, Error> {
        let instance = self.own("its registry")?;
        let scratch = tempfile::tempdir().map_err(Error::io("create", std::env::temp_dir()))?;
        let layout = image::build(spec, name, &scratch.path().join("image")).await?;
        registry::push(instance, &layout, name).await
    }

    /// Pushes a docker or OCI archive and returns its reference by digest.
    ///
    /// # Errors
    /// The file is no archive, or the registry does not take it.
    pub async fn push_archive(&self, archive: &Path, name: &str) -> Result<String, Error> {
        registry::push_archive(self.own("its registry")?, archive, name).await
    }

    /// Reference by digest of an image that every test cluster has.
    ///
    /// # Errors
    /// The cluster is external.
    pub fn sample(&self, sample: Sample) -> Result<String, Error> {
        let instance = self.own("its sample images")?;
        let name = match sample {
            Sample::HttpbinOld => "httpbin-1",
            Sample::HttpbinNew => "httpbin-2",
            Sample::Probe => "probe",
        };
        Record::read(instance)?.samples.get(name).cloned().ok_or_else(|| Error::Instance {
            name: instance.name().to_owned(),
            problem: format!("it has no image {name}"),
            fix: "run `testbed up` again".to_owned(),
        })
    }

    /// What `/version` of a go-httpbin sample answers, as version number.
    #[must_use]
    pub const fn sample_version(sample: Sample) -> &'static str {
        match sample {
            Sample::HttpbinOld => recipe::HTTPBIN[0],
            Sample::HttpbinNew => recipe::HTTPBIN[1],
            Sample::Probe => "1",
        }
    }

    /// User and password at the registry.
    ///
    /// # Errors
    /// The cluster is external.
    pub fn registry_login(&self) -> Result<(String, String), Error> {
        let record = Record::read(self.own("its registry")?)?;
        Ok((REGISTRY_USER.to_owned(), record.registry_password))
    }

    /// Content of a `.dockerconfigjson` that may pull from the registry.
    ///
    /// # Errors
    /// The cluster is external.
    pub fn docker_config(&self) -> Result<String, Error> {
        Ok(config::docker_config(&Record::read(self.own("its registry")?)?))
    }

    /// Makes the Secret `name` of type `kubernetes.io/dockerconfigjson` in the namespace.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn pull_secret(&self, namespace: &str, name: &str) -> Result<(), Error> {
        let manifest = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": name, "namespace": namespace },
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": { ".dockerconfigjson": self.docker_config()? },
        });
        self.apply(&manifest.to_string()).await
    }

    /// The authority that signed the certificates of API server, registry and vault, PEM.
    ///
    /// # Errors
    /// The cluster is external.
    pub fn authority(&self) -> Result<String, Error> {
        files::read(&config::authority(self.own("its authority")?))
    }

    /// A client that trusts [`Self::authority`] and nothing else. Ten seconds for a request.
    ///
    /// # Errors
    /// The cluster is external.
    pub fn http_client(&self) -> Result<reqwest::Client, Error> {
        super::http_client(self.own("its authority")?)
    }

    /// Helm as the test bed built it, for use without a cluster. The file may not be there yet.
    #[must_use]
    pub fn helm_program() -> PathBuf {
        Cache::from_env().file(&recipe::HELM)
    }

    /// The program inside a sample image, for use on the host or in a namespace.
    #[must_use]
    pub fn sample_program(sample: Sample) -> PathBuf {
        let cache = Cache::from_env();
        cache.file(match sample {
            Sample::HttpbinOld => &recipe::HTTPBIN_1,
            Sample::HttpbinNew => &recipe::HTTPBIN_2,
            Sample::Probe => &recipe::PROBE,
        })
    }
}

impl Testbed {
    /// Writes a secret at `secret/<path>` (KV version 2). `data` is an object of strings.
    ///
    /// # Errors
    /// The vault refuses or does not answer.
    pub async fn vault_put(&self, path: &str, data: Value) -> Result<(), Error> {
        Vault::of(self.own("its vault")?)?.put(path, data).await
    }

    /// Any call of the vault's API with its root token; `path` is below `/v1/`.
    ///
    /// # Errors
    /// The vault refuses or does not answer.
    pub async fn vault_call(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Result<Value, Error> {
        Vault::of(self.own("its vault")?)?.call(method, path, body).await
    }

    /// The vault's root token.
    ///
    /// # Errors
    /// The cluster is external.
    pub fn vault_token(&self) -> Result<String, Error> {
        config::secret(&self.own("its vault")?.path("vault-root-token"))
    }

    /// Seals the vault: it answers 503 until [`Self::vault_unseal`].
    ///
    /// # Errors
    /// The vault does not answer.
    pub async fn vault_seal(&self) -> Result<(), Error> {
        Vault::of(self.own("its vault")?)?.seal().await
    }

    /// Unseals the vault and waits until it is active.
    ///
    /// # Errors
    /// The vault does not answer.
    pub async fn vault_unseal(&self) -> Result<(), Error> {
        Vault::of(self.own("its vault")?)?.unseal().await
    }
}
