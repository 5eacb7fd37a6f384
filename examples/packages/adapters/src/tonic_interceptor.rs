//! `tonic`: `InterceptedService::new(service, guard)`. Methods get the bearer from the request's extensions.

use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::guard::Guard;

impl Interceptor for Guard {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        match self.check(request.metadata().as_ref(), request.extensions()) {
            Ok(bearer) => {
                request.extensions_mut().insert(bearer);
                Ok(request)
            }
            Err((code, words)) => {
                let mut status = Status::permission_denied(words);
                status.metadata_mut().insert("leasehold-code", MetadataValue::from_static(code));
                Err(status)
            }
        }
    }
}
