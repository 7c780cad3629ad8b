//! logs: lines of a component's pods, as they come.
//!
//! A stream has the lines of all containers, those of sidecars that the cluster adds too; only the component's own are shown unless others
//! are asked for. Lines are the application's own and are passed on as they are, but on a terminal their control characters are shown and not
//! obeyed. Gaps and ends go to standard error.

use std::collections::BTreeSet;

use control_plane_model::LogLine;
use protocol::text::steers;

use super::args::{COMPONENT_CONTAINER, Global, Logs};
use super::catalog::runs::run_id;
use super::error::Error;
use super::io::{Io, Width};
use super::output::Format;
use super::session::Session;
use super::table::plain;

/// Longest record that is put together, in bytes.
const MAX_RECORD: usize = 1024 * 1024;

/// Ends that are as they should be.
const GOOD_ENDS: [&str; 4] = ["Complete", "ContainerEnded", "PodDeleted", "Stopped"];

/// `logs`.
pub(super) async fn logs(io: &mut Io, global: &Global, ask: Logs) -> Result<(), Error> {
    let session = Session::open(io, &global.chosen())?;
    let Logs {
        component,
        environment,
        follow,
        tail,
        since,
        container,
        all_containers,
        previous,
        failed,
        run,
        timestamps,
        no_prefix,
    } = ask;
    let container = (!all_containers).then_some(container);
    let mut query = vec![("environment", environment), ("format", "json".to_owned())];
    query.extend(follow.then(|| ("follow", "true".to_owned())));
    query.extend(tail.map(|count| ("tail", count.to_string())));
    query.extend(since.map(|time| ("sinceSeconds", time.as_secs().to_string())));
    query.extend(previous.then(|| ("previous", "true".to_owned())));
    query.extend(failed.then(|| ("failed", "true".to_owned())));
    if let Some(run) = run {
        query.push(("run", run_id(&session, &component, &run).await?));
    }
    let path = session.in_project(&["components", &component, "logs"])?;
    let stream = async {
        let mut response = session.client.stream(&path, &query).await?;
        let mut printer = Printer {
            form: global.output,
            terminal: io.out_width != Width::Unlimited,
            timestamps,
            prefix: !no_prefix,
            follow,
            container: container.clone(),
            others: BTreeSet::new(),
            rest: Vec::new(),
            lines: 0,
            bad_end: None,
        };
        while let Some(chunk) = response.chunk().await.map_err(|error| session.client.unreachable(&error))? {
            printer.take(io, &chunk)?;
        }
        printer.finish(io)
    };
    let ended = tokio::select! {
        ended = stream => ended,
        _ = tokio::signal::ctrl_c() => return Err(Error::Interrupted(String::new())),
    };
    let Printer { lines, others, bad_end, .. } = ended?;
    if let Some(why) = bad_end {
        return Err(Error::Failed { message: format!("the log of {component} ends: {why}"), hint: String::new() });
    }
    if lines == 0 && global.output == Format::Table {
        io.complain(&no_lines(container.as_deref(), &others));
    }
    Ok(())
}

/// What is said instead of lines; `others` are containers that wrote some.
fn no_lines(container: Option<&str>, others: &BTreeSet<String>) -> String {
    let Some(container) = container.filter(|_| !others.is_empty()) else { return "No lines.".to_owned() };
    let others: Vec<_> = others.iter().map(|name| plain(name)).collect();
    format!(
        "No lines of container {container}. There are some of: {}. Show them with --container NAME, or --all-containers.",
        others.join(", ")
    )
}

struct Printer {
    form: Format,
    /// Whether a person's terminal shows what is printed.
    terminal: bool,
    timestamps: bool,
    prefix: bool,
    follow: bool,
    /// The only container that is shown; none for all.
    container: Option<String>,
    /// Containers whose lines are not shown.
    others: BTreeSet<String>,
    rest: Vec<u8>,
    lines: u64,
    bad_end: Option<String>,
}

impl Printer {
    /// Takes bytes as they come; records may be cut anywhere.
    fn take(&mut self, io: &mut Io, chunk: &[u8]) -> Result<(), Error> {
        self.rest.extend_from_slice(chunk);
        let Some(last) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            if self.rest.len() > MAX_RECORD {
                return Err(Error::Unreachable {
                    message: format!("the control plane sends a log record of more than {MAX_RECORD} bytes"),
                    hint: "is it of the same version? compare: pdpctl version".into(),
                });
            }
            return Ok(());
        };
        let later = self.rest.split_off(last + 1);
        let records = std::mem::replace(&mut self.rest, later);
        let (mut out, mut err) = (Vec::new(), String::new());
        for record in records.split(|byte| *byte == b'\n').filter(|record| !record.is_empty()) {
            self.record(record, &mut out, &mut err);
        }
        if !out.is_empty() && self.terminal {
            io.print(&shown(&String::from_utf8_lossy(&out)))?;
        } else if !out.is_empty() {
            io.print_bytes(&out)?;
        }
        if !err.is_empty() {
            io.complain(&err);
        }
        Ok(())
    }

    fn record(&mut self, bytes: &[u8], out: &mut Vec<u8>, err: &mut String) {
        let Ok(LogLine { data_plane, source, time, line, note }) = serde_json::from_slice(bytes) else {
            // A plain line, from a server that does not send records.
            self.lines += 1;
            out.extend_from_slice(bytes);
            out.push(b'\n');
            return;
        };
        // A gap names the source whose lines are missing.
        let from = if note.as_deref() == Some("Gap") { line.split(':').next().unwrap_or_default() } else { &source };
        let (pod, container) = from.split_once('/').unwrap_or((from, ""));
        if self.container.as_deref().is_some_and(|wanted| !container.is_empty() && wanted != container) {
            self.others.insert(container.to_owned());
            return;
        }
        self.lines += u64::from(note.is_none());
        let bad = note.as_deref() == Some("End") && !GOOD_ENDS.iter().any(|good| line.starts_with(good));
        if bad {
            self.bad_end = Some(format!("{} ({data_plane})", plain(&line)));
        }
        if self.form == Format::Json || self.form == Format::Yaml {
            out.extend_from_slice(bytes);
            out.push(b'\n');
            return;
        }
        match note.as_deref() {
            None => {
                let name = if container == COMPONENT_CONTAINER { pod } else { source.as_str() };
                let name = if self.prefix && !name.is_empty() { format!("{name} ") } else { String::new() };
                let time = if self.timestamps && !time.is_empty() { format!("{time} ") } else { String::new() };
                out.extend_from_slice(format!("{name}{time}{line}\n").as_bytes());
            }
            // A bad end becomes the command's error. A good one is expected, so it is only worth a note when following.
            Some("End") if bad || !self.follow => {}
            Some(_) => err.push_str(&format!("-- {data_plane}: {}\n", plain(&line))),
        }
    }

    fn finish(mut self, io: &mut Io) -> Result<Self, Error> {
        if !self.rest.is_empty() {
            self.take(io, b"\n")?;
        }
        Ok(self)
    }
}

/// Lines made safe for a terminal: characters that control it, forge a line or change the reading order are replaced by their number.
fn shown(lines: &str) -> String {
    let mut out = String::with_capacity(lines.len());
    for c in lines.chars() {
        if steers(c) && !matches!(c, '\n' | '\t') {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(form: Format, records: &[&str]) -> (String, String, Option<String>) {
        let (out, err, printer) = printed_of(Some(COMPONENT_CONTAINER), form, records);
        (out, err, printer.bad_end)
    }

    fn printed_of(container: Option<&str>, form: Format, records: &[&str]) -> (String, String, Printer) {
        let mut printer = Printer {
            form,
            terminal: false,
            timestamps: false,
            prefix: true,
            follow: false,
            container: container.map(str::to_owned),
            others: BTreeSet::new(),
            rest: Vec::new(),
            lines: 0,
            bad_end: None,
        };
        let (mut out, mut err) = (Vec::new(), String::new());
        for record in records {
            printer.record(record.as_bytes(), &mut out, &mut err);
        }
        (String::from_utf8(out).unwrap(), err, printer)
    }

    #[test]
    fn only_the_components_own_container_is_shown_unless_others_are_asked_for() {
        let records = [
            r#"{"dataPlane":"eu","source":"web-1/main","line":"GET /"}"#,
            r#"{"dataPlane":"eu","source":"web-1/istio-proxy","line":"upstream"}"#,
            r#"{"dataPlane":"eu","line":"web-1/istio-proxy: lines are missing here (Rotated)","note":"Gap"}"#,
            r#"{"dataPlane":"eu","line":"web-1/main: lines are missing here (Rotated)","note":"Gap"}"#,
        ];
        let (own, sidecar) = (
            "-- eu: web-1/main: lines are missing here (Rotated)\n",
            "-- eu: web-1/istio-proxy: lines are missing here (Rotated)\n",
        );
        let of = |container| {
            let (out, err, printer) = printed_of(container, Format::Table, &records);
            (out, err, printer.lines)
        };
        assert_eq!(of(Some("main")), ("web-1 GET /\n".to_owned(), own.to_owned(), 1));
        assert_eq!(of(Some("istio-proxy")), ("web-1/istio-proxy upstream\n".to_owned(), sidecar.to_owned(), 1));
        assert_eq!(of(None), ("web-1 GET /\nweb-1/istio-proxy upstream\n".to_owned(), format!("{sidecar}{own}"), 2));
        let json = printed_of(Some("main"), Format::Json, &records).0;
        assert!(json.lines().count() == 2 && !json.contains("istio"), "{json}");
        let (_, _, none) = printed_of(Some("job"), Format::Table, &records);
        assert_eq!(
            no_lines(Some("job"), &none.others),
            "No lines of container job. There are some of: istio-proxy, main. Show them with --container NAME, or --all-containers."
        );
        assert_eq!(no_lines(Some("main"), &BTreeSet::new()), "No lines.");
    }

    #[test]
    fn lines_go_out_with_their_pod_and_gaps_are_told_apart() {
        let (out, err, bad) = printed(
            Format::Table,
            &[
                r#"{"dataPlane":"eu","source":"httpbin-1/main","time":"2026-11-21T12:00:00Z","line":"GET /"}"#,
                r#"{"dataPlane":"eu","line":"httpbin-1/main: lines are missing here (Rotated)","note":"Gap"}"#,
                r#"{"dataPlane":"eu","line":"ContainerEnded: the container has ended","note":"End"}"#,
            ],
        );
        assert_eq!((out.as_str(), bad), ("httpbin-1 GET /\n", None));
        assert_eq!(err, "-- eu: httpbin-1/main: lines are missing here (Rotated)\n");
    }

    #[test]
    fn an_end_that_nobody_wanted_is_an_error() {
        let (_, err, bad) =
            printed(Format::Table, &[r#"{"dataPlane":"eu","line":"NotAllowed: ask the customer","note":"End"}"#]);
        assert_eq!((err.as_str(), bad.as_deref()), ("", Some("NotAllowed: ask the customer (eu)")));
    }

    #[test]
    fn json_is_passed_on_as_it_is() {
        let record = r#"{"source":"p/main","line":"x","more":1}"#;
        assert_eq!(printed(Format::Json, &[record]).0, format!("{record}\n"));
    }
}
