//! A world around the proxy's own process: origins, a DNS server, a lease, and the real curl.

mod coordinator;
mod dns;
mod origin;
mod script;

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use serde_json::{Value, json};

pub use coordinator::Feed;
pub use dns::{Answers, Dns};
pub use origin::{Origin, raw};
pub use script::{Line, Script, hello, silent};

/// What a secret is in every test: it may be seen by the origin only.
pub const SECRET: &str = "hunter2-of-the-vault";

pub fn executable() -> PathBuf {
    env!("CARGO_BIN_EXE_egress_proxy").into()
}

pub struct Scratch(pub PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("leasehold-proxy-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        // Whole or not at all, as an operator's tool would do it.
        let beside = self.0.join(format!("{name}.new"));
        fs::write(&beside, bytes).unwrap();
        own(&beside);
        fs::rename(&beside, &path).unwrap();
        path
    }
}

#[cfg(unix)]
fn own(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[cfg(not(unix))]
fn own(_: &Path) {}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An authority of the tests.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        // OpenSSL takes a certificate whose issuer has its own name for one that signed itself.
        params.distinguished_name.push(DnType::CommonName, "authority of the test");
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// The certificate and key as PEM, and the certificate as DER.
    pub fn issue(&self, names: &[&str]) -> (String, String, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem(), certificate.der().to_vec())
    }

    /// A server with this name.
    pub fn server(&self, names: &[&str]) -> Arc<ServerConfig> {
        self.server_of(names).0
    }

    /// A server with this name, and its certificate as PEM. It takes any client.
    pub fn server_of(&self, names: &[&str]) -> (Arc<ServerConfig>, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        (Arc::new(config), certificate.pem())
    }
}

/// Names of the tests: what ends in `.origin.test`, and `origin.test`, is on loopback; the others are special.
pub fn names(name: &str, before: usize) -> Option<Vec<IpAddr>> {
    let loopback = |last| IpAddr::from([127, 0, 0, last]);
    match name {
        "origin.test" | "other.origin.test" | "hidden.origin.test" | "self.origin.test" => {
            Some(vec![loopback(1)])
        }
        // DNS rebinding: every second answer is another one.
        "rebind.test" => Some(vec![loopback(if before.is_multiple_of(2) { 1 } else { 2 })]),
        "script.test" | "grpc.test" => Some(vec![loopback(1)]),
        // Three that say nothing, and one that answers.
        "slow.test" => Some(vec![loopback(12), loopback(13), loopback(14), loopback(1)]),
        "dead.test" => Some(vec![loopback(12), loopback(13)]),
        "both.test" => Some(vec![[93, 184, 216, 34].into(), [10, 0, 0, 1].into()]),
        "six.test" => Some(vec!["::ffff:10.0.0.1".parse().unwrap()]),
        "metadata.test" => Some(vec![[169, 254, 169, 254].into()]),
        _ => None,
    }
}

pub struct World {
    pub admin: Option<SocketAddr>,
    pub scratch: Scratch,
    pub origin: Arc<Origin>,
    pub http: u16,
    pub https: u16,
    pub dns: Dns,
    pub token: String,
    pub proxy: SocketAddr,
    pub process: Child,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The rules of the tests, without those that a test adds.
pub fn policy(http: u16, https: u16, more: &[Value]) -> String {
    let declared = json!(["127.0.0.1/32"]);
    let mut rules = vec![
        json!({"id": "plain", "hosts": ["origin.test", "rebind.test"], "schemes": ["http"], "ports": [http],
               "methods": ["GET", "HEAD", "POST", "PUT", "OPTIONS"], "private_addresses": declared,
               "max_request_bytes": 3_000_000, "max_response_bytes": 1_000_000}),
        json!({"id": "tunnel", "hosts": ["origin.test"], "ports": [https], "methods": ["CONNECT"],
               "private_addresses": declared, "max_request_bytes": 100_000, "max_response_bytes": 1_000_000}),
        json!({"id": "hidden", "hosts": ["hidden.origin.test"], "ports": [https], "methods": ["CONNECT"],
               "private_addresses": declared, "hidden_server_name": true}),
        json!({"id": "models", "hosts": ["origin.test"], "ports": [https], "methods": ["GET", "POST"],
               "paths": ["/v1/"], "private_addresses": declared,
               "credentials": [{"header": "authorization", "secret": "vault:team/models", "prefix": "Bearer "}]}),
        json!({"id": "open", "hosts": ["both.test", "six.test", "metadata.test", "nowhere.test"],
               "schemes": ["http"]}),
    ];
    rules.extend_from_slice(more);
    json!({"rules": rules, "deny": {"hosts": ["denied.test"]}, "max_redirects": 3}).to_string()
}

impl World {
    pub fn start(name: &str, more: &[&str]) -> Self {
        Self::with(name, more, |_, _, _| Vec::new())
    }

    /// `also` makes further arguments of the scratch directory, the authority and the token.
    pub fn with(
        name: &str,
        more: &[&str],
        also: impl FnOnce(&Scratch, &Authority, &str) -> Vec<String>,
    ) -> Self {
        Self::ruled(name, more, &[], also)
    }

    /// With further rules for the https origin, whose port they are given.
    pub fn late(name: &str, more: &[&str], rules: impl FnOnce(u16) -> Vec<Value>) -> Self {
        Self::made(name, more, rules, Authority::new(), |_, _, _| Vec::new())
    }

    /// With further rules.
    pub fn ruled(
        name: &str,
        more: &[&str],
        rules: &[Value],
        also: impl FnOnce(&Scratch, &Authority, &str) -> Vec<String>,
    ) -> Self {
        Self::of(name, more, rules, Authority::new(), also)
    }

    /// With an authority that others have certificates of already.
    pub fn of(
        name: &str,
        more: &[&str],
        rules: &[Value],
        authority: Authority,
        also: impl FnOnce(&Scratch, &Authority, &str) -> Vec<String>,
    ) -> Self {
        Self::made(name, more, |_| rules.to_vec(), authority, also)
    }

    fn made(
        name: &str,
        more: &[&str],
        rules: impl FnOnce(u16) -> Vec<Value>,
        authority: Authority,
        also: impl FnOnce(&Scratch, &Authority, &str) -> Vec<String>,
    ) -> Self {
        let scratch = Scratch::new(name);
        let origin = Arc::new(Origin::default());
        let tls = authority.server(&["origin.test", "other.origin.test", "hidden.origin.test"]);
        let http = origin.listen(Ipv4Addr::LOCALHOST, 0, None);
        let https = origin.listen(Ipv4Addr::LOCALHOST, 0, Some(tls));
        let dns = Dns::start(names as Answers);
        let leases = scratch.0.join("leases.json");
        let lease =
            Command::new(executable()).args(["lease", "--worker", "w1", "--leases"]).arg(&leases).output();
        let lease = lease.unwrap();
        assert!(lease.status.success(), "{}", String::from_utf8_lossy(&lease.stderr));
        let token = String::from_utf8(lease.stdout).unwrap().trim().to_owned();
        let also = also(&scratch, &authority, &token);
        let own = ["--leases".to_owned(), leases.display().to_string()];
        let mut process = Command::new(executable())
            .args([
                "--listen",
                "127.0.0.1:0",
                "--name",
                "proxy-of-the-test",
                "--dns",
                &dns.address.to_string(),
            ])
            .arg("--policy")
            .arg(scratch.file("policy.json", policy(http, https, &rules(https))))
            .args(if also.iter().any(|flag| flag == "--coordinator") { &[][..] } else { &own[..] })
            .arg("--secrets")
            .arg(scratch.file("secrets.json", json!({"vault:team/models": SECRET}).to_string()))
            .arg("--roots")
            .arg(scratch.file("roots.pem", &authority.pem))
            .arg("--log")
            .arg(scratch.0.join("log.jsonl"))
            // What reads to the end of a connection does not wait for a minute.
            .args(if more.contains(&"--keep-alive") { &[][..] } else { &["--keep-alive", "300"] })
            .args(more)
            .args(also)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        let mut address = |what: &str| {
            let mut line = String::new();
            said.read_line(&mut line).unwrap();
            line.trim().strip_prefix(what).unwrap().parse().unwrap()
        };
        let proxy = address("listening on ");
        let admin = more.contains(&"--admin").then(|| address("admin on "));
        Self { admin, scratch, origin, http, https, dns, token, proxy, process }
    }

    /// The proxy's URL with the token as its password.
    pub fn url(&self) -> String {
        format!("http://lease:{}@{}", self.token, self.proxy)
    }

    /// curl with these arguments, and nothing of its environment.
    pub fn curl(&self, arguments: &[&str]) -> Answer {
        let out = Command::new("curl")
            .args(["-q", "-sS", "-i", "--max-time", "20", "--cacert"])
            .arg(self.scratch.0.join("roots.pem"))
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Answer::of(&out)
    }

    /// curl through the proxy with the token.
    pub fn through(&self, arguments: &[&str]) -> Answer {
        self.curl(&[&["-x", &self.url()], arguments].concat())
    }

    pub fn plain(&self, path: &str) -> String {
        format!("http://origin.test:{}{path}", self.http)
    }

    pub fn secure(&self, path: &str) -> String {
        format!("https://origin.test:{}{path}", self.https)
    }

    /// A request to the proxy as it is written here, with the token and the end of the head put behind it.
    pub fn says(&self, head: &str, body: &str) -> String {
        let token = format!("proxy-authorization: Bearer {}\r\n", self.token);
        raw(self.proxy, format!("{head}\r\n{token}\r\n{body}").as_bytes())
    }

    pub fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.scratch.0.join("log.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until the log has a line for which `is` holds.
    pub fn wait_for(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            if let Some(found) = self.log().into_iter().find(|line| is(line)) {
                return found;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("no line of {what} in {:#?}", self.log());
    }
}

/// What curl saw.
#[derive(Debug)]
pub struct Answer {
    /// curl's own exit status.
    pub exit: i32,
    /// The status of the last answer, and the code of the proxy in it.
    pub status: u16,
    pub code: String,
    pub text: String,
    #[allow(dead_code, reason = "shown where a test fails")]
    pub errors: String,
}

impl Answer {
    fn of(out: &Output) -> Self {
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let errors = String::from_utf8_lossy(&out.stderr).into_owned();
        let exit = out.status.code().unwrap_or(-1);
        Self { exit, status: status(&text), code: code(&text), text, errors }
    }
}

/// The status of the last head in `text`.
pub fn status(text: &str) -> u16 {
    let mut lines = text.lines().filter(|line| line.starts_with("HTTP/1."));
    lines.next_back().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// The code of the proxy in `text`.
pub fn code(text: &str) -> String {
    let mut codes = text.lines().filter_map(|line| line.strip_prefix("leasehold-code: "));
    codes.next_back().unwrap_or_default().trim().to_owned()
}

/// Whether curl is here. A test without it says so where it is seen.
pub fn has_curl(test: &str) -> bool {
    let found = Command::new("curl").arg("--version").output().is_ok_and(|out| out.status.success());
    if !found {
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: there is no curl on this machine");
    }
    found
}
