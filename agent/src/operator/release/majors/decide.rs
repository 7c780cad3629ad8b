//! Which minor version a major version leads to. Pure: no client, no clock.
//!
//! A newer minor version takes the Service once all of it serves; whoever has it gives it away when it is removed, has no such endpoint any
//! more, or has had no ready pod for a while. So no two releases ever want to write it for different reasons at once.

use protocol::mutant::{self, Mutant};

/// One minor version of a component, in one environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Minor<'a> {
    /// Name of its release.
    pub(super) release: &'a str,
    pub(super) number: u32,
    /// Whether all of it serves its newest content.
    pub(super) serves: bool,
    /// Whether some pod of it is ready.
    pub(super) answers: bool,
    /// Whether it has the endpoint.
    pub(super) offers: bool,
}

impl Minor<'_> {
    const fn can_lead(&self) -> bool {
        self.serves && self.offers
    }
}

/// Whom the Service leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder<'a> {
    /// There is no Service.
    Nobody,
    Me,
    /// The release of this name.
    Other(&'a str),
    /// A release that is being removed, or of which nothing is left.
    Gone,
}

/// What this release does about the Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move<'a> {
    Leave,
    /// It is made, and leads to this release.
    Make,
    /// It leads to this release from now on.
    Take,
    /// It leads here already; edits of it are taken back.
    Keep,
    /// It leads to the release of this name from now on.
    Give(&'a str),
    /// The release of this name looks at it again: it is the one to make it, to take it, or to give it away.
    Call(&'a str),
    Remove,
}

/// Decides for `me`. `down`: it has had no ready pod for a while.
#[must_use]
pub(super) fn decide<'a>(me: &Minor<'a>, others: &[Minor<'a>], holder: Holder<'a>, down: bool) -> Move<'a> {
    let newest = |can: fn(&Minor<'_>) -> bool| {
        let all = std::iter::once(me).chain(others).filter(|minor| can(minor));
        all.max_by_key(|minor| minor.number).map(|minor| minor.release)
    };
    let best = newest(|minor| minor.can_lead() || (minor.offers && mutant::is(Mutant::MajorTakenEarly)));
    let is_best = best == Some(me.release);
    match holder {
        // Before anything serves the address is there already, so that it can be resolved.
        Holder::Nobody if is_best || (best.is_none() && newest(|minor| minor.offers) == Some(me.release)) => Move::Make,
        Holder::Nobody => best.map_or(Move::Leave, Move::Call),
        Holder::Gone if is_best => Move::Take,
        Holder::Other(other) => {
            match others.iter().find(|minor| minor.release == other) {
                Some(older) if is_best && older.number < me.number => Move::Take,
                Some(_) if is_best => Move::Call(other),
                // Its object is lost, its pods are not.
                Some(_) | None => Move::Leave,
            }
        }
        // It missed its turn: this release's object was lost when it looked.
        Holder::Me if others.iter().any(|minor| minor.can_lead() && minor.number > me.number) => {
            best.map_or(Move::Leave, Move::Call)
        }
        Holder::Me if me.offers && me.answers => Move::Keep,
        Holder::Me if down || !me.offers => {
            // One in the middle of a rollout is better than nobody.
            let able = others.iter().filter(|minor| minor.offers && minor.answers);
            let other = able.max_by_key(|minor| (minor.serves, minor.number));
            match other.filter(|_| !mutant::is(Mutant::MajorNotGivenBack)) {
                Some(other) => Move::Give(other.release),
                None if me.offers => Move::Leave,
                None => Move::Remove,
            }
        }
        Holder::Gone | Holder::Me => Move::Leave,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn minor(release: &str, number: u32, serves: bool) -> Minor<'_> {
        Minor { release, number, serves, answers: serves, offers: true }
    }

    #[test]
    fn a_major_version_leads_to_the_newest_minor_version_that_serves() {
        let (old, new) = (minor("v1-2", 2, true), minor("v1-3", 3, true));
        let starting = Minor { serves: false, ..new };
        for (me, other, holder, expected) in [
            (old, starting, Holder::Nobody, Move::Make),
            (starting, old, Holder::Nobody, Move::Call("v1-2")),
            (starting, Minor { serves: false, ..old }, Holder::Nobody, Move::Make),
            (Minor { serves: false, ..old }, starting, Holder::Nobody, Move::Leave),
            (starting, old, Holder::Other("v1-2"), Move::Leave),
            (new, old, Holder::Other("v1-2"), Move::Take),
            (old, new, Holder::Other("v1-3"), Move::Leave),
            (old, starting, Holder::Other("v1-3"), Move::Call("v1-3")),
            (old, new, Holder::Gone, Move::Leave),
            (new, old, Holder::Gone, Move::Take),
            (new, old, Holder::Me, Move::Keep),
            (old, new, Holder::Me, Move::Call("v1-3")),
            (old, starting, Holder::Me, Move::Keep),
        ] {
            assert_eq!(decide(&me, &[other], holder, false), expected, "{me:?} {other:?} {holder:?}");
        }
        assert_eq!(
            decide(&new, &[], Holder::Other("elsewhere"), false),
            Move::Leave,
            "its object is lost, its pods are not"
        );
    }

    #[test]
    fn whoever_cannot_lead_any_more_gives_it_to_the_newest_that_can() {
        let (oldest, old) = (minor("v1-1", 1, true), minor("v1-2", 2, true));
        let me = minor("v1-3", 3, false);
        let failed = Minor { answers: true, ..me };
        assert_eq!(decide(&failed, &[oldest, old], Holder::Me, false), Move::Keep, "what it had before serves on");
        assert_eq!(decide(&me, &[oldest, old], Holder::Me, false), Move::Leave, "it may be back in a moment");
        assert_eq!(decide(&me, &[oldest, old], Holder::Me, true), Move::Give("v1-2"));
        let updating = Minor { serves: false, ..old };
        assert_eq!(decide(&me, &[oldest, updating], Holder::Me, true), Move::Give("v1-1"));
        assert_eq!(decide(&me, &[updating], Holder::Me, true), Move::Give("v1-2"));
        assert_eq!(decide(&me, &[Minor { answers: false, ..updating }], Holder::Me, true), Move::Leave);
        assert_eq!(decide(&me, &[Minor { offers: false, ..old }], Holder::Me, true), Move::Leave, "nobody else has it");
        let without = Minor { offers: false, serves: true, ..me };
        assert_eq!(decide(&without, &[oldest, old], Holder::Me, false), Move::Give("v1-2"));
        assert_eq!(decide(&without, &[], Holder::Me, false), Move::Remove);
        assert_eq!(decide(&without, &[], Holder::Nobody, false), Move::Leave);
    }

    #[test]
    fn mistakes_about_major_versions_are_seen() {
        let (old, starting) = (minor("v1-2", 2, true), minor("v1-3", 3, false));
        mutant::choose(Some(Mutant::MajorTakenEarly));
        let taken = decide(&starting, &[old], Holder::Other("v1-2"), false);
        mutant::choose(Some(Mutant::MajorNotGivenBack));
        let kept = decide(&starting, &[old], Holder::Me, true);
        mutant::choose(None);
        assert_eq!((taken, kept), (Move::Take, Move::Leave));
    }
}
