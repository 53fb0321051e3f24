//! A gate before a server: passes everything on until a number of bytes of answers has passed,
//! then holds the rest back, so that a test can do something to the server in mid-read.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// See the module. Its threads end with their connections, the listening one with the program.
pub struct Gate {
    /// Where it listens.
    pub port: u16,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes of answers since the last [`Gate::hold_after`].
    passed: u64,
    /// How many clients have come since then.
    clients: u64,
    /// How many may pass; absent: any number.
    limit: Option<u64>,
    /// Answers are waiting.
    holding: bool,
    /// Nothing passes: whoever comes or waits is hung up on.
    cut: bool,
}

impl Gate {
    /// One that leads to this port of the loopback.
    pub fn to(port: u16) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gate = Gate { port: listener.local_addr().unwrap().port(), inner: Arc::default() };
        let inner = gate.inner.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                {
                    let mut state = inner.state.lock().unwrap();
                    state.clients += 1;
                    if state.cut {
                        continue;
                    }
                }
                // Where nobody listens behind, the client is hung up on.
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let (to, from) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let answers = inner.clone();
                std::thread::spawn(move || pump(from, to, |_| true));
                std::thread::spawn(move || pump(server, client, |count| answers.pass(count)));
            }
        });
        gate
    }

    /// From now on, only so many bytes of answers pass.
    pub fn hold_after(&self, bytes: u64) {
        let mut state = self.inner.state.lock().unwrap();
        *state = State { limit: Some(bytes), ..State::default() };
    }

    /// Waits until answers are held back.
    pub fn await_holding(&self) {
        let state = self.inner.state.lock().unwrap();
        let patience = Duration::from_secs(60);
        let waited = self.inner.changed.wait_timeout_while(state, patience, |it| !it.holding);
        assert!(waited.unwrap().0.holding, "the answers were shorter");
    }

    /// Hangs up on everyone, and on whoever comes: what is held back never arrives.
    pub fn cut(&self) {
        self.inner.state.lock().unwrap().cut = true;
        self.inner.changed.notify_all();
    }

    /// Lets everything pass again.
    pub fn open(&self) {
        *self.inner.state.lock().unwrap() = State::default();
    }

    /// How many bytes of answers have passed since the last [`Gate::hold_after`].
    pub fn passed(&self) -> u64 {
        self.inner.state.lock().unwrap().passed
    }

    /// How many clients have come since the last [`Gate::hold_after`], or ever.
    pub fn clients(&self) -> u64 {
        self.inner.state.lock().unwrap().clients
    }
}

impl Inner {
    /// Waits until `count` more bytes may pass; whether they may.
    fn pass(&self, count: u64) -> bool {
        let mut state = self.state.lock().unwrap();
        while !state.cut && state.limit.is_some_and(|limit| state.passed + count > limit) {
            state.holding = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap();
        }
        state.passed += count;
        !state.cut
    }
}

/// Passes on what comes, until either side ends; then both have ended.
fn pump(mut from: TcpStream, mut to: TcpStream, may_pass: impl Fn(u64) -> bool) {
    let mut bytes = [0; 512];
    loop {
        match from.read(&mut bytes) {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                if !may_pass(count as u64) || to.write_all(&bytes[..count]).is_err() {
                    break;
                }
            }
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
