//! The API server, the kubelet and their habits.

use super::*;

/// The API server, the kubelet and their habits.
#[derive(Clone, Default)]
pub(super) struct Cluster {
    pub(super) inner: Arc<Mutex<Inner>>,
    pub(super) changed: Arc<Notify>,
    pub(super) last_lines: LastLines,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) policy: &'static str,
    pub(super) pods: Vec<Value>,
    /// Lines by container id.
    pub(super) logs: BTreeMap<String, Vec<String>>,
    /// Log requests are cut after so many bytes, one after the other; then never.
    pub(super) cuts: Vec<usize>,
    pub(super) requests: Vec<String>,
    /// Paths of all requests.
    pub(super) paths: Vec<String>,
}

pub(super) fn pod(name: &str, state: Value, last: Value, id: &str) -> Value {
    let phase = if state.get("terminated").is_some() { "Succeeded" } else { "Running" };
    json!({
        "metadata": {"name": name, "uid": format!("uid-{name}")},
        "status": {"phase": phase, "containerStatuses": [{
            "name": "main", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "containerID": id, "state": state, "lastState": last
        }]}
    })
}

pub(super) fn running(name: &str, id: &str) -> Value {
    pod(name, json!({"running": {}}), json!({}), id)
}

pub(super) fn ended(name: &str, id: &str) -> Value {
    pod(name, json!({"terminated": {"exitCode": 0, "containerID": id}}), json!({}), id)
}

pub(super) fn restarted(name: &str, id: &str, before: &str) -> Value {
    pod(name, json!({"running": {}}), json!({"terminated": {"exitCode": 1, "containerID": before}}), id)
}

/// `count` lines of one container, a millisecond apart, with times that occur twice.
pub(super) fn lines(id: &str, from: usize, count: usize) -> Vec<String> {
    let line = |n: usize| {
        let time = jiff::Timestamp::from_millisecond(1_795_262_400_000 + i64::try_from(n / 2).unwrap()).unwrap();
        format!("{time:.9} {id} {n} {}\n", "z".repeat(n % 97))
    };
    (from..from + count).map(line).collect()
}

impl Cluster {
    pub(super) fn new(pods: Vec<Value>) -> Self {
        let cluster = Self::default();
        cluster.lock().policy = "ThroughLink";
        cluster.lock().pods = pods;
        cluster
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.lock());
        self.changed.notify_waiters();
    }

    pub(super) fn client(&self) -> Client {
        let cluster = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let cluster = cluster.clone();
            async move { Ok::<_, Infallible>(cluster.answer(&request)) }
        });
        Client::new(service, "ns")
    }

    pub(super) fn context(&self) -> LogContext {
        LogContext {
            client: self.client(),
            namespace: "pdp".into(),
            metrics: LogMetrics::new(&Metrics::default()),
            starts: Arc::default(),
            last_lines: self.last_lines.clone(),
        }
    }

    pub(super) fn answer(&self, request: &Request<Body>) -> Response<BoxedBody> {
        let path = request.uri().path().to_owned();
        self.lock().paths.push(path.clone());
        let kind = |plural: &str| format!("/apis/pdp-agent.dev/v1alpha1/namespaces/pdp/{plural}");
        if let Some(rest) = path.strip_prefix("/api/v1/namespaces/env/pods/") {
            let name = rest.strip_suffix("/log").expect("only logs of one pod are read");
            return self.log(name, request.uri().query().unwrap_or_default());
        }
        let value = if path == "/api/v1/namespaces/env/pods" {
            json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self.lock().pods.clone()})
        } else if path == kind("dataplanepolicies/default") {
            json!({"apiVersion": "pdp-agent.dev/v1alpha1", "kind": "DataPlanePolicy", "metadata": {"name": "default"},
                "spec": {"registries": [], "logs": {"mode": self.lock().policy}}})
        } else if path == kind("releases/web") {
            json!({"apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Release", "metadata": {"name": "web"},
                "spec": {"state": "Present"}, "status": {"namespace": "env"}})
        } else if path == kind("taskruns/web") && !self.lock().pods.is_empty() {
            json!({"apiVersion": "pdp-agent.dev/v1alpha1", "kind": "TaskRun", "metadata": {"name": "web"},
                "spec": {"release": "web"}, "status": {"namespace": "env", "job": "web"}})
        } else if path == kind("environments/dev") {
            json!({"apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Environment", "metadata": {"name": "dev"},
                "spec": {"state": "Present"}, "status": {"namespace": "env"}})
        } else {
            let missing = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound", "message": path});
            return Response::builder().status(404).body(whole(missing.to_string())).unwrap();
        };
        Response::new(whole(value.to_string()))
    }

    /// As the kubelet serves a log: from the start of a second, or the last lines; cut when the API feels like it.
    pub(super) fn log(&self, name: &str, query: &str) -> Response<BoxedBody> {
        let parameters: BTreeMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let mut inner = self.lock();
        inner.requests.push(query.to_owned());
        let Some(pod) = inner.pods.iter().find(|pod| pod["metadata"]["name"] == name).cloned() else {
            return Response::builder().status(404).body(whole(String::new())).unwrap();
        };
        let status = &pod["status"]["containerStatuses"][0];
        let id = if parameters.contains_key("previous") {
            status["lastState"]["terminated"]["containerID"].clone()
        } else {
            status["containerID"].clone()
        };
        let id = id.as_str().unwrap().to_owned();
        let live = parameters.contains_key("follow");
        let since =
            parameters.get("sinceTime").map(|text| text.replace("%3A", ":").parse::<jiff::Timestamp>().unwrap());
        let log = inner.logs.get(&id).cloned().unwrap_or_default();
        let tail = parameters.get("tailLines").map_or(0, |tail| log.len().saturating_sub(tail.parse().unwrap()));
        let cut = if inner.cuts.is_empty() { usize::MAX } else { inner.cuts.remove(0) };
        drop(inner);
        let cluster = self.clone();
        let bytes = async_lines(cluster, id, name.to_owned(), tail, live, since, cut);
        Response::new(bytes)
    }

    pub(super) fn still_runs(&self, name: &str, id: &str) -> bool {
        let inner = self.lock();
        let pod = inner.pods.iter().find(|pod| pod["metadata"]["name"] == name);
        pod.is_some_and(|pod| {
            let status = &pod["status"]["containerStatuses"][0];
            status["containerID"] == id && status["state"].get("running").is_some()
        })
    }
}

pub(super) type BoxedBody = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

pub(super) fn whole(text: String) -> BoxedBody {
    use http_body_util::BodyExt as _;
    http_body_util::Full::new(Bytes::from(text)).boxed_unsync()
}

/// Lines from `index` on that are not older than `since`, as they come, until the container ends or `cut` bytes are out. A cut looks like an end.
pub(super) fn async_lines(
    cluster: Cluster,
    id: String,
    pod: String,
    index: usize,
    live: bool,
    since: Option<jiff::Timestamp>,
    cut: usize,
) -> BoxedBody {
    use http_body_util::BodyExt as _;
    let step = move |(mut index, mut left): (usize, usize)| {
        let (cluster, id, pod) = (cluster.clone(), id.clone(), pod.clone());
        async move {
            loop {
                let changed = cluster.changed.notified();
                let line = cluster.lock().logs.get(&id).and_then(|log| log.get(index)).cloned();
                match line {
                    Some(_) if left == 0 => return None,
                    Some(line) => {
                        let time: jiff::Timestamp = line.split(' ').next().unwrap().parse().unwrap();
                        let wanted = since.is_none_or(|since| time >= since);
                        index += 1;
                        if wanted {
                            let bytes = Bytes::copy_from_slice(&line.as_bytes()[..left.min(line.len())]);
                            left -= bytes.len();
                            return Some((Ok::<_, Infallible>(Frame::data(bytes)), (index, left)));
                        }
                    }
                    None if live && cluster.still_runs(&pod, &id) => changed.await,
                    None => return None,
                }
            }
        }
    };
    StreamBody::new(Box::pin(futures::stream::unfold((index, cut), step))).boxed_unsync()
}
