//! Many enrolled data planes at once: rows in the control plane's store and certificates of its own authority.
//!
//! All share one key, since a key is made in a cluster and none is here; each certificate is a data plane's own. Works on the store
//! as one more process, as gateways do.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use control_plane_mock::domain::SCHEMA;
use control_plane_mock::domain::organizations::{self, Actor};
use control_plane_mock::domain::{data_planes, keys};
use control_plane_mock::gateway::ca::{self, Authority, Pair};
use control_plane_mock::store::{self, Store};
use control_plane_model::NewNamed;
use rcgen::{CertificateParams, KeyPair};

/// Data planes of one transaction.
const CHUNK: usize = 500;

/// Makes `count` data planes in the store and writes for each of the `files` its share: a line with the key, PEM in base64, then a line
/// each with id and certificate.
///
/// # Errors
/// The store or a file cannot be written.
pub(super) async fn make(store_file: &Path, count: usize, files: &[std::path::PathBuf]) -> Result<()> {
    let store = Store::open(Some(store_file), SCHEMA, |_| {})?;
    let root = store
        .run(|c| Ok(store::setting(c, "ca_certificate")?.zip(store::setting(c, "ca_key")?)))
        .await?
        .context("the store has no authority")?;
    let authority = Authority::new(Pair { certificate: root.0, key: root.1 }, Duration::from_secs(24 * 3600))?;
    let key = KeyPair::generate()?;
    let request = CertificateParams::default().serialize_request(&key)?.pem()?;
    let public = ca::read_request(&request)?.key;
    let organization = store
        .run(|c| {
            let name = NewNamed { name: "fleet".to_owned(), display_name: None };
            organizations::create_organization(c, &name)?;
            organizations::organization(c, &Actor { name: "bench".to_owned(), organization: None }, "fleet")
        })
        .await?;
    let mut out = Vec::new();
    for file in files {
        let mut file = std::io::BufWriter::new(std::fs::File::create(file)?);
        writeln!(file, "{}", flat(&key.serialize_pem()))?;
        out.push(file);
    }
    let mut made = 0;
    while made < count {
        let (from, upto) = (made, (made + CHUNK).min(count));
        let public = public.clone();
        let ids = store
            .run(move |c| {
                (from..upto)
                    .map(|number| {
                        let name = NewNamed { name: format!("dp-{number:05}"), display_name: None };
                        let id = data_planes::create_data_plane(c, organization, &name)?;
                        keys::register(c, &id, &public)?;
                        Ok(id)
                    })
                    .collect::<store::Result<Vec<String>>>()
            })
            .await?;
        for (number, id) in (from..upto).zip(ids) {
            let issued = authority.issue(ca::read_request(&request)?, &id, 1)?;
            let share = out.len();
            let file = out.get_mut(number % share).context("no file")?;
            writeln!(file, "{id} {}", flat(&issued.certificate))?;
        }
        made = upto;
    }
    for mut file in out {
        file.flush()?;
    }
    Ok(())
}

/// PEM in one line.
fn flat(pem: &str) -> String {
    pem.trim().replace('\n', "|")
}
