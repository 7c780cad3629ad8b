//! Counts and times calls to the API server: a layer around the client.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{Method, Request, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;
use tower::{Layer, Service};

use super::Metrics;

/// The layer; add it to the client of each role.
#[derive(Debug, Clone)]
pub struct CountCalls {
    calls: Family<Call, Counter>,
    seconds: Family<Verb, Histogram, fn() -> Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    verb: &'static str,
    resource: String,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verb {
    verb: &'static str,
}

impl CountCalls {
    /// Registers its metrics; once per process.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let calls = Family::default();
        let seconds: Family<Verb, Histogram, fn() -> Histogram> = Family::new_with_constructor(|| {
            Histogram::new([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0])
        });
        metrics.register(|registry| {
            registry.register("kube_requests", "Calls to the API server; code 0 is no answer", calls.clone());
            let help = "Time until the head of the API server's answer";
            registry.register_with_unit("kube_request_duration", help, Unit::Seconds, seconds.clone());
        });
        Self { calls, seconds }
    }
}

impl<S> Layer<S> for CountCalls {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, counts: self.clone() }
    }
}

/// A client's service that counts.
#[derive(Debug, Clone)]
pub struct Counted<S> {
    inner: S,
    counts: CountCalls,
}

impl<S, B, C> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<C>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (verb, resource) =
            classify(request.method(), request.uri().path(), request.uri().query().unwrap_or_default());
        let counts = self.counts.clone();
        let begin = Instant::now();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            counts.seconds.get_or_create(&Verb { verb }).observe(begin.elapsed().as_secs_f64());
            let code = answer.as_ref().map_or(0, |response| response.status().as_u16());
            counts.calls.get_or_create(&Call { verb, resource, code }).inc();
            answer
        })
    }
}

/// Verb and resource of a request, as RBAC names them. Names of objects and namespaces are left out: labels are bounded.
fn classify(method: &Method, path: &str, query: &str) -> (&'static str, String) {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (["api", _, rest @ ..] | ["apis", _, _, rest @ ..]) = parts.as_slice() else {
        return ("get", "other".to_owned());
    };
    let (resource, named) = match rest {
        ["namespaces", _, resource, _, sub, ..] => (format!("{resource}/{sub}"), true),
        ["namespaces", _, resource, _] => ((*resource).to_owned(), true),
        ["namespaces", _, resource] => ((*resource).to_owned(), false),
        [resource, _, sub, ..] => (format!("{resource}/{sub}"), true),
        [resource, _] => ((*resource).to_owned(), true),
        [resource] => ((*resource).to_owned(), false),
        [] => ("other".to_owned(), true),
    };
    let watch = query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1");
    let verb = match (method.as_str(), named) {
        ("GET", _) if watch => "watch",
        ("GET", false) => "list",
        ("GET" | "HEAD", _) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => "other",
    };
    (verb, resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_named_as_rbac_names_it() {
        for (method, path, query, verb, resource) in [
            (Method::GET, "/api/v1/namespaces/x/pods", "", "list", "pods"),
            (Method::GET, "/api/v1/namespaces/x/pods/p/log", "follow=true", "get", "pods/log"),
            (Method::GET, "/api/v1/namespaces/kube-system", "", "get", "namespaces"),
            (Method::GET, "/api/v1/pods", "labelSelector=a&watch=true", "watch", "pods"),
            (Method::POST, "/apis/batch/v1/namespaces/x/jobs", "dryRun=All", "create", "jobs"),
            (
                Method::PUT,
                "/apis/pdp-agent.dev/v1alpha1/namespaces/x/releases/r/status",
                "",
                "update",
                "releases/status",
            ),
            (Method::PATCH, "/apis/apps/v1/namespaces/x/deployments/d", "", "patch", "deployments"),
            (Method::DELETE, "/api/v1/namespaces/x", "", "delete", "namespaces"),
            (Method::GET, "/version", "", "get", "other"),
        ] {
            assert_eq!(classify(&method, path, query), (verb, resource.to_owned()), "{method} {path}");
        }
    }
}
