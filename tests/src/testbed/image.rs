//! Container images of one layer made from files, as OCI layouts that skopeo and containerd read.
//!
//! The same input gives the same digest: the layer has no times and no owners.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::process::{clean, run};
use super::{Error, files};

/// What an image holds and how it starts.
#[derive(Debug, Clone, Default)]
pub struct ImageSpec {
    /// Files of the machine and their absolute path in the image, where they are executable and owned by root.
    pub files: Vec<(PathBuf, String)>,
    /// Program and arguments.
    pub entrypoint: Vec<String>,
    /// Environment as `KEY=value`.
    pub env: Vec<String>,
    /// Numeric user, `65532:65532` unless told.
    pub user: Option<String>,
}

impl ImageSpec {
    /// An image from scratch that holds one static binary as its entrypoint.
    #[must_use]
    pub fn binary(file: &Path, name: &str) -> Self {
        let place = format!("/{name}");
        Self { files: vec![(file.to_owned(), place.clone())], entrypoint: vec![place], ..Self::default() }
    }

    /// Adds a variable to the image's environment.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push(format!("{key}={value}"));
        self
    }
}

/// An image on disk.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Folder in OCI image layout.
    pub folder: PathBuf,
    /// Digest of its manifest, `sha256:…`.
    pub digest: String,
}

/// Writes the image into `folder`, which is made anew. `reference` is its name when it is imported without a registry.
///
/// # Errors
/// A file cannot be read, or `tar` fails.
pub async fn build(spec: &ImageSpec, reference: &str, folder: &Path) -> Result<Layout, Error> {
    files::remove_folder(folder)?;
    let blobs = folder.join("blobs/sha256");
    files::make_folder(&blobs)?;
    let stage = tempfile::tempdir().map_err(Error::io("create", std::env::temp_dir()))?;
    for (source, place) in &spec.files {
        let target = stage.path().join(place.trim_start_matches('/'));
        if let Some(parent) = target.parent() {
            files::make_folder(parent)?;
        }
        std::fs::copy(source, &target).map_err(Error::io("read", source))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&target, mode).map_err(Error::io("write", &target))?;
    }
    let layer = folder.join("layer");
    let mut tar = clean("tar");
    tar.args([
        "--format=ustar",
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mtime=@0",
        "--mode=a+rX",
    ]);
    run("packing the layer", tar.arg("-C").arg(stage.path()).arg("-cf").arg(&layer).arg(".")).await?;
    let (layer_digest, layer_size) = digest_of_file(&layer)?;
    std::fs::rename(&layer, blobs.join(&layer_digest)).map_err(Error::io("move", &layer))?;

    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {
            "Entrypoint": spec.entrypoint,
            "Env": spec.env,
            "User": spec.user.as_deref().unwrap_or("65532:65532"),
            "WorkingDir": "/",
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_digest}")] },
    });
    let (config_digest, config_size) = write_blob(&blobs, &config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config_digest, config_size),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer_digest, layer_size)],
    });
    let (digest, size) = write_blob(&blobs, &manifest)?;
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &digest, size);
    if let Some(entry) = entry.as_object_mut() {
        let names = json!({ "org.opencontainers.image.ref.name": "image", "io.containerd.image.name": reference });
        entry.insert("annotations".to_owned(), names);
    }
    files::write(&folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    files::write(&folder.join("index.json"), json!({ "schemaVersion": 2, "manifests": [entry] }).to_string())?;
    Ok(Layout { folder: folder.to_owned(), digest: format!("sha256:{digest}") })
}

/// An image that was built before, if it is complete.
pub(crate) fn existing(folder: &Path) -> Option<Layout> {
    let index: serde_json::Value = files::read_json(&folder.join("index.json")).ok()?;
    let digest = index.pointer("/manifests/0/digest")?.as_str()?;
    Some(Layout { folder: folder.to_owned(), digest: digest.to_owned() })
}

fn descriptor(media_type: &str, digest: &str, size: u64) -> serde_json::Value {
    json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size })
}

fn write_blob(blobs: &Path, value: &serde_json::Value) -> Result<(String, u64), Error> {
    let bytes = value.to_string();
    let digest = hex(&Sha256::digest(&bytes));
    files::write(&blobs.join(&digest), &bytes)?;
    Ok((digest, bytes.len() as u64))
}

fn digest_of_file(path: &Path) -> Result<(String, u64), Error> {
    let mut file = std::fs::File::open(path).map_err(Error::io("read", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer).map_err(Error::io("read", path))?;
        let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else { break };
        hasher.update(part);
        size += count as u64;
    }
    Ok((hex(&hasher.finalize()), size))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_files_give_the_same_digest_and_other_files_another() {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("program");
        std::fs::write(&binary, "one").unwrap();
        let spec = ImageSpec::binary(&binary, "program");
        let first = build(&spec, "x:1", &folder.path().join("a")).await.unwrap();
        let second = build(&spec, "x:1", &folder.path().join("b")).await.unwrap();
        assert_eq!(first.digest, second.digest);
        assert_eq!(existing(&first.folder).unwrap().digest, first.digest);
        std::fs::write(&binary, "two").unwrap();
        let third = build(&spec, "x:1", &folder.path().join("c")).await.unwrap();
        assert_ne!(first.digest, third.digest);
    }
}
