//! `tower`: a layer for any service of HTTP requests. What it wraps gets the bearer from the request's extensions.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{HeaderValue, Request, Response, StatusCode};
use tower::{Layer, Service};

use crate::guard::Guard;

/// Lets holders of live leases through; everybody else gets 403 with the code in `leasehold-code`.
#[derive(Clone)]
pub struct LeaseLayer(pub Guard);

impl<S> Layer<S> for LeaseLayer {
    type Service = Leased<S>;

    fn layer(&self, inner: S) -> Leased<S> {
        Leased { guard: self.0.clone(), inner }
    }
}

/// The service within the layer.
#[derive(Clone)]
pub struct Leased<S> {
    guard: Guard,
    inner: S,
}

impl<S, B, A> Service<Request<B>> for Leased<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    A: Default,
{
    type Response = Response<A>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<A>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.guard.check(request.headers(), request.extensions()) {
            Ok(bearer) => {
                request.extensions_mut().insert(bearer);
                Either::Left(self.inner.call(request))
            }
            Err((code, _)) => {
                let mut refused = Response::new(A::default());
                *refused.status_mut() = StatusCode::FORBIDDEN;
                refused.headers_mut().insert("leasehold-code", HeaderValue::from_static(code));
                Either::Right(ready(Ok(refused)))
            }
        }
    }
}
