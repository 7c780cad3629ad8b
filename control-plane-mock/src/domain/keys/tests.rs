//! Every order in which keys can come, with crashes at both ends and stores that went back in time.

use super::*;

mod world;

use EnrolErrorCode::{BadProof, DataPlaneRevoked, IdentityLocked, InvalidRequest, TokenUnknown};
use world::Came::*;
use world::Do::*;
use world::check;

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
