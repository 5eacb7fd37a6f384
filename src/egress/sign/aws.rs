//! AWS Signature Version 4, in the header form ("Create a signed AWS API request", AWS IAM user guide; "Authenticating
//! Requests: Using the Authorization Header", Amazon S3 API reference).

use alloc::{boxed::Box, format, string::String, vec::Vec};
use core::fmt::Write as _;

use zeroize::Zeroizing;

use super::{
    mac::{hmac_sha256, secret_field},
    request::{Request, SignError, Unsigned},
};
use crate::{
    attestation::rfc3339,
    digest::Sha256Digest,
    egress::{
        credentials::{Secret, SecretError, SecretStore},
        header::{HeaderName, OutgoingHeader},
    },
    lease::SecretRef,
    time::Wall,
};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What stands in place of the body's digest where the signature does not cover it.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// The same of bodies in chunks with a checksum behind them, which no key is needed for.
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

/// The parameters of a URL that is signed itself. A service refuses a request that is signed both ways.
pub(in crate::egress) const PRESIGNED: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
];

/// Where the id of the access key comes from. It is no secret, but it changes with the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::egress) enum AccessKey {
    Id(Box<str>),
    Secret(SecretRef),
}

impl AccessKey {
    pub(super) const fn as_secret(&self) -> Option<&SecretRef> {
        match self {
            Self::Id(_) => None,
            Self::Secret(reference) => Some(reference),
        }
    }
}

/// The order of [`AwsSigner::headers`].
const HEADERS: [&str; 4] = ["authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"];

/// A validated signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::egress) struct AwsSigner {
    pub(super) headers: Box<[HeaderName]>,
    region: Box<str>,
    service: Box<str>,
    pub(super) access_key: AccessKey,
    pub(super) session_token: Option<SecretRef>,
    pub(super) unsigned_payload: bool,
}

/// Percent-encodes what is not unreserved (RFC 3986 section 2.3), and where `slashes` says so no slash.
fn encode(bytes: impl IntoIterator<Item = u8>, slashes: bool, out: &mut String) {
    for byte in bytes {
        if byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~')
            || (byte == b'/' && slashes)
        {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// One round of percent-decoding. A plus is a plus here.
fn decode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    loop {
        match rest {
            [] => return out,
            [b'%', high, low, tail @ ..] if digit(high).is_some() && digit(low).is_some() => {
                out.push(digit(high).unwrap_or(0) << 4 | digit(low).unwrap_or(0));
                rest = tail;
            }
            [byte, tail @ ..] => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
}

/// The path as it is signed. S3 takes an object's key as it is, encoded once; every other service takes the path as it
/// was sent without empty and dot segments, and encodes that once more.
fn canonical_path(path: &str, service: &str) -> String {
    let mut out = String::with_capacity(path.len());
    if service.starts_with("s3") {
        encode(decode(path), true, &mut out);
        return out;
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    for segment in &kept {
        out.push('/');
        encode(segment.bytes(), false, &mut out);
    }
    if kept.is_empty() || path.ends_with('/') {
        out.push('/');
    }
    out
}

/// The parameters, encoded one way and in the order of their bytes.
fn canonical_query(query: Option<&str>) -> Zeroizing<String> {
    let parameters = query.into_iter().flat_map(|query| query.split('&')).filter(|one| !one.is_empty());
    let mut pairs: Vec<[Zeroizing<String>; 2]> = parameters
        .map(|one| {
            let (name, value) = one.split_once('=').unwrap_or((one, ""));
            [name, value].map(|text| {
                let decoded = Zeroizing::new(decode(text));
                let mut out = Zeroizing::new(String::with_capacity(text.len().saturating_mul(3)));
                encode(decoded.iter().copied(), false, &mut out);
                out
            })
        })
        .collect();
    pairs.sort_unstable_by(|[a, b], [c, d]| (&**a, &**b).cmp(&(&**c, &**d)));
    let room = pairs.iter().flatten().map(|text| text.len().saturating_add(1)).fold(0, usize::saturating_add);
    let mut out = Zeroizing::new(String::with_capacity(room));
    for (at, [name, value]) in pairs.iter().enumerate() {
        if at > 0 {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        out.push_str(value);
    }
    out
}

/// Adds `value` without blanks at its ends, and with one where there are more inside.
fn add_trimmed(value: &[u8], out: &mut Vec<u8>) {
    let mut blank = false;
    for byte in value.trim_ascii() {
        let is_blank = matches!(byte, b' ' | b'\t');
        if !(is_blank && blank) {
            out.push(if is_blank { b' ' } else { *byte });
        }
        blank = is_blank;
    }
}

/// A request in the form that is hashed, with the names of the signed fields.
fn canonical_request(
    method: &str,
    path: &str,
    query: &str,
    mut fields: Vec<(String, Vec<u8>)>,
    payload: &str,
) -> (Zeroizing<Vec<u8>>, String) {
    // Fields of one name keep their order.
    fields.sort_by(|one, two| one.0.cmp(&two.0));
    let names = fields.chunk_by(|one, two| one.0 == two.0).filter_map(|group| group.first());
    let names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
    let signed = names.join(";");
    let bytes = fields.iter().map(|(name, value)| name.len().saturating_add(value.len()).saturating_add(2));
    let room = [method.len(), path.len(), query.len(), signed.len(), payload.len(), 8];
    let room = bytes.chain(room).fold(0, usize::saturating_add);
    let mut out = Zeroizing::new(Vec::with_capacity(room));
    for line in [method, path, query] {
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    for group in fields.chunk_by(|one, two| one.0 == two.0) {
        for (at, (name, value)) in group.iter().enumerate() {
            if at == 0 {
                out.extend_from_slice(name.as_bytes());
            }
            out.push(if at == 0 { b':' } else { b',' });
            add_trimmed(value, &mut out);
        }
        out.push(b'\n');
    }
    out.push(b'\n');
    out.extend_from_slice(signed.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(payload.as_bytes());
    for (_, value) in &mut fields {
        zeroize::Zeroize::zeroize(value);
    }
    (out, signed)
}

/// `20150830T123600Z`.
fn stamp(now: Wall) -> Result<String, SignError> {
    let text = rfc3339::format(now).ok_or(SignError::Time)?;
    let (seconds, _) = text.split_once('.').ok_or(SignError::Time)?;
    let mut stamp: String = seconds.chars().filter(|one| !matches!(one, '-' | ':')).collect();
    stamp.push('Z');
    Ok(stamp)
}

/// The signature of a canonical request, in hex.
fn signature(key: &[u8], stamp: &str, scope: [&str; 3], canonical: &[u8]) -> String {
    let [day, region, service] = scope;
    let digest = Sha256Digest::of(canonical);
    let text = format!("{ALGORITHM}\n{stamp}\n{day}/{region}/{service}/aws4_request\n{digest}");
    let mut first = Zeroizing::new(Vec::with_capacity(key.len().saturating_add(4)));
    first.extend_from_slice(b"AWS4");
    first.extend_from_slice(key);
    let mut key = hmac_sha256(&first, day.as_bytes());
    for part in [region, service, "aws4_request"] {
        key = hmac_sha256(&*key, part.as_bytes());
    }
    hex::encode(*hmac_sha256(&*key, text.as_bytes()))
}

/// Whether the signature covers the field `name`, which is in lower case. Fields that something on the way may change are
/// left out.
fn is_signed(name: &str) -> bool {
    matches!(name, "content-type" | "content-md5") || name.starts_with("x-amz-")
}

impl AwsSigner {
    /// A signer. `None` where region or service are not letters, digits and hyphens.
    pub(in crate::egress) fn new(
        region: &str,
        service: &str,
        access_key: AccessKey,
        session_token: Option<SecretRef>,
        unsigned_payload: bool,
    ) -> Option<Self> {
        let is_part = |text: &str| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        if !is_part(region) || !is_part(service) {
            return None;
        }
        let headers = HEADERS.iter().filter_map(|name| HeaderName::new(name).ok()).collect();
        let (region, service) = (Box::from(region), Box::from(service));
        Some(Self { headers, region, service, access_key, session_token, unsigned_payload })
    }

    /// What stands for the body in the signature.
    fn payload(&self, request: &Request<'_>, claimed: Option<&[u8]>) -> Result<String, SignError> {
        if self.unsigned_payload {
            return match claimed {
                Some(claimed) if claimed == UNSIGNED_TRAILER.as_bytes() => Ok(String::from(UNSIGNED_TRAILER)),
                // The service would look for signatures in the body that nobody can make here.
                Some(claimed) if claimed.starts_with(b"STREAMING-") => Err(SignError::Chunks),
                _ => Ok(String::from(UNSIGNED)),
            };
        }
        match claimed {
            Some(claimed) if claimed.starts_with(b"STREAMING-") => Err(SignError::Chunks),
            _ => Ok(format!("{}", Sha256Digest::of(request.body()?))),
        }
    }

    pub(super) fn sign(
        &self,
        request: &Request<'_>,
        key: &Secret,
        claimed: Option<&[u8]>,
        store: &dyn SecretStore,
    ) -> Result<Vec<OutgoingHeader>, Unsigned> {
        let secret = |reference: &SecretRef| store.secret(reference)?.ok_or(SecretError::Missing);
        let id = match &self.access_key {
            AccessKey::Id(id) => Zeroizing::new(String::from(&**id)),
            AccessKey::Secret(reference) => {
                Zeroizing::new(String::from_utf8_lossy(secret(reference)?.expose()).into_owned())
            }
        };
        let payload = self.payload(request, claimed)?;
        let stamp = stamp(request.now)?;
        let [authorization, date_name, payload_name, token_name] = &*self.headers else {
            return Err(SignError::Needed.into());
        };
        let mut out = alloc::vec![OutgoingHeader::plain(date_name.as_str(), stamp.as_bytes())];
        out.push(OutgoingHeader::plain(payload_name.as_str(), payload.as_bytes()));
        if let Some(reference) = &self.session_token {
            let token = String::from_utf8_lossy(secret(reference)?.expose()).into_owned();
            out.push(secret_field(token_name, "", token)?);
        }
        let mut fields = alloc::vec![(String::from("host"), Vec::from(request.authority))];
        for field in request.fields.iter().chain(&out) {
            let name = field.name().to_ascii_lowercase();
            if is_signed(&name) {
                fields.push((name, field.expose_value().concat()));
            }
        }
        let (path, query) = request.path_and_query();
        let path = Zeroizing::new(canonical_path(path, &self.service));
        let query = canonical_query(query);
        let (canonical, signed) = canonical_request(request.method, &path, &query, fields, &payload);
        let day = stamp.get(..8).ok_or(SignError::Time)?;
        let made = signature(key.expose(), &stamp, [day, &self.region, &self.service], &canonical);
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let value = format!("Credential={}/{scope}, SignedHeaders={signed}, Signature={made}", &*id);
        out.push(secret_field(authorization, "AWS4-HMAC-SHA256 ", value)?);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
    const FORM: &[u8] = b"Param1=value1";
    /// As the suite has it.
    const FORM_DIGEST: &str = "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e";
    const UNRESERVED: &str = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    /// One request of AWS's test suite, with the access key, the time and the scope that all of them have.
    fn made(service: &str, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> String {
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let stamp = "20150830T123600Z";
        let mut all = alloc::vec![
            ("host".into(), b"example.amazonaws.com".to_vec()),
            ("x-amz-date".into(), stamp.into())
        ];
        all.extend(fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.as_bytes().to_vec())));
        let payload = format!("{}", Sha256Digest::of(body));
        let path = canonical_path(path, service);
        let (canonical, _) = canonical_request(method, &path, &canonical_query(query), all, &payload);
        let key = b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        // What `service` says about paths is looked at above; the suite has one scope.
        signature(key, stamp, ["20150830", "us-east-1", "service"], &canonical)
    }

    /// The values of AWS's signature test suite, as they stand in awslabs/aws-c-auth at 495329c2 under
    /// `tests/aws-signing-test-suite/v4`. Where the suite says not to normalise, the path is one of S3.
    #[test]
    fn the_signatures_of_the_published_test_suite_come_out() {
        let get = |target: &str| ("service", "GET", String::from(target), &[][..], &b""[..]);
        let s3 = |target: &str| ("s3", "GET", String::from(target), &[][..], &b""[..]);
        let with = |fields: &'static [(&'static str, &'static str)]| {
            ("service", "GET", String::from("/"), fields, &b""[..])
        };
        let post = |fields: &'static [(&'static str, &'static str)], body: &'static [u8]| {
            ("service", "POST", String::from("/"), fields, body)
        };
        let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        let posted = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b";
        let unreserved = format!("/?{UNRESERVED}={UNRESERVED}");
        let cases = [
            (get("/"), vanilla),
            (get("/example/.."), vanilla),
            (get("/example1/example2/../.."), vanilla),
            (get("/./"), vanilla),
            (get("//"), vanilla),
            (get("/./example"), "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"),
            (get("//example//"), "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"),
            (get("/example space/"), "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
            (get("/\u{1234}"), "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
            (
                get(&format!("/{UNRESERVED}")),
                "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
            ),
            (s3("/example/.."), "eca7ead57bb5aa5c8e28007acd4ff04e1ff9a0ff3b237ec1554a184887ff9282"),
            (
                s3("/example1/example2/../.."),
                "dc33e0856fd4baca4d7aa2146c38958283844764f38c74252a333df5e613003b",
            ),
            (s3("/./"), "68714168e6557f8f2de0ef956fc24dc2593a4bd2961f8df51898d8a134695145"),
            (s3("/./example"), "beb03f223f7deae4146464f06e29eebbee9c8afbe15c290cf07aa8b119e14cff"),
            (s3("//"), "c88bcd3d312d75078c0cd961d6deae3f4c754924b01669efcfcb439fd5e5b76e"),
            (s3("//example//"), "87cca117541a147f6df867677d98a7d80dff226d2bfca9e4ffa899665623c7e5"),
            (s3("/example%20space/"), "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
            (get("/?Param1=value1"), "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"),
            (
                get("/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1"),
                "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
            ),
            (
                get("/?Param2=value2&Param1=value1"),
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (get(&unreserved), "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"),
            (get("/?\u{1234}=bar"), "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
            (
                with(&[("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")]),
                "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
            ),
            (
                with(&[
                    ("My-Header1", "value4"),
                    ("My-Header1", "value1"),
                    ("My-Header1", "value3"),
                    ("My-Header1", "value2"),
                ]),
                "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
            ),
            (
                with(&[("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")]),
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
            (
                with(&[("X-Amz-Security-Token", TOKEN)]),
                "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
            ),
            (post(&[], b""), posted),
            (
                post(&[("My-Header1", "value1")], b""),
                "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
            ),
            (
                post(&[("My-Header1", "VALUE1")], b""),
                "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
            ),
            (
                ("service", "POST", "/?Param1=value1".into(), &[], b""),
                "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
            ),
            (
                post(
                    &[
                        ("Content-Type", "application/x-www-form-urlencoded"),
                        ("Content-Length", "13"),
                        ("X-Amz-Content-Sha256", FORM_DIGEST),
                    ],
                    FORM,
                ),
                "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
            ),
            (
                post(
                    &[
                        ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),
                        ("Content-Length", "13"),
                        ("X-Amz-Content-Sha256", FORM_DIGEST),
                    ],
                    FORM,
                ),
                "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422",
            ),
        ];
        for ((service, method, target, fields, body), want) in cases {
            assert_eq!(made(service, method, &target, fields, body), want, "{method} {target} {fields:?}");
        }
    }

    /// A path that is sent with a percent sign is encoded once more, but not one of S3.
    #[test]
    fn paths_are_encoded_as_each_service_reads_them() {
        for (service, path, want) in [
            ("execute-api", "/a%20b/c", "/a%2520b/c"),
            ("s3", "/a%20b/c", "/a%20b/c"),
            ("s3", "/it's(1)", "/it%27s%281%29"),
            ("s3-object-lambda", "/a//b", "/a//b"),
            ("lambda", "/a//b/", "/a/b/"),
        ] {
            assert_eq!(canonical_path(path, service), want, "{service} {path}");
        }
        assert_eq!(*canonical_query(Some("b=1&a=x+y&&c&a=%7e%2f")), "a=x%2By&a=~%2F&b=1&c=");
    }
}
