//! Gives up a connection together with a request on it.
//!
//! Behind an address of several API servers the one that hangs answers pings all the same, and on one connection every later request
//! would go to it. So a connection takes no further requests once one was given up: it had no answer in time, or whoever waited for it,
//! or read it, went away. What goes on over it, goes on.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::body::{Body, Frame, SizeHint};
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use tower::{BoxError, Service};

/// Longest that the head of an answer may take. Calls have deadlines of their own, which are shorter; lists and watches have none.
const HEAD: Duration = Duration::from_secs(60);

/// The service. See the module.
#[derive(Debug, Clone)]
pub(super) struct Waiting<S>(S);

impl<S> Waiting<S> {
    pub(super) const fn new(inner: S) -> Self {
        Self(inner)
    }
}

impl<S, A, B> Service<Request<A>> for Waiting<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body,
{
    type Response = Response<Answer<B>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let used = Used(Some(capture_connection(&mut request)));
        let answer = self.0.call(request);
        Box::pin(async move {
            let late = || BoxError::from(format!("no answer within {} s", HEAD.as_secs()));
            let answer = tokio::time::timeout(HEAD, answer).await.map_err(|_| late())?.map_err(Into::into)?;
            Ok(answer.map(|body| Answer::new(body, used)))
        })
    }
}

/// The connection of a request.
#[derive(Debug)]
struct Used(Option<CaptureConnection>);

impl Drop for Used {
    fn drop(&mut self) {
        if let Some(used) = &self.0
            && let Some(connected) = used.connection_metadata().as_ref()
        {
            connected.poison();
        }
    }
}

/// An answer that is being read.
#[derive(Debug)]
pub(super) struct Answer<B> {
    body: B,
    used: Used,
}

impl<B: Body> Answer<B> {
    fn new(body: B, used: Used) -> Self {
        let mut answer = Self { body, used };
        answer.look();
        answer
    }

    /// Once all is read, nothing is given up any more.
    fn look(&mut self) {
        if self.body.is_end_stream() {
            self.used.0 = None;
        }
    }
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) {
            self.used.0 = None;
        }
        self.look();
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
