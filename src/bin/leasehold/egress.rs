//! `leasehold egress test`: what one request would get under a policy.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{
    End, Fault, Outcome, answer,
    document::{self, Kind},
    say,
};

#[derive(Subcommand)]
pub enum Command {
    /// May a lease holder send this request? A live lease is assumed
    Test(Arguments),
}

#[derive(Args)]
pub struct Arguments {
    /// The egress policy, JSON or TOML
    policy: PathBuf,
    /// The URL of the request
    #[arg(long, required_unless_present = "connect", conflicts_with = "connect")]
    url: Option<String>,
    /// The authority of a tunnel (CONNECT), such as api.example.com:443
    #[arg(long)]
    connect: Option<String>,
    /// The method of a request with --url
    #[arg(long, default_value = "GET", conflicts_with = "connect")]
    method: String,
    /// A header of the request, NAME:VALUE; may be repeated
    #[arg(long, value_name = "NAME:VALUE")]
    header: Vec<String>,
    /// The size of the request's body in bytes
    #[arg(long)]
    body_bytes: Option<u64>,
    /// What DNS says, NAME=ADDRESS[,ADDRESS...]; may be repeated. No resolver is asked
    #[arg(long, value_name = "NAME=ADDRESS")]
    dns: Vec<String>,
    /// Print the whole answer as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(command: &Command, out: &mut String) -> Outcome {
    let Command::Test(arguments) = command;
    let policy = document::load_sound(&arguments.policy, Kind::Egress)?;
    let pair = |text: &str, sign: char, option: &str, form: &str| {
        let halves =
            text.split_once(sign).map(|(left, right)| (left.trim().to_string(), right.trim().to_string()));
        halves.ok_or_else(|| Fault::new(format!("{option} {text}: write {form}")))
    };
    let mut headers = Vec::new();
    for header in &arguments.header {
        let (name, value) = pair(header, ':', "--header", "NAME:VALUE")?;
        headers.push(json!([name, value]));
    }
    let mut dns = Map::new();
    for answers in &arguments.dns {
        let (name, list) = pair(answers, '=', "--dns", "NAME=ADDRESS,ADDRESS")?;
        let list: Vec<&str> = list.split(',').map(str::trim).collect();
        if dns.insert(name.clone(), json!(list)).is_some() {
            return Err(Fault::new(format!("--dns {name}: stands twice; put the addresses into one")));
        }
    }
    let mut request = Map::new();
    match (&arguments.url, &arguments.connect) {
        (Some(url), _) => {
            request.insert("method".into(), json!(arguments.method));
            request.insert("url".into(), json!(url));
        }
        (None, authority) => {
            request.insert("method".into(), json!("CONNECT"));
            request.insert("authority".into(), json!(authority));
        }
    }
    request.insert("headers".into(), Value::Array(headers));
    if let Some(bytes) = arguments.body_bytes {
        request.insert("body_bytes".into(), json!(bytes));
    }
    let question = json!({"kind": "egress", "policy": policy.document, "request": request, "dns": dns});
    let answer = answer::answer(question.to_string().as_bytes());
    if let Some(error) = answer.get("error") {
        let text = |name| error.get(name).and_then(Value::as_str).unwrap_or_default();
        return Err(Fault::new(format!("{} [{}]", text("message"), text("code"))));
    }
    if arguments.json {
        say(out, format_args!("{answer:#}"));
    } else {
        describe(&answer, out);
    }
    Ok(if answer.get("allow") == Some(&Value::Bool(true)) { End::Yes } else { End::No })
}

fn describe(answer: &Value, out: &mut String) {
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
    if answer.get("allow") == Some(&Value::Bool(true)) {
        let list = |name: &str| {
            let list = answer.get(name).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        };
        say(out, format_args!("allowed by rule {}", text("rule")));
        say(out, format_args!("  connect to  {}", list("addresses")));
        if !list("inject").is_empty() {
            say(out, format_args!("  inject      {}", list("inject")));
        }
        if let Some(would) =
            answer.get("would_refuse").and_then(|would| would.get("code")).and_then(Value::as_str)
        {
            say(out, format_args!("  observed    would be refused if the policy were enforced: {would}"));
        }
        return;
    }
    // Some messages end with their code already.
    let (message, code) = (text("message"), text("code"));
    let code = if message.contains(code) { String::new() } else { format!(" [{code}]") };
    say(out, format_args!("refused at stage {}: {message}{code}", text("stage")));
    if let Some(remedy) = leasehold::code::Code::parse(text("code")).and_then(leasehold::code::remedy) {
        say(out, format_args!("  help: {remedy}"));
    }
}
