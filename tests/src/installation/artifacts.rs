//! Programs and files of this checkout.

use std::path::{Path, PathBuf};

use crate::testbed::ImageSpec;

/// A binary of this workspace beside the running one (`cargo build --workspace --bins` makes them all).
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let me = std::env::current_exe().unwrap_or_default();
    let folder = me.parent().unwrap_or_else(|| Path::new("."));
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    folder.join(name)
}

/// A file of the checkout that cargo runs, or of the working directory if that has it. The path that was compiled in may belong to
/// another checkout that shares the target directory.
#[must_use]
pub fn file(below: &str) -> PathBuf {
    let of = |member: &Path| member.parent().unwrap_or_else(|| Path::new(".")).join(below);
    if let Some(member) = std::env::var_os("CARGO_MANIFEST_DIR") {
        return of(Path::new(&member));
    }
    let here = std::env::current_dir().unwrap_or_default().join(below);
    if here.exists() { here } else { of(Path::new(env!("CARGO_MANIFEST_DIR"))) }
}

/// Where `make image` leaves the image of this checkout.
#[must_use]
pub fn image_archive() -> PathBuf {
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| file("target"), PathBuf::from);
    folder.join("pdp-agent.oci.tar")
}

/// An image of a binary that was linked on this machine, with the libraries that it needs. Without its lines of source, in
/// `scratch`, it is a third or less.
pub async fn dynamic_image(binary: &Path, scratch: &Path) -> ImageSpec {
    let stripped = scratch.join("pdp-agent");
    let done = tokio::process::Command::new("strip").arg("-o").arg(&stripped).arg(binary).status().await;
    let binary = if done.is_ok_and(|status| status.success()) { &stripped } else { binary };
    let mut spec = ImageSpec::binary(binary, "pdp-agent");
    for library in ["x86_64-linux-gnu/libc.so.6", "x86_64-linux-gnu/libm.so.6", "x86_64-linux-gnu/libgcc_s.so.1"] {
        spec.files.push((format!("/lib/{library}").into(), format!("/lib/{library}")));
    }
    let loader = "/lib64/ld-linux-x86-64.so.2";
    spec.files.push((loader.into(), loader.to_owned()));
    spec.files.push((file("config/ca-roots.pem"), "/etc/ssl/certs/ca-certificates.crt".to_owned()));
    spec
}
