//! The registry as a client sees it: pushing images and the credentials to pull them.

use std::path::Path;
use std::time::Duration;

use prepare::Artifact;

use super::config;
use super::image::{self, ImageSpec, Layout};
use super::instance::REGISTRY;
use super::parts::inside;
use super::process::{clean, run};
use super::{Cache, Error, Instance, files, recipe, wait_until};

/// Pushes an image and returns its reference by digest, as the cluster pulls it.
pub(crate) async fn push(instance: &Instance, layout: &Layout, name: &str) -> Result<String, Error> {
    let source = format!("oci:{}:image", layout.folder.display());
    copy(instance, &source, name).await?;
    Ok(format!("{REGISTRY}/{}@{}", repository(name), layout.digest))
}

/// Pushes a docker or OCI archive and returns its reference by digest.
pub(crate) async fn push_archive(instance: &Instance, archive: &Path, name: &str) -> Result<String, Error> {
    // The program that reads it runs in another folder.
    let archive = std::fs::canonicalize(archive).map_err(Error::io("read", archive))?;
    let members = run("reading the archive", clean("tar").arg("-tf").arg(&archive)).await?;
    let is_oci = members.lines().any(|member| member.trim_start_matches("./") == "oci-layout");
    let kind = if is_oci { "oci-archive" } else { "docker-archive" };
    let digest = copy(instance, &format!("{kind}:{}", archive.display()), name).await?;
    Ok(format!("{REGISTRY}/{}@{digest}", repository(name)))
}

/// Copies with skopeo inside the cluster's namespaces, where the registry's name resolves. Returns the manifest's digest.
async fn copy(instance: &Instance, source: &str, name: &str) -> Result<String, Error> {
    let scratch = tempfile::tempdir_in(instance.path("run")).map_err(Error::io("create", instance.path("run")))?;
    let digest = scratch.path().join("digest");
    let authorities = scratch.path().join("certs");
    files::write(&authorities.join("ca.crt"), files::read(&config::authority(instance))?)?;
    let (words, _) = inside(instance)?;
    let mut command = clean("env");
    command.args(words).args(["skopeo", "--insecure-policy", "copy", "--quiet"]);
    if source.starts_with("oci:") {
        // Layers of ours are not compressed: their digest must stay what was computed.
        command.arg("--preserve-digests");
    }
    command.arg("--dest-cert-dir").arg(&authorities);
    command.arg("--dest-authfile").arg(instance.path("config/registry-auth.json"));
    command.arg("--digestfile").arg(&digest).arg(source).arg(format!("docker://{REGISTRY}/{name}"));
    run(&format!("pushing {name}"), &mut command).await?;
    config::secret(&digest)
}

/// The name without its tag.
fn repository(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(repository, _)| repository)
}

/// An image that the test bed makes itself.
pub(crate) struct Own {
    pub(crate) name: &'static str,
    /// How it is called: in full where it is imported, `repository:tag` where it is pushed.
    pub(crate) reference: String,
    pub(crate) spec: ImageSpec,
    /// Changes with its content; names its folder in the cache.
    pub(crate) key: String,
}

impl Own {
    pub(crate) fn of(cache: &Cache, artifact: &Artifact, reference: String, file: &str) -> Self {
        let spec = ImageSpec::binary(&cache.file(artifact), file);
        Self { name: artifact.name, reference, spec, key: artifact.key() }
    }

    pub(crate) fn running_as_root(mut self) -> Self {
        self.spec.user = Some("0:0".to_owned());
        self
    }
}

/// Images that the node needs before it can pull.
pub(crate) fn node_images(cache: &Cache) -> Vec<Own> {
    let coredns = format!("localhost/coredns:{}", recipe::COREDNS_VERSION);
    vec![
        Own::of(cache, &recipe::PAUSE, "localhost/pause:1".to_owned(), "pause").running_as_root(),
        Own::of(cache, &recipe::COREDNS, coredns, "coredns").running_as_root(),
    ]
}

/// Images that tests run, pushed to the registry.
pub(crate) fn samples(cache: &Cache) -> Vec<Own> {
    let httpbin = |artifact: &Artifact| {
        let version = artifact.recipe.version;
        let mut own = Own::of(cache, artifact, format!("samples/httpbin:{version}"), "go-httpbin");
        own.spec = own.spec.env("USE_FULL_VERSION", "true").env("HTTPBIN_ENV_VERSION", version);
        own
    };
    vec![
        httpbin(&recipe::HTTPBIN_1),
        httpbin(&recipe::HTTPBIN_2),
        Own::of(cache, &recipe::PROBE, "samples/probe:1".to_owned(), "probe"),
    ]
}

/// The image's layout in the cache, built on first use.
pub(crate) async fn layout(cache: &Cache, own: &Own) -> Result<Layout, Error> {
    let key = &own.key;
    let folder = cache.root().join(format!("image-{key}"));
    if let Some(layout) = image::existing(&folder) {
        return Ok(layout);
    }
    let draft = cache.root().join(format!(".image-{key}-{}", std::process::id()));
    image::build(&own.spec, &own.reference, &draft).await?;
    files::remove_folder(&folder)?;
    std::fs::rename(&draft, &folder).map_err(Error::io("move", &draft))?;
    image::existing(&folder).ok_or_else(|| Error::Machine {
        problem: format!("the image in {} is not complete", folder.display()),
        fix: "remove that folder and run again".to_owned(),
    })
}

/// Gives images to containerd without a registry; those it has are left alone.
pub(crate) async fn import(instance: &Instance, cache: &Cache, images: &[Own]) -> Result<(), Error> {
    let ctr = |args: &[&str]| -> Result<_, Error> {
        let mut command = clean("env");
        command.args(inside(instance)?.0).args(["ctr", "--namespace", "k8s.io", "images"]).args(args);
        Ok(command)
    };
    let present = wait_until(Duration::from_secs(20), "containerd to answer", async || {
        run("listing images", &mut ctr(&["ls", "-q"])?).await
    })
    .await?;
    for own in images.iter().filter(|own| !present.lines().any(|line| line == own.reference)) {
        let layout = layout(cache, own).await?;
        let archive = instance.path(&format!("run/{}.tar", own.name));
        let mut pack = clean("tar");
        pack.arg("-C").arg(&layout.folder).arg("-cf").arg(&archive).arg(".");
        run("packing an image", &mut pack).await?;
        let outcome = run("importing an image", ctr(&["import"])?.arg(&archive)).await;
        files::remove(&archive)?;
        outcome?;
    }
    Ok(())
}
