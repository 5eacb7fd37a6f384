//! A policy from a log: the smallest one that the requests in it need.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

use leasehold::{
    code::Coded as _,
    egress::{EgressPolicy, EgressProxyPolicyService},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// The most paths that are written out for one host. Where there are more, what they have in common is.
const PATHS: usize = 16;

/// A line of the log, as far as it matters here.
#[derive(Deserialize)]
struct Line {
    event: String,
    #[serde(default)]
    verdict: Option<Verdict>,
    #[serde(default)]
    target: String,
}

#[derive(Deserialize)]
struct Verdict {
    method: String,
    scheme: Option<String>,
    host: Option<String>,
    port: Option<u16>,
}

/// What one host was asked for, at one port in one way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    scheme: String,
    port: u16,
    methods: BTreeSet<String>,
    paths: BTreeSet<String>,
}

/// Writes the policy that the log at `from` needs to standard output.
pub fn write(from: &Path) -> Result<(), String> {
    let failed = |error: &dyn ToString| format!("{}: {}", from.display(), error.to_string());
    let file = File::open(from).map_err(|error| failed(&error))?;
    let mut lines = Vec::new();
    for (at, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|error| failed(&error))?;
        lines.push((at + 1, line));
    }
    let policy = draft(lines.iter().map(|(at, line)| (*at, line.as_str())));
    let text = serde_json::to_string_pretty(&policy).map_err(|error| failed(&error))?;
    // What is written is a policy, or nothing is.
    let read = EgressPolicy::from_json(text.as_bytes()).map_err(|error| failed(&error))?;
    EgressProxyPolicyService::compile(&read)
        .map_err(|error| failed(&format!("{}: {error}", error.code())))?;
    println!("{text}");
    Ok(())
}

fn draft<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Value {
    // By host, scheme and port, and tunnels apart from requests: they match no paths.
    let mut uses: BTreeMap<(String, String, u16, bool), (BTreeSet<String>, BTreeSet<String>)> =
        BTreeMap::new();
    for (_, line) in lines {
        // Lines of other kinds and torn ones are no requests.
        let Ok(Line { event, verdict: Some(verdict), target }) = serde_json::from_str(line) else { continue };
        let (Some(scheme), Some(host), Some(port)) = (verdict.scheme, verdict.host, verdict.port) else {
            continue;
        };
        if event != "judged" {
            continue;
        }
        let tunnel = verdict.method == "CONNECT";
        let (methods, paths) = uses.entry((host, scheme, port, tunnel)).or_default();
        methods.insert(verdict.method);
        if !tunnel {
            paths.insert(path(&target));
        }
    }
    // Hosts that need the same share a rule.
    let mut rules: BTreeMap<Use, Vec<String>> = BTreeMap::new();
    for ((host, scheme, port, _), (methods, paths)) in uses {
        let paths = if paths.len() > PATHS { BTreeSet::from([common(&paths)]) } else { paths };
        let key = Use { scheme, port, methods, paths };
        rules.entry(key).or_default().push(host);
    }
    let rules: Vec<Value> = rules
        .into_iter()
        .enumerate()
        .map(|(at, (own, hosts))| {
            let mut rule = json!({
                "id": format!("observed-{}", at + 1), "hosts": hosts, "schemes": [own.scheme], "ports": [own.port],
                "methods": own.methods,
            });
            if !own.paths.is_empty() && !own.paths.contains("/") {
                rule["paths"] = json!(own.paths);
            }
            rule
        })
        .collect();
    json!({ "rules": rules })
}

/// The path of a target in the log, which has no query.
fn path(target: &str) -> String {
    let target = target.split_once("?...").map_or(target, |(path, _)| path);
    let path = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        // A route: `/r/RULE/path`.
        None => {
            target.strip_prefix("/r/").and_then(|rest| rest.find('/').map(|at| &rest[at..])).unwrap_or("/")
        }
    };
    // One that was cut for the log, or that a rule cannot spell, stands for everything below its last whole segment.
    match path.contains("...") || path.contains(['%', '\\', ';']) {
        true => {
            let end = path.find(['%', '\\', ';']).unwrap_or(path.len());
            path[..end].rfind('/').map_or("/", |at| &path[..=at]).to_owned()
        }
        false => path.to_owned(),
    }
}

/// The longest folder that all of them are in.
fn common(paths: &BTreeSet<String>) -> String {
    let (Some(first), Some(last)) = (paths.first(), paths.last()) else { return "/".into() };
    let same = first.bytes().zip(last.bytes()).take_while(|(one, two)| one == two).count();
    first[..same].rfind('/').map_or("/", |at| &first[..=at]).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(method: &str, scheme: &str, host: &str, port: u16, target: &str) -> String {
        json!({"event": "judged", "target": target,
               "verdict": {"method": method, "scheme": scheme, "host": host, "port": port}})
        .to_string()
    }

    #[test]
    fn hosts_that_need_the_same_share_a_rule_and_nothing_else_is_allowed() {
        let log = [
            judged("CONNECT", "https", "a.test", 443, "a.test:443"),
            judged("CONNECT", "https", "b.test", 443, "b.test:443"),
            judged("GET", "https", "c.test", 443, "https://c.test/v1/x?..."),
            judged("POST", "https", "c.test", 443, "/r/c/v1/y"),
            "{\"event\":\"moved\"}".to_owned(),
            "torn".to_owned(),
        ];
        let policy = draft(log.iter().map(String::as_str).enumerate());
        assert_eq!(
            policy,
            json!({"rules": [
                {"id": "observed-1", "hosts": ["a.test", "b.test"], "schemes": ["https"], "ports": [443],
                 "methods": ["CONNECT"]},
                {"id": "observed-2", "hosts": ["c.test"], "schemes": ["https"], "ports": [443],
                 "methods": ["GET", "POST"], "paths": ["/v1/x", "/v1/y"]},
            ]})
        );
    }

    #[test]
    fn many_paths_become_their_folder() {
        let log: Vec<String> = (0..20)
            .map(|at| judged("GET", "https", "a.test", 443, &format!("https://a.test/v1/items/{at}")))
            .collect();
        let policy = draft(log.iter().map(String::as_str).enumerate());
        assert_eq!(policy["rules"][0]["paths"], json!(["/v1/items/"]));
    }
}
