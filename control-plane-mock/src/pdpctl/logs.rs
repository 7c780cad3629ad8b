//! logs: lines of a component's pods, as they come.
//!
//! Lines are the application's own and are passed on as they are. Gaps and ends go to standard error.

use serde::Deserialize;
use serde_json::Value;

use super::args::{Format, Global, Logs};
use super::context::Session;
use super::{Error, Io};

/// Longest record that is put together, in bytes.
const MAX_RECORD: usize = 1024 * 1024;

/// One record of the stream.
#[derive(Debug, Deserialize)]
struct Record {
    #[serde(default)]
    pod: Option<String>,
    #[serde(default)]
    time: Option<String>,
    #[serde(default)]
    line: Option<String>,
    #[serde(default)]
    gap: Option<Value>,
    #[serde(default)]
    end: Option<Value>,
}

/// `logs`.
pub(super) async fn logs(io: &mut Io, global: &Global, ask: Logs) -> Result<(), Error> {
    let session = Session::open(io, global)?;
    let Logs { component, environment, follow, tail, since, previous, run, timestamps, no_prefix } = ask;
    let mut query = vec![("environment", environment), ("format", "json".to_owned())];
    query.extend(follow.then(|| ("follow", "true".to_owned())));
    query.extend(tail.map(|count| ("tail", count.to_string())));
    query.extend(since.map(|time| ("sinceSeconds", time.as_secs().to_string())));
    query.extend(previous.then(|| ("previous", "true".to_owned())));
    query.extend(run.map(|id| ("run", id)));
    let path = session.in_project(&["components", &component, "logs"])?;
    let stream = async {
        let mut response = session.client.stream(&path, &query).await?;
        let mut printer = Printer { form: global.output, timestamps, prefix: !no_prefix, rest: Vec::new(), lines: 0 };
        while let Some(chunk) = response.chunk().await.map_err(|error| session.client.unreachable(&error))? {
            printer.take(io, &chunk)?;
        }
        printer.finish(io)
    };
    let ended = tokio::select! {
        ended = stream => ended,
        _ = tokio::signal::ctrl_c() => return Err(Error::Interrupted(String::new())),
    };
    let lines = ended?;
    if lines == 0 && global.output == Format::Table {
        io.complain("No lines.");
    }
    Ok(())
}

struct Printer {
    form: Format,
    timestamps: bool,
    prefix: bool,
    rest: Vec<u8>,
    lines: u64,
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
        if !out.is_empty() {
            io.print_bytes(&out)?;
        }
        if !err.is_empty() {
            io.complain(&err);
        }
        Ok(())
    }

    fn record(&mut self, bytes: &[u8], out: &mut Vec<u8>, err: &mut String) {
        let Ok(record) = serde_json::from_slice::<Record>(bytes) else {
            // A plain line: of a server that knows no other form.
            self.lines += 1;
            out.extend_from_slice(bytes);
            out.push(b'\n');
            return;
        };
        if self.form == Format::Json || self.form == Format::Yaml {
            self.lines += u64::from(record.line.is_some());
            out.extend_from_slice(bytes);
            out.push(b'\n');
            return;
        }
        let Record { pod, time, line, gap, end } = record;
        if let Some(line) = line {
            self.lines += 1;
            let time = time.filter(|_| self.timestamps).map(|time| format!("{time} ")).unwrap_or_default();
            let pod = pod.filter(|_| self.prefix).map(|pod| format!("{pod} ")).unwrap_or_default();
            out.extend_from_slice(format!("{pod}{time}{line}\n").as_bytes());
        } else if let Some(gap) = gap {
            let pod = pod.map(|pod| format!("{pod}: ")).unwrap_or_default();
            err.push_str(&format!("-- {pod}lines are missing: {}\n", words(&gap)));
        } else if let Some(end) = end {
            let pod = pod.map(|pod| format!("{pod}: ")).unwrap_or_default();
            err.push_str(&format!("-- {pod}end: {}\n", words(&end)));
        }
    }

    fn finish(mut self, io: &mut Io) -> Result<u64, Error> {
        if !self.rest.is_empty() {
            self.take(io, b"\n")?;
        }
        Ok(self.lines)
    }
}

/// A reason, whatever its shape.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(object) => {
            let parts = object
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| format!("{key} {}", words(value)));
            parts.collect::<Vec<_>>().join(", ")
        }
        Value::Null => "no reason was given".into(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(form: Format, chunks: &[&str]) -> (String, String) {
        let mut printer = Printer { form, timestamps: false, prefix: true, rest: Vec::new(), lines: 0 };
        let (mut out, mut err) = (Vec::new(), String::new());
        for chunk in chunks {
            printer.record(chunk.as_bytes(), &mut out, &mut err);
        }
        (String::from_utf8(out).unwrap(), err)
    }

    #[test]
    fn lines_go_out_with_their_pod_and_gaps_are_told_apart() {
        let (out, err) = printed(
            Format::Table,
            &[
                r#"{"pod":"httpbin-1","time":"2026-11-21T12:00:00Z","line":"GET /"}"#,
                r#"{"pod":"httpbin-1","gap":{"reason":"rotated"}}"#,
            ],
        );
        assert_eq!(out, "httpbin-1 GET /\n");
        assert_eq!(err, "-- httpbin-1: lines are missing: reason rotated\n");
    }

    #[test]
    fn json_is_passed_on_as_it_is() {
        let record = r#"{"pod":"p","line":"x","more":1}"#;
        assert_eq!(printed(Format::Json, &[record]).0, format!("{record}\n"));
    }
}
