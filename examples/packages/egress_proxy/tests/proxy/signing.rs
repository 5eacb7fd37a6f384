//! Requests that the proxy signs: the body is held where the signature covers it, within a bound.

use serde_json::{Value, json};

use crate::support::{SECRET, World, code, status};

fn rule(path: &str, credential: Value) -> impl FnOnce(u16) -> Vec<Value> {
    move |https| {
        vec![json!({"id": path, "hosts": ["origin.test"], "ports": [https], "methods": ["GET", "POST"],
               "paths": [format!("/{path}/")], "private_addresses": ["127.0.0.1/32"], "credentials": [credential]})]
    }
}

/// The whole body is there before the head goes out, whatever its framing was; what is too long for that is refused, and
/// the origin hears nothing of it. A client that waits is told to go on.
#[test]
fn a_signed_body_is_held_and_bounded() {
    let sign = json!({"hmac": {"header": "x-signature", "template": "{method} {target} {body_sha256}"}});
    let credential = json!({"sign": sign, "secret": "vault:team/models"});
    let world =
        World::late("signed", &["--max-signed-body", "1000", "--idle", "500"], rule("signed", credential));
    let says = |fields: &str, body: &str| {
        world.says(&format!("POST /r/signed/signed/x HTTP/1.1\r\nhost: a\r\nconnection: close{fields}"), body)
    };
    let chunked = "\r\ntransfer-encoding: chunked";
    let answer = says(chunked, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    assert_eq!(status(&answer), 200, "{answer}");
    let seen = world.origin.last();
    assert_eq!((seen.values("content-length"), seen.body), (vec!["5".to_owned()], 5));
    let signature = seen.values("x-signature");
    let waiting = says("\r\ncontent-length: 5\r\nexpect: 100-continue", "abcde");
    assert_eq!(status(&waiting), 200, "{waiting}");
    assert_eq!(world.origin.last().values("x-signature"), signature, "of the same request");
    assert!(signature[0].len() == 64 && !signature[0].contains(SECRET));
    let other = says("\r\ncontent-length: 5", "abcdf");
    assert_eq!(status(&other), 200, "{other}");
    assert_ne!(world.origin.last().values("x-signature"), signature, "another body");

    let served = world.origin.served();
    for (fields, body) in [
        ("\r\ncontent-length: 1001", "x".repeat(1001)),
        (chunked, format!("3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1001))),
    ] {
        let answer = says(fields, &body);
        assert_eq!((status(&answer), code(&answer).as_str()), (413, "proxy.request.body"), "{fields}");
    }
    let cut = says(chunked, "3\r\nab");
    assert_ne!(status(&cut), 200, "{cut}");
    assert_eq!(world.origin.served(), served);
}

/// AWS's `UNSIGNED-PAYLOAD`: the body is sent as it comes, however long it is.
#[test]
fn an_unsigned_payload_streams() {
    let aws =
        json!({"region": "us-east-1", "service": "s3", "access_key": "AKIDEXAMPLE", "payload": "unsigned"});
    let credential = json!({"sign": {"aws_sigv4": aws}, "secret": "vault:team/models"});
    let world = World::late("unsigned", &["--max-signed-body", "10"], rule("s3", credential));
    let head = "POST /r/s3/s3/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 1000";
    assert_eq!(status(&world.says(head, &"x".repeat(1000))), 200);
    let seen = world.origin.last();
    assert_eq!((seen.values("x-amz-content-sha256"), seen.body), (vec!["UNSIGNED-PAYLOAD".to_owned()], 1000));
    assert!(seen.values("authorization")[0].starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"));
}
