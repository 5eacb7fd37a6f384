//! What a request to the proxy says, and how it is refused before anybody judges it.

use leasehold::{
    code::Coded,
    egress::HeaderField,
    lease::{Epoch, Fence},
};

use crate::{
    Failure,
    head::{self, Field, Framing, HeadError, Request},
};

/// A refusal, for the one who asked.
#[derive(Debug)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// In words.
    pub message: String,
}

impl Refused {
    /// A refusal of the socket side.
    pub fn new(status: u16, code: &str, message: impl ToString) -> Self {
        Self { status, code: code.to_owned(), message: message.to_string() }
    }

    /// A refusal of the library.
    pub fn coded(status: u16, refusal: &impl Coded) -> Self {
        Self::new(status, refusal.code().as_str(), refusal)
    }
}

/// A request as it arrived, for judgement.
pub struct Asked {
    /// The lease that it is asked under.
    pub fence: Fence,
    /// The method.
    pub method: String,
    /// The target: a URL, or an authority for CONNECT.
    pub target: String,
    /// The header fields without those that were for this proxy.
    pub fields: Vec<Field>,
    /// The bytes of the body.
    pub body: u64,
    /// The first of them.
    pub rest: Vec<u8>,
}

impl Asked {
    /// The request without what was for this proxy.
    pub fn read(request: Request) -> Result<Self, Refused> {
        let unproved = |message: &str| Refused::new(407, "proxy.lease.missing", message);
        let claimed = head::only(&request.fields, "proxy-authorization")
            .ok_or_else(|| unproved("one proxy-authorization field names the lease"))?;
        let fence = std::str::from_utf8(claimed)
            .ok()
            .and_then(|text| text.strip_prefix("Lease "))
            .and_then(fence)
            .ok_or_else(|| unproved("the lease is named as `Lease EPOCH.COUNTER`"))?;
        if head::only(&request.fields, "host").is_none() {
            return Err(Refused::new(400, "proxy.head.malformed", "one host field is required"));
        }
        let body = match head::framing(&request.fields).map_err(bad_head)? {
            Framing::Unsaid => 0,
            Framing::Length(length) => length,
            Framing::Chunked => {
                return Err(Refused::new(411, "proxy.request.chunked", "a body comes with its length"));
            }
        };
        let fields = request.fields.into_iter().filter(|(name, _)| name != "proxy-authorization").collect();
        let Request { method, target, rest, .. } = request;
        Ok(Self { fence, method, target, fields, body, rest })
    }

    /// The fields as the library takes them.
    pub fn header_fields(&self) -> Vec<HeaderField<'_>> {
        self.fields.iter().map(|(name, value)| HeaderField { name, value }).collect()
    }
}

/// `EPOCH.COUNTER` in digits only.
fn fence(text: &str) -> Option<Fence> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    let (epoch, counter) = text.split_once('.')?;
    Some(Fence::new(Epoch(number(epoch)?), number(counter)?))
}

/// The refusal for a head that is none.
pub fn bad_head(error: HeadError) -> Refused {
    let (status, code) = match error {
        HeadError::TooLarge => (431, "proxy.head.too_large"),
        HeadError::TooSlow => (408, "proxy.head.too_slow"),
        _ => (400, "proxy.head.malformed"),
    };
    Refused::new(status, code, Failure::from(error))
}

/// The fields of an answer that belong to one connection: those that RFC 9110 section 7.6.1 lists, the framing, and
/// those that `connection` names.
pub fn hop_by_hop(fields: &[Field]) -> Vec<String> {
    let listed = [
        "connection",
        "content-length",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        // Ours alone to say.
        "leasehold-code",
    ];
    let connection = fields.iter().filter(|(name, _)| name == "connection");
    let named = connection.flat_map(|(_, value)| {
        let value = String::from_utf8_lossy(value).to_ascii_lowercase();
        value.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>()
    });
    listed.into_iter().map(str::to_owned).chain(named).collect()
}
