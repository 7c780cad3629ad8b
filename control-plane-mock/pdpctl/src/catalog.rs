//! create, get, update and delete: which objects there are, each a row here and a file below with what it takes, does and shows.

use clap::Subcommand;

use super::args::Global;
use super::error::Error;
use super::io::Io;
use super::session::Session;

mod components;
pub(super) mod data_planes;
mod endpoints;
mod enrolments;
mod environments;
pub(super) mod kind;
pub(super) mod organizations;
pub(super) mod projects;
mod releases;
pub(super) mod runs;
mod tokens;

/// Makes the enum of a verb's subcommands, one for each kind that has the verb.
macro_rules! verb {
    ($verb:ident: $($kind:ident $ask:ty,)*) => {
        #[derive(Debug, Subcommand)]
        pub(super) enum $verb {
            $($kind($ask),)*
        }

        impl $verb {
            pub(super) async fn run(self, io: &mut Io, global: &Global) -> Result<(), Error> {
                let session = Session::open(io, &global.chosen())?;
                match self {
                    $(Self::$kind(ask) => ask.run(io, global.output, &session).await,)*
                }
            }
        }
    };
}

macro_rules! catalog {
    ($($file:ident: $(create $create:ident)? $(get $get:ident)? $(update $update:ident)? $(delete $delete:ident)?;)*) => {
        verb!(Create: $($($create $file::Create,)?)*);
        verb!(Get: $($($get $file::Get,)?)*);
        verb!(Update: $($($update $file::Update,)?)*);
        verb!(Delete: $($($delete $file::Delete,)?)*);
    };
}

// In the order of the help.
catalog! {
    organizations: create Organization get Organizations delete Organization;
    projects: create Project get Projects delete Project;
    environments: create Environment get Environments update Environment delete Environment;
    data_planes: create DataPlane get DataPlanes delete DataPlane;
    enrolments: create Enrolment;
    tokens: create Token get Tokens delete Token;
    components: create Component get Components delete Component;
    releases: create Release get Releases delete Release;
    runs: get Runs;
    endpoints: get Endpoints;
}
