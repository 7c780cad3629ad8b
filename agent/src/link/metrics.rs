//! What the link counts. Label values come from closed sets.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use protocol::message::Verdict;

use crate::telemetry::Metrics;

/// Answer to a document or forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AnswerLabel {
    answer: AnswerWord,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum AnswerWord {
    Accepted,
    Already,
    Stale,
    Conflict,
    Deferred,
    Refused,
    Forgotten,
}

/// The link's metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LinkMetrics {
    /// Whether a session is open: 0 or 1.
    pub connected: Gauge,
    /// Attempts to connect.
    pub dials: Counter,
    /// Sessions that ended.
    pub lost: Counter,
    /// Documents and forgets that wait for their lane.
    pub intake_waiting: Gauge,
    /// Documents and forgets that are being worked on.
    pub intake_running: Gauge,
    /// States and facts that are not acknowledged.
    pub reports_pending: Gauge,
    /// Bytes of frames that wait to be written.
    pub frames_waiting: Gauge,
    /// Resources that are watched.
    pub resources: Gauge,
    /// Seconds from a document's receipt to its answer.
    pub intake_seconds: Histogram,
    answers: Family<AnswerLabel, Counter>,
}

impl LinkMetrics {
    /// Adds them to the registry of the process.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        let buckets = [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 4.0, 16.0];
        let made = Self {
            connected: Gauge::default(),
            dials: Counter::default(),
            lost: Counter::default(),
            intake_waiting: Gauge::default(),
            intake_running: Gauge::default(),
            reports_pending: Gauge::default(),
            frames_waiting: Gauge::default(),
            resources: Gauge::default(),
            intake_seconds: Histogram::new(buckets),
            answers: Family::default(),
        };
        metrics.register(|registry| {
            registry.register("link_connected", "Whether a session is open", made.connected.clone());
            registry.register("link_dials", "Attempts to connect", made.dials.clone());
            registry.register("link_sessions_lost", "Sessions that ended", made.lost.clone());
            registry.register("link_intake_waiting", "Documents that wait for their turn", made.intake_waiting.clone());
            registry.register("link_intake_running", "Documents being worked on", made.intake_running.clone());
            registry.register(
                "link_reports_pending",
                "States and facts not acknowledged",
                made.reports_pending.clone(),
            );
            registry.register(
                "link_frames_waiting_bytes",
                "Bytes of frames that wait to be written",
                made.frames_waiting.clone(),
            );
            registry.register("link_resources", "Resources watched", made.resources.clone());
            registry.register(
                "link_intake_seconds",
                "Time from a document's receipt to its answer",
                made.intake_seconds.clone(),
            );
            registry.register("link_answers", "Answers to documents and forgets", made.answers.clone());
        });
        made
    }

    /// Counts one answer.
    pub fn answered(&self, verdict: &Verdict) {
        let answer = match verdict {
            Verdict::Accepted { .. } => AnswerWord::Accepted,
            Verdict::Already => AnswerWord::Already,
            Verdict::Stale { .. } => AnswerWord::Stale,
            Verdict::Conflict { .. } => AnswerWord::Conflict,
            Verdict::Deferred { .. } => AnswerWord::Deferred,
            Verdict::Refused { .. } => AnswerWord::Refused,
            Verdict::Forgotten { .. } => AnswerWord::Forgotten,
        };
        self.answers.get_or_create(&AnswerLabel { answer }).inc();
    }
}
