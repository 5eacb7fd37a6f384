//! The operator's tool: asks a node, and follows hints to the leader for what only that can do.

use std::{
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Failure,
    config::{Cluster, NodeAddress, Operator},
    escape::shown,
    operator::{self, Answer, Ask},
    tls, worker,
};

/// How long it looks for a leader.
const PATIENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(200);

/// A question of the operator.
#[derive(clap::Args)]
pub struct Ctl {
    /// The operator's file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Ask this node, and no other
    #[arg(long, value_name = "ID")]
    node: Option<u64>,
    #[command(subcommand)]
    ask: Ask,
}

fn exchange(operator: &Operator, node: &NodeAddress, ask: &Ask) -> Result<Answer, Failure> {
    let config = tls::pinning_client(Some(&operator.identity))?;
    let (duplex, _) = worker::call(&node.clients, config, operator.cluster.fleet_certificate)?;
    operator::write_line(&duplex, ask)?;
    operator::read_line(&duplex)
}

/// The answer of the leader, or of whoever was named, and who that was.
pub fn ask(operator: &Operator, node: Option<u64>, ask: &Ask) -> Result<(u64, Answer), Failure> {
    let nodes: &[NodeAddress] = &operator.cluster.nodes;
    if let Some(id) = node {
        let named = operator.cluster.node(id);
        let named = named.ok_or_else(|| Failure::new(format!("config.id: there is no node {id}")))?;
        return Ok((id, exchange(operator, named, ask)?));
    }
    let deadline = Instant::now() + PATIENCE;
    let (mut at, mut last) = (0, Failure::new("nobody was asked"));
    while Instant::now() < deadline {
        let node = &nodes[at % nodes.len()];
        at += 1;
        match exchange(operator, node, ask) {
            Ok(Answer::Elsewhere { leader }) => {
                last = Failure::new("no node leads");
                let hint = nodes.iter().position(|other| Some(other.id) == leader && other.id != node.id);
                match hint {
                    Some(hint) => at = hint,
                    None => thread::sleep(AGAIN),
                }
            }
            Ok(answer) => return Ok((node.id, answer)),
            Err(failure) => {
                last = failure;
                thread::sleep(AGAIN);
            }
        }
    }
    Err(last)
}

/// A newcomer's place is what the cluster's file says.
fn with_place(question: &Ask, cluster: &Cluster) -> Ask {
    match question {
        Ask::Add { id, .. } => Ask::Add { id: *id, about: cluster.node(*id).cloned() },
        other => other.clone(),
    }
}

/// Asks, and shows the answer.
pub fn run(ctl: &Ctl) -> Result<ExitCode, Failure> {
    let operator = match Operator::read(&ctl.config) {
        Ok(operator) => operator,
        Err(refused) => {
            eprintln!("leasehold-node: {refused}");
            return Ok(ExitCode::from(2));
        }
    };
    let question = with_place(&ctl.ask, &operator.cluster);
    // How the nodes stand is for each of them to say; whichever leads says how the fleet does.
    if matches!(question, Ask::Status {}) && ctl.node.is_none() {
        let mut answered = false;
        for node in &operator.cluster.nodes {
            match exchange(&operator, node, &question) {
                Ok(answer) => {
                    answered = true;
                    show(&answer);
                }
                Err(failure) => println!("node {} does not answer: {}", node.id, shown(&failure.to_string())),
            }
        }
        return Ok(if answered { ExitCode::SUCCESS } else { ExitCode::from(3) });
    }
    match ask(&operator, ctl.node, &question) {
        Ok((_, answer)) => Ok(show(&answer)),
        Err(failure) => {
            eprintln!("leasehold-node: {}", shown(&failure.to_string()));
            Ok(ExitCode::from(3))
        }
    }
}

fn show(answer: &Answer) -> ExitCode {
    match answer {
        Answer::Done { text } => {
            text.lines().for_each(|line| println!("{}", shown(line)));
            ExitCode::SUCCESS
        }
        Answer::Refused { code, message } => {
            eprintln!("refused: {}: {}", shown(code), shown(message));
            ExitCode::from(3)
        }
        Answer::Elsewhere { leader } => {
            let leader = leader.map_or("nobody".into(), |leader| format!("node {leader}"));
            eprintln!("{leader} leads");
            ExitCode::from(3)
        }
    }
}
