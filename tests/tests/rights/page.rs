//! The table of attacks as docs/rights.md shows it.

use super::attacks::{self, Places};
use super::neighbours;

/// Every attack that is tried, and who refuses it.
pub(crate) fn attacks() -> String {
    let named = |name: &str| Places {
        agent: name.to_owned(),
        ours: "dp-acme-shop-dev".to_owned(),
        secret: "the-secret".to_owned(),
    };
    let places = named("pdp-agent");
    let mut all = attacks::all(&places);
    for bound in [false, true] {
        all.extend(neighbours::all(&places, "dp-acme-shop-east", bound));
    }
    all.extend(neighbours::old(&places, "dp-acme-shop-old"));
    let mut table = String::from("| Attack | Refused by |\n|---|---|\n");
    for attack in &all {
        let by = match attack.refusal {
            attacks::NO_RIGHT => "RBAC".to_owned(),
            "impersonate" | "forbidden" | "not currently held" => "RBAC (escalation)".to_owned(),
            words => format!("policy: *… {} …*", words.replace('|', " …* or *… ")),
        };
        table.push_str(&format!("| {} | {by} |\n", attack.title.replace('|', "/").replace('<', "&lt;")));
    }
    table
}
