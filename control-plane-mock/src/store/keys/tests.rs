//! Every order in which keys can come, with crashes at both ends and stores that went back in time.

use super::*;
use crate::model::NewNamed;
use crate::store::identity::{create_data_plane, enrol, issue_token};
use crate::store::{catalog, prepare};

/// One thing that comes to the store, and what the next line needs to know.
#[derive(Debug, Clone, Copy)]
enum Do {
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

use Do::*;

/// What came of it: the generation of a certificate, or a word.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    Certified(i64),
    Opened,
    Refused(EnrolErrorCode),
    Done,
}

use Came::*;
use EnrolErrorCode::{BadProof, DataPlaneRevoked, IdentityLocked, InvalidRequest, TokenUnknown};

struct World {
    c: Connection,
    copy: Option<Connection>,
    data_plane: String,
    token: String,
    serial: i64,
    folder: tempfile::TempDir,
}

fn copied(from: &Connection, folder: &tempfile::TempDir, number: i64) -> Connection {
    let file = folder.path().join(number.to_string());
    from.execute("VACUUM INTO ?1", [file.to_str()]).unwrap();
    let mut to = Connection::open(file).unwrap();
    prepare(&mut to).unwrap();
    to
}

impl World {
    fn new() -> Self {
        let mut c = Connection::open_in_memory().unwrap();
        prepare(&mut c).unwrap();
        let name = || NewNamed { name: "home".into(), display_name: None };
        catalog::create_organization(&c, &name()).unwrap();
        let data_plane = create_data_plane(&c, 1, &name()).unwrap();
        Self { c, copy: None, data_plane, token: String::new(), serial: 0, folder: tempfile::tempdir().unwrap() }
    }

    fn certified(&mut self, key: &str, judged: std::result::Result<i64, EnrolError>) -> Came {
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

    fn act(&mut self, act: Do) -> Came {
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

fn check(tables: &[(&str, &[(Do, Came)])]) {
    for (situation, steps) in tables {
        let mut world = World::new();
        for (number, (act, expected)) in steps.iter().enumerate() {
            assert_eq!(world.act(*act), *expected, "{situation}: step {number}, {act:?}");
        }
    }
}

#[test]
fn every_order_of_crashes_at_either_end_goes_on_without_a_person() {
    check(&[
        (
            "rotation",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Renew("a", "b"), Certified(2)),
                (Open("b", 2), Opened),
                (Renew("b", "c"), Certified(3)),
                (Open("c", 3), Opened),
            ],
        ),
        (
            "the answer of an enrolment is lost",
            &[(Enrol("a"), Certified(1)), (EnrolAgain("a"), Certified(1)), (Open("a", 1), Opened)],
        ),
        (
            "enrolled and welcomed, and killed before it was stored",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (EnrolAgain("a"), Certified(1)),
                (Open("a", 1), Opened),
            ],
        ),
        (
            "the answer of a renewal is lost, and asked for again with the same key",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Renew("a", "b"), Certified(2)),
                (Open("a", 1), Opened),
                (Renew("a", "b"), Certified(2)),
                (Open("b", 2), Opened),
            ],
        ),
        (
            "the answer is lost, and the cut outlasts the old certificate",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Renew("a", "b"), Certified(2)),
                (Prove("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Renew("a", "c"), Certified(3)),
                (Open("c", 3), Opened),
            ],
        ),
        (
            "the new certificate is stored, and the cut outlasts it",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Renew("a", "b"), Certified(2)),
                (Prove("b"), Certified(2)),
                (Open("b", 2), Opened),
            ],
        ),
        (
            "the welcome is lost, and the session opened again",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Renew("a", "b"), Certified(2)),
                (Open("b", 2), Opened),
                (Open("b", 2), Opened),
                (Prove("b"), Certified(2)),
            ],
        ),
        (
            "an older agent certifies the same key",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Renew("a", "a"), Certified(1)),
                (Open("a", 1), Opened),
            ],
        ),
        (
            "a key from before generations",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 0), Opened),
                (Renew("a", "b"), Certified(2)),
                (Open("b", 2), Opened),
            ],
        ),
        (
            "enrolled anew beside a key that still counts",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Enrol("b"), Certified(2)),
                (Open("a", 1), Opened),
                (Open("b", 2), Opened),
            ],
        ),
    ]);
}

#[test]
fn a_store_that_went_back_in_time_follows_the_certificates_that_it_signed() {
    check(&[
        (
            "the live key is younger than the copy",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Copy, Done),
                (Renew("a", "b"), Certified(2)),
                (Open("b", 2), Opened),
                (Renew("b", "c"), Certified(3)),
                (Open("c", 3), Opened),
                (Restore, Done),
                (Open("c", 3), Opened),
                (Renew("c", "d"), Certified(4)),
                (Open("d", 4), Opened),
            ],
        ),
        (
            "and its certificate has ended meanwhile",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Copy, Done),
                (Renew("a", "b"), Certified(2)),
                (Open("b", 2), Opened),
                (Restore, Done),
                (ProveWith("b", 2), Certified(2)),
                (Open("b", 2), Opened),
            ],
        ),
        (
            "the new key was not used yet",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Copy, Done),
                (Renew("a", "b"), Certified(2)),
                (Restore, Done),
                (Open("b", 2), Opened),
            ],
        ),
        (
            "the copy is older than the enrolment",
            &[
                (Copy, Done),
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Restore, Done),
                (Open("a", 1), Opened),
            ],
        ),
        (
            "a replaced key is known again by its certificate alone",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Copy, Done),
                (Renew("a", "b"), Certified(2)),
                (Open("b", 2), Opened),
                (Renew("b", "c"), Certified(3)),
                (Open("c", 3), Opened),
                (Restore, Done),
                (Open("c", 3), Opened),
                (Open("b", 2), Refused(IdentityLocked)),
            ],
        ),
        (
            "two keys of one generation",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Copy, Done),
                (Renew("a", "b"), Certified(2)),
                (Open("b", 2), Opened),
                (Restore, Done),
                (Open("a", 1), Opened),
                (Renew("a", "stolen"), Certified(2)),
                (Open("b", 2), Refused(IdentityLocked)),
            ],
        ),
    ]);
}

#[test]
fn a_key_that_was_replaced_locks_the_identity_until_a_person_has_looked() {
    check(&[
        (
            "a session with the former key",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Renew("a", "b"), Certified(2)),
                (Open("b", 2), Opened),
                (Open("a", 1), Refused(IdentityLocked)),
                (Open("b", 2), Refused(IdentityLocked)),
                (Prove("b"), Refused(IdentityLocked)),
                (EnrolAgain("b"), Refused(TokenUnknown)),
                (Enrol("c"), Certified(3)),
                // Who has an old key cannot lock it again.
                (Open("a", 1), Refused(DataPlaneRevoked)),
                (Prove("a"), Refused(BadProof)),
                (ProveWith("b", 2), Refused(BadProof)),
                (Open("c", 3), Opened),
            ],
        ),
        (
            "a proof by the former key",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Renew("a", "b"), Certified(2)),
                (Open("b", 2), Opened),
                (Prove("a"), Refused(IdentityLocked)),
                (Open("b", 2), Refused(IdentityLocked)),
            ],
        ),
        (
            "the thief is first with the new key",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Renew("a", "stolen"), Certified(2)),
                (Open("stolen", 2), Opened),
                (Open("a", 1), Refused(IdentityLocked)),
                (Open("stolen", 2), Refused(IdentityLocked)),
            ],
        ),
        (
            "the thief asks, and the owner's own new key takes its place",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Renew("a", "stolen"), Certified(2)),
                (Renew("a", "b"), Certified(3)),
                (Open("stolen", 2), Refused(IdentityLocked)),
            ],
        ),
        (
            "the token of the enrolment, with the key of then",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Renew("a", "b"), Certified(2)),
                (Open("b", 2), Opened),
                (EnrolAgain("a"), Refused(IdentityLocked)),
            ],
        ),
        (
            "a former key is not certified again",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Renew("a", "b"), Certified(2)),
                (Open("b", 2), Opened),
                (Renew("b", "a"), Refused(InvalidRequest)),
                (Renew("a", "c"), Refused(BadProof)),
                (Open("b", 2), Opened),
            ],
        ),
        (
            "a key that nobody registered locks nothing",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Prove("x"), Refused(BadProof)),
                (Open("a", 1), Opened),
            ],
        ),
        (
            "a revocation is no lock",
            &[
                (Enrol("a"), Certified(1)),
                (Open("a", 1), Opened),
                (Revoke, Done),
                (Prove("a"), Refused(DataPlaneRevoked)),
                (Open("a", 1), Refused(DataPlaneRevoked)),
                (Token, Done),
                (Open("a", 1), Refused(DataPlaneRevoked)),
                (EnrolAgain("a"), Certified(2)),
                (Open("a", 2), Opened),
            ],
        ),
    ]);
}
