//! Access tokens of an organization.

use clap::Args;
use control_plane_model::problem::check_handle;
use control_plane_model::{AccessToken, AccessTokenRow, NewAccessToken};
use jiff::Timestamp;

use super::kind::{DeleteNamed, GetNamed, Help, Kind};
use crate::age::since;
use crate::error::Error;
use crate::io::Io;
use crate::output::{self, Format};
use crate::session::Session;
use crate::views::View;

impl Kind for AccessTokenRow {
    const KIND: &'static str = "token";
    const GET: Help = ("Access tokens of the organization: until when, used when; never the tokens", &["token"]);
    const DELETE: Help = ("Access tokens of the organization; they end at once", &[]);

    fn path(session: &Session) -> Result<Vec<&str>, Error> {
        session.in_organization(&["tokens"])
    }
}

impl View for AccessTokenRow {
    const HEAD: &'static [&'static str] = &["NAME", "AGE", "EXPIRES", "LAST USED"];

    fn cells(&self, now: Timestamp) -> Vec<String> {
        vec![
            self.name.clone(),
            since(&self.created, now),
            self.expires.clone().unwrap_or_else(|| "never".into()),
            self.last_used.as_deref().map_or_else(|| "never".into(), |used| since(used, now)),
        ]
    }

    fn named(&self) -> String {
        format!("token/{}", self.name)
    }
}

pub(crate) type Get = GetNamed<AccessTokenRow>;
pub(crate) type Delete = DeleteNamed<AccessTokenRow>;

/// An access token of the organization, shown once
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Name: who or what uses it; lower-case letters, digits, dashes
    name: String,
    /// Its life, 30d or 12h; at most a year
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = life)]
    expires: u64,
}

impl Create {
    pub(super) async fn run(self, io: &mut Io, form: Format, session: &Session) -> Result<(), Error> {
        let Self { name, expires } = self;
        check_handle("name", &name)?;
        let new = NewAccessToken { name, expires_in_seconds: Some(expires) };
        let made: AccessToken = session.client.post(&AccessTokenRow::path(session)?, &new).await?;
        let AccessToken { name, token, expires } = &made;
        let sentence = format!("token/{name} created; it ends at {expires} and is not shown again:\n\n{token}");
        output::say(io, form, &made, &sentence, &format!("token/{name}"))
    }
}

/// Seconds of `30d`, `12h`, `1h30m`.
fn life(text: &str) -> Result<u64, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok()).map(|days| days.saturating_mul(86_400));
    let time = || u64::try_from(text.parse::<jiff::SignedDuration>().ok()?.as_secs()).ok();
    days.or_else(time).filter(|seconds| *seconds > 0).ok_or_else(|| "write it like 30d or 12h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_written_in_days_or_hours() {
        for (text, expected) in
            [("30d", Some(2_592_000)), ("12h", Some(43_200)), ("0d", None), ("-1h", None), ("x", None)]
        {
            assert_eq!(life(text).ok(), expected, "{text}");
        }
    }
}
