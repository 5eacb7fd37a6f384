//! What is done to whoever leads while jobs run: killed, stopped for a while, or cut off from the others.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{Failure, config};

/// What is done, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// SIGKILL, and a new start later.
    Kill,
    /// SIGSTOP for longer than an election, then SIGCONT.
    Pause,
    /// Nothing passes between it and its peers for a while, in either direction. Workers still reach it.
    Partition,
}

/// A number that a seed decides.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1))
    }

    /// From `least` to `most`.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        // xorshift64*: what matters is that a run can be repeated.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let value = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        let span = u64::try_from(most.saturating_sub(least).as_millis()).unwrap_or(u64::MAX).max(1);
        least + Duration::from_millis(value % span)
    }
}

/// A way from one node to another that can be cut: bytes stay where they are, and nobody is told.
pub struct Way {
    port: u16,
    cut: Arc<AtomicBool>,
}

/// How long bytes wait before somebody looks again whether they may pass.
const LOOK: Duration = Duration::from_millis(10);

impl Way {
    /// A way to `to`.
    pub fn open(to: String) -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let cut = Arc::new(AtomicBool::new(false));
        let is_cut = Arc::clone(&cut);
        thread::Builder::new().name("way".into()).spawn(move || {
            for socket in listener.incoming().flatten() {
                let (to, cut) = (to.clone(), Arc::clone(&is_cut));
                thread::spawn(move || {
                    // A call that fails closes the caller's side as well.
                    let _ = pass(&socket, &to, &cut);
                    let _ = socket.shutdown(Shutdown::Both);
                });
            }
        })?;
        Ok(Self { port, cut })
    }

    /// Where the caller calls.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Cuts it, or lets pass again.
    pub fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
    }
}

fn pass(near: &TcpStream, to: &str, cut: &Arc<AtomicBool>) -> io::Result<()> {
    hold(cut);
    let address = config::resolve(to).ok_or(io::ErrorKind::AddrNotAvailable)?;
    let far = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    let back = (far.try_clone()?, near.try_clone()?, Arc::clone(cut));
    thread::spawn(move || pipe(&back.0, &back.1, &back.2));
    pipe(near, &far, cut);
    Ok(())
}

fn hold(cut: &AtomicBool) {
    while cut.load(Ordering::Relaxed) {
        thread::sleep(LOOK);
    }
}

fn pipe(mut from: &TcpStream, mut to: &TcpStream, cut: &AtomicBool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        hold(cut);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
