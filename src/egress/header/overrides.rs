//! Header fields by which servers take another method or path than the request line's.

use super::name::{HeaderName, is_same_field};

/// The fields that frameworks and proxies read so, in lower case. Method: Rails, Symfony, Laravel, ASP.NET, Google's and
/// Microsoft's APIs. Path: IIS, Symfony, Zend, ingress controllers.
const OVERRIDES: [&str; 10] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-rewrite-uri",
    "x-override-url",
    "x-forwarded-uri",
    "x-http-path-override",
];

/// Whether a server may take the method or the path from the field `name`, which `allowed` does not list.
pub(super) fn overrides(name: &str, allowed: &[HeaderName]) -> bool {
    name.starts_with(['x', 'X'])
        && OVERRIDES.iter().any(|known| is_same_field(known, name))
        && !allowed.iter().any(|own| is_same_field(own.as_str(), name))
}
