//! `axum`: `middleware::from_fn_with_state(guard, require_lease)`. Handlers get the bearer as an `Extension<Bearer>`.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use leasehold::code::Coded;
use leasehold::egress::Denied;

use crate::guard::Guard;

/// Lets holders of live leases through; everybody else gets 403 with the code in `leasehold-code`.
pub async fn require_lease(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    match guard.check(request.headers(), request.extensions()) {
        Ok(bearer) => {
            request.extensions_mut().insert(bearer);
            next.run(request).await
        }
        Err((code, words)) => (StatusCode::FORBIDDEN, [("leasehold-code", code)], words).into_response(),
    }
}

/// The answer to whoever asked for what an adapter's client was denied, or could not do.
pub fn not_done(error: &std::io::Error) -> Response {
    let Some(denied) = Denied::within(error) else {
        return (StatusCode::BAD_GATEWAY, error.to_string()).into_response();
    };
    let status = StatusCode::from_u16(denied.http_status()).unwrap_or(StatusCode::FORBIDDEN);
    (status, [("leasehold-code", denied.code().as_str())], denied.to_string()).into_response()
}
