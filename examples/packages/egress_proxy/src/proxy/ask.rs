//! What a client asks for, the same from both versions of HTTP, and everything about it that comes before the judgement.

use leasehold::{
    digest::Sha256Digest,
    egress::{
        Bearer, HeaderField,
        http1::{Field, Framing, RequestForm, RequestHead},
    },
    id::WorkerId,
};

use super::{
    Proxy, Refused,
    refused::{LOOP, MAX_FORWARDS, NO_SUCH_PAGE},
};

/// Where a request wants to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// A tunnel to this authority.
    Tunnel(String),
    /// This URL.
    Url(String),
    /// This path of a base-URL route.
    Route(String),
}

/// The version that the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1, with its minor version.
    H1(u8),
    /// HTTP/2.
    H2,
}

/// A request as its head has it.
pub struct Said {
    /// The method.
    pub method: String,
    /// Where it wants to go; none for a page of the proxy itself.
    pub form: Option<Form>,
    /// The fields, names in lower case.
    pub fields: Vec<Field>,
    /// Where the body ends.
    pub framing: Framing,
    /// The version.
    pub version: Version,
}

/// A request that may be judged.
#[derive(Clone)]
pub struct Asked {
    /// Whose it is.
    pub bearer: Bearer,
    /// The method.
    pub method: String,
    /// Where it wants to go.
    pub form: Form,
    /// The fields, without what was for this proxy.
    pub fields: Vec<Field>,
    /// Where the body ends.
    pub framing: Framing,
    /// Whether the client waits to be told to send the body.
    pub waits: bool,
    /// The version that the client speaks.
    pub version: Version,
    /// Whether the client asks for a WebSocket.
    pub websocket: bool,
    /// Whether the client takes trailers.
    pub trailers: bool,
}

impl Said {
    /// What an HTTP/1 head says.
    pub fn read(head: RequestHead) -> Result<Self, Refused> {
        let framing = head.framing().map_err(Refused::malformed)?;
        let form = match head.form().map_err(Refused::malformed)? {
            RequestForm::Tunnel(authority) => Some(Form::Tunnel(authority.to_owned())),
            RequestForm::Url(url) => Some(Form::Url(url.to_owned())),
            RequestForm::Route(path) => Some(Form::Route(path.to_owned())),
            RequestForm::Own(_) => None,
        };
        let version = Version::H1(head.minor);
        Ok(Self { method: head.method, form, fields: head.fields, framing, version })
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = String> + 'a {
        let own = self.fields.iter().filter(move |(own, _)| own == name);
        own.map(|(_, value)| String::from_utf8_lossy(value).to_ascii_lowercase())
    }

    /// Whether a list in the fields `name` has `member`.
    fn lists(&self, name: &str, member: &str) -> bool {
        let mut members = self
            .values(name)
            .flat_map(|value| value.split(',').map(|one| one.trim().to_owned()).collect::<Vec<_>>());
        members.any(|own| own == member)
    }

    /// Whether the client wants to go on with its connection after this.
    pub fn stays(&self) -> bool {
        match self.version {
            Version::H1(0) => false,
            // `Proxy-Connection` is what some clients say instead (RFC 9112 appendix C.2.2).
            Version::H1(_) => !self.lists("connection", "close") && !self.lists("proxy-connection", "close"),
            Version::H2 => true,
        }
    }

    /// Who asks, and whether the request may go any further.
    pub fn admit(mut self, proxy: &Proxy, certificate: Option<Sha256Digest>) -> Result<Asked, Refused> {
        let no_page = || Refused::new(404, NO_SUCH_PAGE, "no such page here; a route is /r/RULE/path");
        let form = self.form.take().ok_or_else(no_page)?;
        let routed = matches!(form, Form::Route(_));
        let identities = std::sync::Arc::clone(&proxy.in_force().identities);
        let said = identities.bearer(certificate, &self.fields, routed);
        let (bearer, used) = said.map_err(|refused| if routed { refused.on_route() } else { refused })?;
        if self.values("via").any(|via| came_by(&via, &proxy.setup.name)) {
            return Err(Refused::new(403, LOOP, "the request was here before"));
        }
        let current = self.version != Version::H1(0);
        let waits = current && self.values("expect").any(|value| value == "100-continue");
        let websocket = self.version == Version::H1(1)
            && self.method == "GET"
            && self.lists("connection", "upgrade")
            && self.values("upgrade").eq(["websocket".to_owned()]);
        let trailers = self.lists("te", "trailers");
        let mut fields = self.fields;
        if matches!(self.method.as_str(), "OPTIONS" | "TRACE") {
            forwards(&mut fields)?;
        }
        // What the proxy tells the origin about the body is its own.
        fields.retain(|(name, _)| {
            !matches!(name.as_str(), "proxy-authorization" | "expect") && used != Some(name.as_str())
        });
        Ok(Asked {
            bearer,
            method: self.method,
            form,
            fields,
            framing: self.framing,
            waits,
            version: self.version,
            websocket,
            trailers,
        })
    }
}

impl Asked {
    /// The fields as the library takes them.
    pub fn header_fields(&self) -> Vec<HeaderField<'_>> {
        self.fields.iter().map(|(name, value)| HeaderField { name, value }).collect()
    }

    /// What it asks for, as it may stand in a log: a query can hold keys, and the log keeps none.
    pub fn shown(&self) -> String {
        self.form.shown()
    }

    /// Whether it asks about the server as a whole: OPTIONS for a URL without a path (RFC 9112 section 3.2.4).
    pub fn is_about_the_server(&self) -> bool {
        let Form::Url(url) = &self.form else { return false };
        let authority = url.split_once("://").map_or("", |(_, rest)| rest);
        self.method == "OPTIONS" && !authority.contains(['/', '?'])
    }
}

impl Form {
    /// Without the query.
    pub fn shown(&self) -> String {
        let (Self::Tunnel(text) | Self::Url(text) | Self::Route(text)) = self;
        redacted(text)
    }
}

/// A target without its query and without what stands before an `@`.
pub fn redacted(target: &str) -> String {
    let path = target.split_once('?').map_or_else(|| target.to_owned(), |(path, _)| format!("{path}?..."));
    let authority = path.find("://").map_or(0, |at| at + 3);
    let end = path[authority..].find('/').map_or(path.len(), |at| authority + at);
    match path[authority..end].rfind('@') {
        Some(at) => format!("{}...{}", &path[..authority], &path[authority + at..]),
        None => path,
    }
}

/// Whether `via` names this proxy: `protocol name`, separated by commas (RFC 9110 section 7.6.3).
fn came_by(via: &str, name: &str) -> bool {
    via.split(',')
        .any(|entry| entry.split_whitespace().nth(1).is_some_and(|by| by.eq_ignore_ascii_case(name)))
}

/// Max-Forwards (RFC 9110 section 7.6.2): at zero the request goes no further, else it is one less.
fn forwards(fields: &mut [Field]) -> Result<(), Refused> {
    let used_up = || Refused::new(403, MAX_FORWARDS, "Max-Forwards is used up, or no number");
    for (_, value) in fields.iter_mut().filter(|(name, _)| name == "max-forwards") {
        let text =
            std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let left: u64 = text.and_then(|text| text.parse().ok()).ok_or_else(used_up)?;
        *value = left.checked_sub(1).ok_or_else(used_up)?.to_string().into_bytes();
    }
    Ok(())
}

/// Whose certificate that is.
pub fn worker(proxy: &Proxy, certificate: Option<Sha256Digest>) -> Option<WorkerId> {
    proxy.in_force().identities.workers.get(&certificate?).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_query_or_userinfo_is_shown() {
        for (target, shown) in [
            ("http://a.test/x?key=secret", "http://a.test/x?..."),
            ("/r/models/v1?key=secret", "/r/models/v1?..."),
            ("http://user:secret@a.test/x@y", "http://...@a.test/x@y"),
            ("http://user:secret@a.test", "http://...@a.test"),
            ("secret@a.test:443", "...@a.test:443"),
            ("a.test:443", "a.test:443"),
        ] {
            assert_eq!(redacted(target), shown);
        }
    }
}
