//! How one authority takes the place of another: announced, switched, finished, so that whoever follows the announcement is never cut off.
//!
//! The issuing root stands in the settings `ca_certificate` and `ca_key`, the other one of a change in `ca_other_certificate` and
//! `ca_other_key`. A running gateway keeps the roots that it started with: a step takes effect with the next restart.

use control_plane_model::problem::{Code, Problem};
use rusqlite::Connection;

use crate::gateway::ca::{self, Pair};
use crate::store::{Result, set_setting, setting};

/// One step of a change of authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationStep {
    /// A new root is made and handed out with the old one, which goes on to issue.
    Announce,
    /// The new root issues; certificates of the old one are still taken.
    Switch,
    /// The old root is dropped. There is no way back from here.
    Finish,
    /// The step before is undone.
    Back,
}

/// How far a change of authority is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// There is one root.
    Settled,
    /// There is a second one that issues nothing yet.
    Announced,
    /// The second one issues.
    Switched,
}

/// The root beside the issuing one, PEM.
///
/// # Errors
/// SQLite's.
pub fn other(c: &Connection) -> Result<Option<String>> {
    setting(c, "ca_other_certificate")
}

/// How far the change is.
///
/// # Errors
/// SQLite's.
pub fn phase(c: &Connection) -> Result<Phase> {
    Ok(match (other(c)?, setting(c, "ca_switched")?) {
        (None, _) => Phase::Settled,
        (Some(_), None) => Phase::Announced,
        (Some(_), Some(_)) => Phase::Switched,
    })
}

/// Takes one step and returns the phase after it.
///
/// # Errors
/// `Conflict` for a step that is not the next one.
pub fn step(c: &Connection, step: RotationStep) -> Result<Phase> {
    match (phase(c)?, step) {
        (Phase::Settled, RotationStep::Announce) => {
            let fresh = ca::new_root().map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
            set_setting(c, "ca_other_certificate", &fresh.certificate)?;
            set_setting(c, "ca_other_key", &fresh.key)?;
        }
        (Phase::Announced, RotationStep::Switch) => {
            exchange(c)?;
            set_setting(c, "ca_switched", "yes")?;
        }
        (Phase::Switched, RotationStep::Back) => {
            exchange(c)?;
            c.execute("DELETE FROM setting WHERE name = 'ca_switched'", [])?;
        }
        (Phase::Switched, RotationStep::Finish) | (Phase::Announced, RotationStep::Back) => {
            c.execute("DELETE FROM setting WHERE name IN ('ca_other_certificate', 'ca_other_key', 'ca_switched')", [])?;
        }
        (Phase::Settled, RotationStep::Switch | RotationStep::Finish | RotationStep::Back) => {
            return refuse("no other authority is announced", "announce");
        }
        (Phase::Announced, RotationStep::Announce | RotationStep::Finish) => {
            return refuse("an authority is announced and does not issue yet", "switch, or back");
        }
        (Phase::Switched, RotationStep::Announce | RotationStep::Switch) => {
            return refuse("the new authority issues and the old one still counts", "finish, or back");
        }
    }
    phase(c)
}

fn refuse(stands: &str, next: &str) -> Result<Phase> {
    let problem = Problem::new(Code::Conflict, format!("this is not the next step: {stands}"));
    Err(problem.hint(format!("next: control-plane-mock ca {next}")).into())
}

/// The issuing root and the other one change places.
fn exchange(c: &Connection) -> Result<()> {
    let pair = |certificate: &str, key: &str| -> Result<Pair> {
        let found = setting(c, certificate)?.zip(setting(c, key)?);
        let (certificate, key) = found.ok_or_else(|| Problem::new(Code::Internal, "a root is not stored whole"))?;
        Ok(Pair { certificate, key })
    };
    let (issuing, other) = (pair("ca_certificate", "ca_key")?, pair("ca_other_certificate", "ca_other_key")?);
    for (name, value) in [
        ("ca_certificate", &other.certificate),
        ("ca_key", &other.key),
        ("ca_other_certificate", &issuing.certificate),
        ("ca_other_key", &issuing.key),
    ] {
        set_setting(c, name, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SCHEMA;
    use crate::store::prepare;

    #[test]
    fn steps_come_in_their_order_and_go_back_until_the_old_root_is_dropped() {
        use {Phase::*, RotationStep::*};
        let mut c = Connection::open_in_memory().unwrap();
        prepare(&mut c, SCHEMA).unwrap();
        let first = ca::new_root().unwrap();
        set_setting(&c, "ca_certificate", &first.certificate).unwrap();
        set_setting(&c, "ca_key", &first.key).unwrap();
        let issuing = |c: &Connection| setting(c, "ca_certificate").unwrap().unwrap();
        for (taken, expected) in [
            (Switch, Err(())),
            (Finish, Err(())),
            (Back, Err(())),
            (Announce, Ok(Announced)),
            (Announce, Err(())),
            (Finish, Err(())),
            (Back, Ok(Settled)),
            (Announce, Ok(Announced)),
            (Switch, Ok(Switched)),
            (Switch, Err(())),
            (Announce, Err(())),
            (Back, Ok(Announced)),
        ] {
            assert_eq!(step(&c, taken).map_err(drop), expected, "{taken:?}");
            if !matches!(expected, Ok(Switched)) && phase(&c).unwrap() != Switched {
                assert_eq!(issuing(&c), first.certificate, "{taken:?}");
            }
        }
        let announced = other(&c).unwrap().unwrap();
        step(&c, Switch).unwrap();
        assert_eq!((issuing(&c), other(&c).unwrap()), (announced.clone(), Some(first.certificate)));
        assert_eq!(step(&c, Finish).unwrap(), Settled);
        assert_eq!((issuing(&c), other(&c).unwrap()), (announced, None));
    }
}
