//! The show without a person: both terminals as processes of their own, typed into and looked at from outside.
//!
//! Nothing here knows the library's state. A step counts when the terminal in question showed it, and where two terminals
//! speak of the same thing, when they say the same.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, ExitCode, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;

use crate::{Failure, escape::shown, qr, terminal::print};

/// How long the script waits for a line.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a script plays.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// A QR code
    Qr,
    /// A PIN
    Pin,
    /// Digits that people compare
    Compare,
    /// An operator who says no
    Reject,
}

/// A terminal with somebody at it.
struct Terminal {
    name: &'static str,
    process: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    /// What was typed and is a secret.
    secrets: Vec<String>,
}

impl Terminal {
    fn open(name: &'static str, arguments: &[&str]) -> Result<Self, Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let out = process.stdout.take().ok_or_else(|| Failure::new("no output to look at"))?;
        let (tell, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { name, process, lines, seen: Vec::new(), secrets: Vec::new() })
    }

    fn say(&mut self, line: &str) -> Result<(), Failure> {
        let input = self.process.stdin.as_mut().ok_or_else(|| Failure::new("nowhere to type"))?;
        input.write_all(format!("{line}\n").as_bytes())?;
        Ok(input.flush()?)
    }

    /// How much was shown so far.
    fn mark(&self) -> usize {
        self.seen.len()
    }

    /// A line that begins with `start`, shown since `mark` or soon: for things that happen in no order.
    fn see_since(&mut self, mark: usize, start: &str) -> Result<String, Failure> {
        match self.seen.iter().skip(mark).find_map(|line| line.strip_prefix(start)) {
            Some(rest) => Ok(rest.trim().to_owned()),
            None => self.see(start),
        }
    }

    /// Waits for a line that begins with `start`, and gives the rest of it.
    fn see(&mut self, start: &str) -> Result<String, Failure> {
        let end = Instant::now() + PATIENCE;
        loop {
            let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) else {
                // What was offered is spent, and still nobody's business.
                for line in self.seen.iter().filter(|line| !line.starts_with("code ")) {
                    eprintln!("{}: {}", self.name, shown(line));
                }
                return Err(Failure::new(format!("{}: never showed {start}", self.name)));
            };
            let rest = line.strip_prefix(start).map(|rest| rest.trim().to_owned());
            self.seen.push(line);
            if let Some(rest) = rest {
                return Ok(rest);
            }
        }
    }

    /// The end of input, and how the process ends.
    fn end(&mut self) -> Result<bool, Failure> {
        drop(self.process.stdin.take());
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait()? {
                // What it said last.
                while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(1)) {
                    self.seen.push(line);
                }
                return Ok(status.success());
            }
            if Instant::now() >= end {
                return Err(Failure::new(format!("{}: does not end", self.name)));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Secrets were shown at most `times`.
    fn kept_secrets(&self, times: usize) -> Result<(), Failure> {
        for secret in &self.secrets {
            let has =
                |line: &&String| line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == secret);
            let shown = self.seen.iter().filter(has).count();
            check(shown <= times, &format!("{}: a secret was shown {shown} times", self.name))?;
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn check(holds: bool, what: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::new(what)) }
}

fn same(what: &str, left: &str, right: &str) -> Result<(), Failure> {
    check(left == right, &format!("{what}: one terminal shows {left}, the other {right}"))
}

fn seen(step: &str) {
    print(&format!("seen: {step}\n"));
}

/// Plays `way`, or every way.
pub fn run(way: Option<Way>) -> Result<ExitCode, Failure> {
    let ways = way.map_or_else(|| Way::value_variants().to_vec(), |way| vec![way]);
    for way in ways {
        let name = way.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        print(&format!("== {name}\n"));
        play(way)?;
    }
    print("every step was seen\n");
    Ok(ExitCode::SUCCESS)
}

fn play(way: Way) -> Result<(), Failure> {
    let mut operator = Terminal::open("operator", &["operator"])?;
    let port = operator.see("listening on port ")?;
    let mut device = Terminal::open("device", &["device", &port])?;
    let key = device.see("key ")?;
    same(
        "the coordinator's certificate",
        &operator.see("certificate ")?,
        &device.see("the coordinator shows certificate ")?,
    )?;

    let method = match way {
        Way::Qr | Way::Reject => "qr",
        Way::Pin => "pin",
        Way::Compare => "compare",
    };
    operator.say(&format!("pair {method}"))?;
    let code = operator.see("code ")?;
    if method == "qr" {
        let drawn: Vec<String> =
            operator.seen.iter().filter(|line| line.contains('\u{2588}')).cloned().collect();
        let all = drawn.first().and_then(|first| operator.seen.iter().position(|line| line == first));
        // The quiet zone has no dark module in it: two lines of half blocks above and below.
        let from = all.map(|at| at.saturating_sub(2)).unwrap_or_default();
        let to = operator.seen.iter().rposition(|line| line.starts_with("scan it")).unwrap_or_default();
        check(qr::shows(&operator.seen[from..to], &code), "what is drawn is not the code")?;
        seen("the operator's terminal draws the QR code");
    }
    if way == Way::Pin {
        guess(&port, &code)?;
        seen("somebody who guesses the PIN gets nothing");
    }
    // The part of the code that is a secret.
    let secret = match method {
        "qr" => code.rsplit('/').next(),
        "pin" => code.split(' ').nth(1),
        _ => None,
    };
    operator.secrets.extend(secret.map(str::to_owned));
    device.secrets.extend(secret.map(str::to_owned));
    device.say(&code)?;
    let digits = device.see("digits ")?;
    let asked = operator.see("a device asks: ")?;
    check(
        asked == format!("worker press-1 by {method}, key {key}"),
        "the operator is asked about another device",
    )?;
    same("the digits", &operator.see("digits ")?, &digits)?;
    seen("the operator is asked, with the device's key and the same digits on both sides");
    if way == Way::Compare {
        device.say("yes")?;
    }
    device.see("waiting for the operator")?;

    if way == Way::Reject {
        operator.say(&format!("reject {digits}"))?;
        operator.see("rejected ")?;
        device.see("not paired: ")?;
        seen("the operator says no, and the device is told");
        check(!device.end()?, "the device ended as if all was well")?;
        check(operator.end()?, "the operator's terminal did not end well")?;
        let paired = |terminal: &Terminal| terminal.seen.iter().any(|line| line.starts_with("paired "));
        check(!paired(&operator) && !paired(&device), "something was paired")?;
        operator.kept_secrets(1)?;
        return device.kept_secrets(0);
    }

    // What was not compared is not approved: the digits say whom.
    operator.say("approve")?;
    operator.see("nobody asks with these digits")?;
    operator.say(&format!("approve {digits}"))?;
    let first = device_certificate(&operator.see("paired press-1 ")?)?;
    device.see("paired with fleet ")?;
    same("the device's certificate", &first, &device.see("certificate ")?)?;
    seen("approved, and both know the device's certificate");

    operator.see("joined press-1 ")?;
    same("the serving certificate", &device.see("serving as press-1 with certificate ")?, &first)?;
    work(&mut operator, "job-1")?;
    seen("the device joined the fleet and did a job");

    device.say("rotate")?;
    let second = device_certificate(&operator.see("rotating press-1 ")?)?;
    check(first != second, "the certificate after the rotation is the one before")?;
    same("the next certificate", &device.see("next certificate ")?, &second)?;
    operator.see("rotated press-1")?;
    same("the serving certificate", &device.see("serving as press-1 with certificate ")?, &second)?;
    work(&mut operator, "job-2")?;
    seen("the device rotated its certificate and did a job with the next one");
    device.say("old")?;
    let old = device.see("the old certificate ")?;
    check(old == "is turned away", &format!("the old certificate {old}"))?;
    operator.see("refused a stranger: connect: certificate.")?;
    seen("the old certificate is refused");

    operator.say("long")?;
    operator.see("started job-3")?;
    let revoked = operator.mark();
    operator.say("revoke press-1")?;
    operator.see_since(revoked, "closed press-1: device.revoked")?;
    device.see("cut off by the coordinator")?;
    let ended = operator.see_since(revoked, "ended job-3: ")?;
    check(ended.starts_with("lost "), &format!("the job of a revoked device ended {ended}"))?;
    operator.see_since(revoked, "lease of press-1 for job-3 ended: device_revoked")?;
    operator.see_since(revoked, "revoked press-1")?;
    seen("revoked in the middle of a job: the stream is cut and the lease is lost");
    device.see("turned away: ")?;
    operator.see_since(revoked, "refused a stranger: connect: device.revoked")?;
    seen("the revoked device comes back and is refused");

    device.say("quit")?;
    device.see("goodbye")?;
    check(device.end()?, "the device's terminal did not end well")?;
    operator.say("quit")?;
    operator.see("goodbye")?;
    check(operator.end()?, "the operator's terminal did not end well")?;
    operator.kept_secrets(1)?;
    device.kept_secrets(0)?;
    for terminal in [&operator, &device] {
        let fault = terminal.seen.iter().find(|line| line.starts_with("fault: "));
        check(fault.is_none(), &format!("{}: {}", terminal.name, fault.map_or("", String::as_str)))?;
    }
    seen("no secret was shown but the code, and no fault");
    Ok(())
}

/// Another device, whose user types another PIN. One wrong answer is the end of its pairing, and costs the code one of
/// its attempts.
fn guess(port: &str, code: &str) -> Result<(), Failure> {
    let mut words = code.split(' ');
    let (Some(session), Some(pin)) = (words.next(), words.next()) else {
        return Err(Failure::new("a PIN comes with its session"));
    };
    let other = if pin == "135790" { "097531" } else { "135790" };
    let mut guesser = Terminal::open("guesser", &["device", port, "--name", "press-2"])?;
    guesser.see("type the code")?;
    guesser.say(&format!("{session} {other}"))?;
    let why = guesser.see("not paired: ")?;
    check(why.starts_with("pairing.confirmation"), &format!("a wrong PIN ended with {why}"))?;
    check(!guesser.end()?, "the guesser's terminal ended as if all was well")
}

fn device_certificate(rest: &str) -> Result<String, Failure> {
    let text = rest.strip_prefix("certificate ").filter(|text| text.len() == 64);
    text.map(str::to_owned).ok_or_else(|| Failure::new(format!("no certificate: {rest}")))
}

fn work(operator: &mut Terminal, run: &str) -> Result<(), Failure> {
    operator.say("job")?;
    let ended = operator.see(&format!("ended {run}: "))?;
    check(ended.starts_with("done"), &format!("{run} ended {ended}"))
}
