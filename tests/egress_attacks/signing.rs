//! Requests that are signed with a key from the secret store.

use hmac::{Hmac, KeyInit as _, Mac as _};
use leasehold::{
    code::Coded as _,
    egress::{ConnectPlan, EgressRequest, HeaderField, OutgoingRequest, PermitError, SignError, SignedBody},
    lease::{EgressScope, SecretScope},
    time::Wall,
};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::world::{SECRET, Vault, compile, one_rule, standing, world};

/// 2015-08-30T12:36:00Z.
const NOW: Wall = Wall(1_440_938_160_000);

fn fields<'a>(pairs: &'a [(&'a str, &'a str)]) -> Vec<HeaderField<'a>> {
    pairs.iter().map(|(name, value)| HeaderField { name, value: value.as_bytes() }).collect()
}

fn aws(extra: Value) -> Value {
    let mut own = json!({"region": "us-east-1", "service": "service", "access_key": "AKIDEXAMPLE"});
    for (key, value) in extra.as_object().unwrap() {
        own[key] = value.clone();
    }
    json!({"sign": {"aws_sigv4": own}, "secret": "vault:team/aws"})
}

fn rule(credential: Value) -> Value {
    one_rule(json!({"methods": ["GET", "POST"], "credentials": [credential]}))
}

fn plan(credential: Value, method: &str, url: &str) -> ConnectPlan {
    world(rule(credential)).plan(&EgressRequest::url(method, url))
}

fn shown(sent: &OutgoingRequest) -> Vec<String> {
    sent.headers.iter().map(|field| field.to_string()).collect()
}

fn value(sent: &OutgoingRequest, name: &str) -> String {
    let field = sent.headers.iter().find(|field| field.name() == name).expect(name);
    String::from_utf8(field.expose_value().concat()).unwrap()
}

/// Attack E9, invariant 10: what the worker signs itself, in fields and in the query, is replaced; the key is in nothing that
/// is sent or shown.
#[test]
fn e9_the_workers_own_signature_is_replaced_by_the_rules() {
    let target = "https://api.example.com/x?a=1&X-Amz-Signature=mine&x%2Damz-credential=mine";
    let plan = plan(aws(json!({})), "GET", target);
    assert!(plan.signs() && plan.signs_body());
    let own = [
        ("Authorization", "AWS4-HMAC-SHA256 Credential=mine"),
        ("X-Amz-Date", "20000101T000000Z"),
        ("x_amz_security_token", "mine"),
        ("X-Amz-Target", "Table.Get"),
        ("Content-Type", "text/plain"),
        ("User-Agent", "changes on the way"),
    ];
    let sent = plan.request(&fields(&own), SignedBody::Whole(b""), NOW, &Vault).unwrap();
    assert_eq!(sent.target.expose(), "/x?a=1");
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let digest = format!("x-amz-content-sha256: {empty}");
    assert_eq!(
        shown(&sent),
        [
            "X-Amz-Target: Table.Get",
            "Content-Type: text/plain",
            "User-Agent: changes on the way",
            "x-amz-date: 20150830T123600Z",
            &digest,
            "authorization: AWS4-HMAC-SHA256 ***"
        ]
    );
    let head = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-target, Signature=";
    assert!(value(&sent, "authorization").starts_with(head), "{}", value(&sent, "authorization"));
    assert!(
        !format!("{sent:?} {plan:?}").contains(SECRET) && !value(&sent, "authorization").contains(SECRET)
    );
}

/// Fails closed: nothing goes out unsigned, and nothing is signed that is not known.
/// Invariant 10.
#[test]
fn a_request_that_cannot_be_signed_is_refused() {
    let url = "https://api.example.com/x";
    let of = |credential: Value, own: &[(&str, &str)], body| {
        plan(credential, "POST", url).request(&fields(own), body, NOW, &Vault).map(|sent| shown(&sent))
    };
    let chunks = [("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")];
    let trailer = [("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")];
    let unsigned = || aws(json!({"payload": "unsigned"}));
    let whole = SignedBody::Whole(b"body");
    assert_eq!(of(aws(json!({})), &[], SignedBody::Streamed), Err(PermitError::Sign(SignError::Body)));
    for credential in [aws(json!({})), unsigned()] {
        assert_eq!(of(credential, &chunks, whole), Err(PermitError::Sign(SignError::Chunks)));
    }
    assert_eq!(of(aws(json!({})), &trailer, whole), Err(PermitError::Sign(SignError::Chunks)));
    let line = |word: &str| format!("x-amz-content-sha256: {word}");
    assert!(of(unsigned(), &[], SignedBody::Streamed).unwrap().contains(&line("UNSIGNED-PAYLOAD")));
    assert!(of(unsigned(), &trailer, SignedBody::Streamed).unwrap().contains(&line(trailer[0].1)));

    let signed = plan(aws(json!({})), "GET", url);
    assert_eq!(signed.headers(&[], &Vault).unwrap_err(), PermitError::Sign(SignError::Needed));
    let late = signed.request(&[], SignedBody::Whole(b""), Wall::NEVER, &Vault).unwrap_err();
    assert_eq!(late.code().as_str(), "egress.sign.time");
    for (own, code) in [
        (json!({"session_token": "vault:gone"}), "egress.credentials.missing"),
        (json!({"access_key": "vault:sealed"}), "egress.credentials.store"),
    ] {
        let refused = plan(aws(own), "GET", url).request(&[], SignedBody::Whole(b""), NOW, &Vault);
        assert_eq!(refused.unwrap_err().code().as_str(), code);
    }
    // Over plain http nothing is signed, and a required signature refuses the request.
    let http = one_rule(json!({"schemes": ["http"], "credentials": [aws(json!({}))]}));
    assert_eq!(world(http).code("http://api.example.com/"), "egress.credentials.not_tls");
}

/// A lease needs every secret that the signature does.
/// Invariant 10.
#[test]
fn every_secret_of_a_signature_is_in_the_scope_of_the_lease() {
    let own = aws(json!({"access_key": "vault:team/id", "session_token": "vault:team/token"}));
    let all = ["vault:team/aws", "vault:team/id", "vault:team/token"];
    for missing in 0..=all.len() {
        let world = world(rule(own.clone()));
        let listed = all.iter().enumerate().filter(|(at, _)| *at != missing);
        let secrets = SecretScope::only(listed.map(|(_, text)| text.parse().unwrap())).unwrap();
        world.set(Ok(leasehold::egress::LeaseStanding { secrets, egress: EgressScope::all(), ..standing() }));
        let want = if missing < all.len() { "egress.credentials.out_of_scope" } else { "egress.allowed" };
        assert_eq!(world.code("https://api.example.com/"), want, "{missing}");
    }
}

/// The signature covers what the other credentials put into the target.
#[test]
fn a_template_signs_the_request_as_it_goes_out() {
    let hmac = json!({
        "header": "X-Signature", "timestamp_header": "X-Time", "timestamp": "milliseconds",
        "template": "{timestamp}{method}{target}{body}",
    });
    let credentials = json!([
        {"sign": {"hmac": hmac}, "secret": "vault:key", "prefix": "v1="},
        {"query": "key", "secret": "vault:team/api"},
    ]);
    let world = world(one_rule(json!({"methods": ["POST"], "credentials": credentials})));
    let plan = world.plan(&EgressRequest::url("POST", "https://api.example.com/x?a=1"));
    let own = fields(&[("x-signature", "mine"), ("X_Time", "0")]);
    let sent = plan.request(&own, SignedBody::Whole(b"{}"), NOW, &Vault).unwrap();
    assert_eq!(shown(&sent), ["x-signature: v1=***", "x-time: 1440938160000"]);
    let text = format!("1440938160000POST/x?a=1&key={SECRET}{{}}");
    assert_eq!(sent.target.expose(), format!("/x?a=1&key={SECRET}"));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    assert_eq!(value(&sent, "x-signature"), format!("v1={}", hex::encode(mac.finalize().into_bytes())));
}

/// Every field of the form is checked, and one that is not known is refused.
#[test]
fn a_malformed_signature_does_not_compile() {
    let hmac = |extra: Value| {
        let mut own = json!({"header": "x-signature", "template": "{body}"});
        for (key, value) in extra.as_object().unwrap() {
            own[key] = value.clone();
        }
        json!({"sign": {"hmac": own}, "secret": "vault:key"})
    };
    let code = |credential: Value| compile(rule(credential)).err().map(|code| code.as_str());
    for good in [aws(json!({})), hmac(json!({"hash": "sha512", "encoding": "base64url", "key": "base64"}))] {
        assert_eq!(code(good), None);
    }
    for (bad, want) in [
        (aws(json!({"region": "EU"})), "egress.policy.sign"),
        (aws(json!({"service": ""})), "egress.policy.sign"),
        (aws(json!({"access_key": "a b"})), "egress.policy.sign"),
        (aws(json!({"access_key": "file:x"})), "egress.secret.source"),
        (hmac(json!({"template": "{nobody}"})), "egress.policy.sign"),
        (hmac(json!({"template": ""})), "egress.policy.sign"),
        (hmac(json!({"header": "host"})), "egress.policy.header"),
        (hmac(json!({"timestamp_header": "X-Signature"})), "egress.policy.credential_place"),
    ] {
        let want = if want.starts_with("egress.secret") { "egress.policy.secret" } else { want };
        assert_eq!(code(bad.clone()), Some(want), "{bad}");
    }
    let mut prefixed = aws(json!({}));
    prefixed["prefix"] = json!("AWS4 ");
    assert_eq!(code(prefixed), Some("egress.policy.sign"));
    let mut two = aws(json!({}));
    two["header"] = json!("x-key");
    assert_eq!(code(two), Some("egress.policy.credential_place"));
    let both = json!([aws(json!({})), {"basic": "u", "secret": "vault:b"}]);
    let both = compile(one_rule(json!({"credentials": both}))).unwrap_err();
    assert_eq!(both.as_str(), "egress.policy.credential_conflict");
}
