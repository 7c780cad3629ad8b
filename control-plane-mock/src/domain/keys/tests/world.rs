//! A store, a copy of it, and one step after the other.

use super::*;
use crate::domain::SCHEMA;
use crate::domain::data_planes::{create_data_plane, enrol, issue_token};
use crate::domain::organizations;
use crate::store::prepare;

use Came::*;
use Do::*;
use control_plane_model::NewNamed;

/// One thing that comes to the store, and what the next line needs to know.
#[derive(Debug, Clone, Copy)]
pub(super) enum Do {
    /// A token is made, and spent with this key.
    Enrol(&'static str),
    /// The last token is spent with this key.
    EnrolAgain(&'static str),
    /// A session is opened by this key, whose certificate says this generation.
    Open(&'static str, i64),
    /// A session of the first key asks for the second one.
    Renew(&'static str, &'static str),
    /// A proof by this key alone.
    Prove(&'static str),
    /// A proof with a certificate of this generation.
    ProveWith(&'static str, i64),
    /// A person takes access away, or gives a token.
    Revoke,
    Token,
    /// The store is copied, and the copy comes back.
    Copy,
    Restore,
}

/// What came of it: the generation of a certificate, or a word.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came {
    Certified(i64),
    Opened,
    Refused(EnrolErrorCode),
    Done,
}

pub(super) struct World {
    c: Connection,
    copy: Option<Connection>,
    data_plane: String,
    token: String,
    serial: i64,
    folder: tempfile::TempDir,
}

pub(super) fn copied(from: &Connection, folder: &tempfile::TempDir, number: i64) -> Connection {
    let file = folder.path().join(number.to_string());
    from.execute("VACUUM INTO ?1", [file.to_str()]).unwrap();
    let mut to = Connection::open(file).unwrap();
    prepare(&mut to, SCHEMA).unwrap();
    to
}

impl World {
    pub(super) fn new() -> Self {
        let mut c = Connection::open_in_memory().unwrap();
        prepare(&mut c, SCHEMA).unwrap();
        let name = || NewNamed { name: "home".into(), display_name: None };
        organizations::create_organization(&c, &name()).unwrap();
        let data_plane = create_data_plane(&c, 1, &name()).unwrap();
        Self { c, copy: None, data_plane, token: String::new(), serial: 0, folder: tempfile::tempdir().unwrap() }
    }

    pub(super) fn certified(&mut self, key: &str, judged: std::result::Result<i64, EnrolError>) -> Came {
        match judged {
            Ok(generation) => {
                self.serial += 1;
                let (serial, end) = (self.serial.to_string(), Timestamp::MAX);
                record_certificate(&self.c, &self.data_plane, &serial, key, generation, end).unwrap();
                Certified(generation)
            }
            Err(error) => Refused(error.code),
        }
    }

    pub(super) fn act(&mut self, act: Do) -> Came {
        let id = self.data_plane.clone();
        match act {
            Token => {
                self.token = issue_token(&self.c, &id, jiff::SignedDuration::from_hours(1)).unwrap().0;
                Done
            }
            Enrol(key) => {
                self.act(Token);
                self.act(EnrolAgain(key))
            }
            EnrolAgain(key) => {
                let judged = enrol(&self.c, &self.token, key).unwrap();
                self.certified(key, judged.map(|(_, generation)| generation))
            }
            Open(key, generation) => match allowed(&self.c, &id).unwrap() {
                Err(error) => Refused(error.code),
                Ok(()) => match judge(&self.c, &id, key, Some(generation)).unwrap() {
                    Presented::Replaced => Refused(lock(&self.c, &id, "a session was asked for").unwrap().code),
                    Presented::Unknown => Refused(DataPlaneRevoked),
                    good @ (Presented::Active(_) | Presented::Pending(_) | Presented::Ahead(_)) => {
                        activate(&self.c, &id, key, good).unwrap();
                        Opened
                    }
                },
            },
            Renew(by, key) => {
                let judged = renew(&self.c, &id, by, key).unwrap();
                self.certified(key, judged)
            }
            Prove(key) => {
                let judged = prove(&self.c, &id, key, None).unwrap();
                self.certified(key, judged)
            }
            ProveWith(key, generation) => {
                let judged = prove(&self.c, &id, key, Some(generation)).unwrap();
                self.certified(key, judged)
            }
            Revoke => {
                revoke(&self.c, &id).unwrap();
                Done
            }
            Copy => {
                self.copy = Some(copied(&self.c, &self.folder, 0));
                Done
            }
            Restore => {
                self.c = copied(self.copy.as_ref().unwrap(), &self.folder, 1);
                Done
            }
        }
    }
}

pub(super) fn check(tables: &[(&str, &[(Do, Came)])]) {
    for (situation, steps) in tables {
        let mut world = World::new();
        for (number, (act, expected)) in steps.iter().enumerate() {
            assert_eq!(world.act(*act), *expected, "{situation}: step {number}, {act:?}");
        }
    }
}
