//! The registry as a client sees it: pushing images and the credentials to pull them.

use std::path::Path;

use super::config;
use super::image::{self, ImageSpec, Layout};
use super::instance::REGISTRY;
use super::parts::inside;
use super::process::{clean, run};
use super::{Cache, Error, Instance, recipe};

/// Pushes an image and returns its reference by digest, as the cluster pulls it.
pub(crate) async fn push(instance: &Instance, layout: &Layout, name: &str) -> Result<String, Error> {
    let source = format!("oci:{}:image", layout.folder.display());
    copy(instance, &source, name).await?;
    Ok(format!("{REGISTRY}/{}@{}", repository(name), layout.digest))
}

/// Pushes a docker or OCI archive and returns its reference by digest.
pub(crate) async fn push_archive(instance: &Instance, archive: &Path, name: &str) -> Result<String, Error> {
    let mut last = None;
    for kind in ["oci-archive", "docker-archive"] {
        match copy(instance, &format!("{kind}:{}", archive.display()), name).await {
            Ok(digest) => return Ok(format!("{REGISTRY}/{}@{digest}", repository(name))),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or(Error::Kubernetes(format!("{} is no image archive", archive.display()))))
}

/// Copies with skopeo inside the cluster's namespaces, where the registry's name resolves. Returns the manifest's digest.
async fn copy(instance: &Instance, source: &str, name: &str) -> Result<String, Error> {
    let scratch = tempfile::tempdir_in(instance.path("run")).map_err(Error::io("create", instance.path("run")))?;
    let digest = scratch.path().join("digest");
    let authorities = scratch.path().join("certs");
    super::files::write(&authorities.join("ca.crt"), super::files::read(&config::authority(instance))?)?;
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

/// An image of the base set: how it is called in the cluster, what it holds.
pub(crate) struct Base {
    pub(crate) name: &'static str,
    pub(crate) reference: String,
    pub(crate) spec: ImageSpec,
}

/// Images that the node needs before it can pull.
pub(crate) fn node_images(cache: &Cache) -> Vec<Base> {
    let as_root =
        |recipe| ImageSpec { user: Some("0:0".to_owned()), ..ImageSpec::binary(&cache.file(recipe), recipe.name) };
    vec![
        Base { name: "pause", reference: "localhost/pause:1".into(), spec: as_root(&recipe::PAUSE) },
        Base {
            name: "coredns",
            reference: format!("localhost/coredns:{}", recipe::COREDNS),
            spec: as_root(&recipe::COREDNS_BINARY),
        },
    ]
}

/// Images that tests run, pushed to the registry.
pub(crate) fn samples(cache: &Cache) -> Vec<Base> {
    let httpbin = |recipe| {
        let mut spec = ImageSpec::binary(&cache.file(recipe), "go-httpbin");
        spec = spec.env("USE_FULL_VERSION", "true").env("HTTPBIN_ENV_VERSION", recipe.version);
        spec
    };
    let tagged = |version: &str| format!("samples/httpbin:{version}");
    vec![
        Base { name: "httpbin-1", reference: tagged(recipe::HTTPBIN[0]), spec: httpbin(&recipe::HTTPBIN_1) },
        Base { name: "httpbin-2", reference: tagged(recipe::HTTPBIN[1]), spec: httpbin(&recipe::HTTPBIN_2) },
        Base {
            name: "probe",
            reference: "samples/probe:1".into(),
            spec: ImageSpec::binary(&cache.file(&recipe::PROBE), "probe"),
        },
    ]
}

/// The image's layout in the cache, built on first use.
pub(crate) async fn layout(cache: &Cache, base: &Base, recipe_key: &str) -> Result<Layout, Error> {
    let folder = cache.root().join(format!("image-{recipe_key}"));
    match image::existing(&folder) {
        Some(layout) => Ok(layout),
        None => {
            let draft = cache.root().join(format!(".image-{recipe_key}-{}", std::process::id()));
            image::build(&base.spec, &base.reference, &draft).await?;
            super::files::remove_folder(&folder)?;
            std::fs::rename(&draft, &folder).map_err(Error::io("move", &draft))?;
            image::existing(&folder).ok_or_else(|| Error::Machine {
                problem: format!("the image in {} is not complete", folder.display()),
                fix: "remove that folder and run again".to_owned(),
            })
        }
    }
}
