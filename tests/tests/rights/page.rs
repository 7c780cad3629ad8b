//! The table of attacks as docs/rights.md shows it.

use serde_json::json;

use super::attacks::{self, Places};
use super::{links, neighbours};

/// Every attack that is tried, and who refuses it.
pub(crate) fn attacks() -> String {
    let named = |name: &str| Places {
        agent: name.to_owned(),
        ours: "dp-acme-shop-dev".to_owned(),
        secret: "the-secret".to_owned(),
    };
    let places = named("pdp-agent");
    let mut operators = attacks::all(&places);
    for bound in [false, true] {
        operators.extend(neighbours::all(&places, "dp-acme-shop-east", bound));
    }
    operators.extend(neighbours::old(&places, "dp-acme-shop-old"));
    operators.extend(links::on_lease(&places, "operator", &json!({}), attacks::MARKS));
    let mut table = String::from("| Token of | Attack | Refused by |\n|---|---|---|\n");
    for (account, attacks) in [("operator", operators), ("link", links::all(&places, "dp-acme-shop-prod", &json!({})))]
    {
        for attack in &attacks {
            let by = match attack.refusal {
                attacks::NO_RIGHT => "RBAC".to_owned(),
                "impersonate" | "forbidden" | "not currently held" => "RBAC (escalation)".to_owned(),
                words if words.contains("should match") => "schema".to_owned(),
                words => format!("policy: *… {} …*", words.replace('|', " …* or *… ")),
            };
            let title = attack.title.replace('|', "/").replace('<', "&lt;");
            table.push_str(&format!("| {account} | {title} | {by} |\n"));
        }
    }
    table
}
