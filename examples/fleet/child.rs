//! Processes: this executable once more, in another role.
//!
//! The first line on a child's standard input is all that it needs to know, private keys included, so that they are in
//! no file, argument or environment. Further lines are commands. The end of input means that the supervisor is gone,
//! and every child ends then.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    sync::mpsc::Sender,
    thread,
    time::{Duration, Instant},
};

use leasehold::{
    digest::Sha256Digest,
    id::{DeviceId, GrantId, SessionId, WorkerId},
    identity::pairing::PairingMethod,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Failure, jobs::Job, process_log::LogEntry};

/// The longest line between our processes: a boot document carries the whole job file.
const MAX_LINE: u64 = 64 << 20;

/// What the supervisor may tell a child after its boot document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Take no more work; end what runs.
    Drain,
    /// End now, in order.
    Stop,
    /// Offer a pairing.
    Offer { method: PairingMethod },
    /// The operator approves the pairing with this transcript.
    Approve { session: SessionId, transcript: Sha256Digest },
    /// The operator says no.
    Reject { session: SessionId },
    /// Another job.
    Submit { job: Box<Job> },
    /// As an operator: close the latch of this worker.
    Quarantine(WorkerId),
    /// As an operator: revoke this device.
    Revoke(DeviceId),
    /// Ask for a lease with this grant, which has been spent.
    SpendAgain(GrantId),
}

/// A note and the process that it came from.
pub struct Told {
    /// The process's name, such as `worker-2`, and which start of it.
    pub process: (String, u32),
    /// What it said.
    pub entry: LogEntry,
}

/// A running child.
pub struct Child {
    /// Its name in entries.
    pub name: String,
    process: std::process::Child,
}

impl Child {
    /// Starts this executable in `role`. Its entries go to `entries`, the last of them is [`LogEntry::Exited`].
    pub fn start(
        name: &str,
        generation: u32,
        role: &str,
        boot: &impl Serialize,
        entries: &Sender<Told>,
    ) -> Result<Self, Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C of the terminal is for the supervisor, which then drains.
            .process_group(0)
            .spawn()?;
        let (out, err) = (process.stdout.take(), process.stderr.take());
        let mut line = serde_json::to_vec(boot)?;
        line.push(b'\n');
        if let Some(stdin) = process.stdin.as_mut() {
            stdin.write_all(&line)?;
        }
        let from = move |name: &str| (name.to_owned(), generation);
        if let Some(err) = err {
            let (process, entries) = (from(name), entries.clone());
            thread::spawn(move || {
                for line in BufReader::new(err.take(MAX_LINE)).split(b'\n').map_while(Result::ok) {
                    let text = String::from_utf8_lossy(&line).into_owned();
                    let _ = entries.send(Told { process: process.clone(), entry: LogEntry::Said { text } });
                }
            });
        }
        if let Some(out) = out {
            let (process, entries) = (from(name), entries.clone());
            thread::spawn(move || {
                for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                    let entry = serde_json::from_slice(&line).unwrap_or_else(|error| LogEntry::Fault {
                        message: format!("a log entry that is none: {error}"),
                    });
                    let _ = entries.send(Told { process: process.clone(), entry });
                }
                // Whether it ended well is known when it is waited for.
                let _ = entries.send(Told { process, entry: LogEntry::Exited });
            });
        }
        Ok(Self { name: name.to_owned(), process })
    }

    /// Tells the child. One that is gone cannot be told, and its end is noted elsewhere.
    pub fn order(&mut self, order: &Order) {
        if let (Some(stdin), Ok(mut line)) = (self.process.stdin.as_mut(), serde_json::to_vec(order)) {
            line.push(b'\n');
            let _ = stdin.write_all(&line).and_then(|()| stdin.flush());
        }
    }

    /// SIGKILL: no handler, no farewell, nothing flushed.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Waits for the end until `patience` is over; a child that stays longer is killed. True: it ended by itself, well.
    pub fn end(&mut self, patience: Duration) -> bool {
        drop(self.process.stdin.take());
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            match self.process.try_wait() {
                Ok(Some(status)) => return status.success(),
                Ok(None) => thread::sleep(Duration::from_millis(5)),
                Err(_) => return false,
            }
        }
        self.kill();
        false
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// In the child: the boot document.
pub fn boot<T: DeserializeOwned>() -> Result<T, Failure> {
    let mut line = Vec::new();
    // Without a buffer of its own, nothing of the orders is read ahead and lost.
    io::stdin().lock().take(MAX_LINE).read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line)?)
}

/// In the child: hands every order to `tell`, and [`Order::Stop`] at the end of input.
pub fn orders(mut tell: impl FnMut(Order) + Send + 'static) {
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(order) => tell(order),
                Err(_) => break,
            }
        }
        tell(Order::Stop);
    });
}
