//! Heads as they are sent on.

use leasehold::egress::{
    ConnectPlan, EchoError, EchoMask, HeaderField, OutgoingRequest, PermitError, SignError, SignedBody,
    http1::{Field, Framing, ResponseHead},
};

use super::{
    Proxy, Refused,
    ask::{Asked, Version},
};

/// The head of an answer, the same from both versions of HTTP.
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The reason phrase; HTTP/2 has none.
    pub reason: String,
    /// The fields that may be passed on, in order.
    pub fields: Vec<Field>,
    /// Where the body ends.
    pub framing: Framing,
    /// The length that the head says, of a body that need not follow.
    pub length: Option<u64>,
    /// What it was in Via.
    pub version: &'static str,
    /// About how many bytes it took.
    pub bytes: u64,
    /// Whether the connection is good for another request, once the body is over.
    pub stays: bool,
}

/// The fields of one connection: those that RFC 9110 section 7.6.1 lists, the framing, and those that `connection` names.
fn is_hop_by_hop(name: &str, named: &[String]) -> bool {
    matches!(
        name,
        "connection"
            | "content-length"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "leasehold-code"
    ) || named.iter().any(|own| own == name)
}

fn lists(fields: &[Field], name: &str) -> Vec<String> {
    let own = fields.iter().filter(|(own, _)| own == name);
    own.flat_map(|(_, value)| {
        let value = String::from_utf8_lossy(value).to_ascii_lowercase();
        value.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>()
    })
    .collect()
}

/// About how many bytes fields take.
pub fn size(fields: &[Field]) -> u64 {
    fields.iter().map(|(name, value)| (name.len() + value.len() + 4) as u64).sum()
}

impl Reply {
    /// The answer in an HTTP/1 head, to a request with `method`.
    pub fn h1(head: ResponseHead, method: &str) -> Result<Self, leasehold::egress::http1::HttpError> {
        let framing = head.framing(method)?;
        let named = lists(&head.fields, "connection");
        let closes = named.iter().any(|name| name == "close");
        let length = head.fields.iter().find(|(name, _)| name == "content-length");
        let length = length.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
        let bytes = size(&head.fields) + head.reason.len() as u64 + 17;
        let fields = head.fields.into_iter().filter(|(name, _)| !is_hop_by_hop(name, &named)).collect();
        Ok(Self {
            status: head.status,
            reason: head.reason,
            fields,
            framing,
            length,
            version: if head.minor == 0 { "1.0" } else { "1.1" },
            bytes,
            stays: head.minor > 0 && !closes && framing != Framing::UntilClose,
        })
    }

    /// The answer in an HTTP/2 head. `ended` says that no body follows.
    pub fn h2<T>(head: &http::Response<T>, ended: bool, method: &str) -> Self {
        let all: Vec<Field> = head
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect();
        let length = all.iter().find(|(name, _)| name == "content-length");
        let length = length.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
        let none = ended || method == "HEAD" || matches!(head.status().as_u16(), 100..=199 | 204 | 304);
        let framing = match length {
            _ if none => Framing::Length(0),
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        };
        let bytes = size(&all) + 5;
        let fields = all.into_iter().filter(|(name, _)| !is_hop_by_hop(name, &[])).collect();
        let status = head.status().as_u16();
        Self { status, reason: String::new(), fields, framing, length, version: "2", bytes, stays: true }
    }

    /// Masks what the head repeats of the secrets that the request had, where its body can be masked as well.
    pub fn mask(&mut self, mask: &EchoMask) -> Result<(), EchoError> {
        let fields = self.fields.iter().map(|(name, value)| HeaderField { name, value });
        mask.check(self.status, fields)?;
        mask_fields(mask, &mut self.fields);
        self.reason = masked_reason(mask, &self.reason);
        Ok(())
    }

    /// Whether no body may follow, whatever the head says.
    fn has_no_body(&self, method: &str) -> bool {
        method == "HEAD" || matches!(self.status, 100..=199 | 204 | 304)
    }

    /// The framing towards a client of HTTP/1.`minor`.
    pub fn framing_for(&self, minor: u8) -> Framing {
        match self.framing {
            Framing::Length(_) => self.framing,
            // Chunks end with a word, and what is cut lacks it. HTTP/1.0 has none, so there the connection ends.
            _ if minor > 0 => Framing::Chunked,
            _ => Framing::UntilClose,
        }
    }

    /// The head towards a client of HTTP/1. `stays` is whether the connection does.
    pub fn write_h1(&self, proxy: &Proxy, method: &str, framing: Framing, stays: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, self.reason).into_bytes();
        for (name, value) in &self.fields {
            line(&mut head, name.as_bytes(), value);
        }
        if self.has_no_body(method) {
            // What a GET would have got; no body follows.
            if let (Some(length), "HEAD", _) | (Some(length), _, 304) = (self.length, method, self.status) {
                line(&mut head, b"content-length", length.to_string().as_bytes());
            }
        } else {
            match framing {
                Framing::Length(length) => line(&mut head, b"content-length", length.to_string().as_bytes()),
                Framing::Chunked => line(&mut head, b"transfer-encoding", b"chunked"),
                Framing::UntilClose => {}
            }
        }
        line(&mut head, b"via", format!("{} {}", self.version, proxy.setup.name).as_bytes());
        if !stays {
            line(&mut head, b"connection", b"close");
        }
        head.extend(b"\r\n");
        head
    }

    /// The head towards a client of HTTP/2.
    pub fn write_h2(&self, proxy: &Proxy, method: &str) -> http::Response<()> {
        let mut response = http::Response::new(());
        *response.status_mut() =
            http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::BAD_GATEWAY);
        let mut fields = self.fields.clone();
        match (self.has_no_body(method), self.length, self.framing) {
            (true, Some(length), _) if method == "HEAD" || self.status == 304 => {
                fields.push(("content-length".into(), length.to_string().into_bytes()));
            }
            (false, _, Framing::Length(length)) => {
                fields.push(("content-length".into(), length.to_string().into_bytes()));
            }
            _ => {}
        }
        fields.push(("via".into(), format!("{} {}", self.version, proxy.setup.name).into_bytes()));
        *response.headers_mut() = super::body::header_map(&fields);
        response
    }
}

/// Masks the values of fields.
pub fn mask_fields(mask: &EchoMask, fields: &mut [Field]) {
    fields.iter_mut().for_each(|(_, value)| mask.mask(value));
}

/// The reason phrase, masked.
pub fn masked_reason(mask: &EchoMask, reason: &str) -> String {
    let mut reason = reason.as_bytes().to_vec();
    mask.mask(&mut reason);
    String::from_utf8_lossy(&reason).into_owned()
}

/// An interim answer (1xx) as it is passed on.
pub fn interim(status: u16, reason: &str, fields: &[Field]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} {reason}\r\n").into_bytes();
    for (name, value) in fields {
        line(&mut head, name.as_bytes(), value);
    }
    head.extend(b"\r\n");
    head
}

fn line(head: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    head.extend_from_slice(name);
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

/// What goes to the origin for `plan`. Secrets are in nothing but this.
pub fn outgoing(
    proxy: &Proxy,
    asked: &Asked,
    plan: &ConnectPlan,
    body: SignedBody<'_>,
) -> Result<OutgoingRequest, Refused> {
    let refused = |error: PermitError| match &error {
        PermitError::Headers(_) | PermitError::Sign(SignError::Chunks) => Refused::coded(400, &error),
        PermitError::Secret(_) | PermitError::Sign(_) | PermitError::Echo(_) => Refused::coded(502, &error),
        _ => Refused::coded(403, &error),
    };
    let in_force = proxy.in_force();
    let secrets = &*in_force.secrets;
    plan.request(&asked.header_fields(), body, proxy.wall(), secrets).map_err(refused)
}

fn via(proxy: &Proxy, asked: &Asked) -> String {
    match asked.version {
        Version::H1(minor) => format!("1.{minor} {}", proxy.setup.name),
        Version::H2 => format!("2 {}", proxy.setup.name),
    }
}

/// The target in the request line.
fn target<'a>(asked: &Asked, outgoing: &'a OutgoingRequest) -> &'a str {
    if asked.is_about_the_server() { "*" } else { outgoing.target.expose() }
}

/// The framing of the body towards the origin, where anything has to be said about it.
fn body_fields(asked: &Asked, plan: &ConnectPlan) -> Option<(&'static str, String)> {
    match asked.framing {
        Framing::Length(0) if !matches!(plan.method(), "POST" | "PUT" | "PATCH") => None,
        Framing::Length(length) => Some(("content-length", length.to_string())),
        _ => Some(("transfer-encoding", "chunked".to_owned())),
    }
}

/// The head towards an origin of HTTP/1.1.
pub fn write_h1(proxy: &Proxy, asked: &Asked, plan: &ConnectPlan, outgoing: &OutgoingRequest) -> Vec<u8> {
    let mut head =
        format!("{} {} HTTP/1.1\r\nhost: {}\r\n", plan.method(), target(asked, outgoing), plan.authority())
            .into_bytes();
    // Framing is said once, and below.
    for field in outgoing.headers.iter().filter(|field| !field.name().eq_ignore_ascii_case("content-length"))
    {
        head.extend_from_slice(field.name().as_bytes());
        head.extend_from_slice(b": ");
        field.expose_value().iter().for_each(|part| head.extend_from_slice(part));
        head.extend_from_slice(b"\r\n");
    }
    if let Some((name, value)) = body_fields(asked, plan) {
        line(&mut head, name.as_bytes(), value.as_bytes());
    }
    if asked.waits {
        line(&mut head, b"expect", b"100-continue");
    }
    line(&mut head, b"via", via(proxy, asked).as_bytes());
    match (asked.websocket, asked.trailers) {
        (true, _) => head.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n"),
        (false, true) => head.extend_from_slice(b"connection: te\r\nte: trailers\r\n"),
        (false, false) => {}
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// The head towards an origin of HTTP/2.
pub fn write_h2(
    proxy: &Proxy,
    asked: &Asked,
    plan: &ConnectPlan,
    outgoing: &OutgoingRequest,
) -> Result<http::Request<()>, Refused> {
    let failed = |error: &dyn ToString| Refused::new(502, super::refused::UPSTREAM_HEAD, error.to_string());
    let uri = http::Uri::builder()
        .scheme(plan.scheme().as_str())
        .authority(plan.authority())
        .path_and_query(target(asked, outgoing))
        .build()
        .map_err(|error| failed(&error))?;
    let method = http::Method::from_bytes(plan.method().as_bytes()).map_err(|error| failed(&error))?;
    let mut request = http::Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    let map = request.headers_mut();
    let mut add = |name: &[u8], value: &[u8], sensitive: bool| -> Result<(), Refused> {
        let name = http::HeaderName::from_bytes(name).map_err(|error| failed(&error))?;
        let mut value = http::HeaderValue::from_bytes(value).map_err(|error| failed(&error))?;
        // A secret stays out of the compression's table.
        value.set_sensitive(sensitive);
        map.append(name, value);
        Ok(())
    };
    for field in outgoing.headers.iter().filter(|field| !field.name().eq_ignore_ascii_case("content-length"))
    {
        add(field.name().as_bytes(), &field.expose_value().concat(), field.is_injected())?;
    }
    if let Some((name @ "content-length", value)) = body_fields(asked, plan) {
        add(name.as_bytes(), value.as_bytes(), false)?;
    }
    if asked.waits {
        add(b"expect", b"100-continue", false)?;
    }
    if asked.trailers {
        add(b"te", b"trailers", false)?;
    }
    add(b"via", via(proxy, asked).as_bytes(), false)?;
    Ok(request)
}
