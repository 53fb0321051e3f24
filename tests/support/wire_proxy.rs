//! A proxy before a PostgreSQL: passes everything on, until it is told to hang, to hang up, or to lose the
//! answer to a commit.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// See the module. Its threads end with their connections, the listening one with the program.
pub struct WireProxy {
    /// Where it listens, on the loopback.
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
    /// Where it leads.
    port: u16,
    manner: Manner,
    /// How many have come.
    clients: u64,
    /// How many there are.
    open: u64,
    /// What is hung up on when it is cut.
    sockets: Vec<TcpStream>,
    /// What to do once something is sent that holds the bytes.
    trap: Option<(Vec<u8>, Trap)>,
    /// What must be sent before that counts.
    first: Option<Vec<u8>>,
    /// It was sent.
    sprung: bool,
    /// What is answered is counted from when something comes that holds this.
    mark: Vec<u8>,
    counted: usize,
}

/// How it behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Manner {
    #[default]
    Passes,
    /// Whoever comes is taken, and nothing is passed on.
    Hangs,
    /// Whoever comes is hung up on.
    Cuts,
}

/// What happens to something that was waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trap {
    /// It never arrives, and whoever sent it is hung up on.
    Lost,
    /// It arrives, and whoever sent it is hung up on instead of answered.
    Unanswered,
    /// It arrives, and nothing is passed on from then on.
    Hangs,
}

impl WireProxy {
    /// One that leads to this port of the loopback.
    pub fn before(port: u16) -> WireProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let inner = Arc::<Inner>::default();
        inner.state.lock().unwrap().port = port;
        let proxy = WireProxy { port: listener.local_addr().unwrap().port(), inner: inner.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                inner.take(client);
            }
        });
        proxy
    }

    /// From now on it leads here; whoever is there stays where he is.
    pub fn lead_to(&self, port: u16) {
        self.inner.state.lock().unwrap().port = port;
    }

    /// Passes nothing on any more, either way, and takes whoever comes.
    pub fn hang(&self) {
        self.inner.behave(Manner::Hangs);
    }

    /// Hangs up on everyone, and on whoever comes.
    pub fn cut(&self) {
        self.inner.behave(Manner::Cuts);
        for socket in std::mem::take(&mut self.inner.state.lock().unwrap().sockets) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Passes on again: what was held back too.
    pub fn open(&self) {
        self.inner.behave(Manner::Passes);
    }

    /// Lets `trap` happen to the next that is sent and holds `bytes`.
    pub fn set(&self, bytes: &[u8], trap: Trap) {
        let mut state = self.inner.state.lock().unwrap();
        state.trap = Some((bytes.to_vec(), trap));
        state.first = None;
        state.sprung = false;
    }

    /// The same, of what is sent after something that holds `first`.
    pub fn set_after(&self, first: &[u8], bytes: &[u8], trap: Trap) {
        self.set(bytes, trap);
        self.inner.state.lock().unwrap().first = Some(first.to_vec());
    }

    /// From now on it counts how much is answered since something came last that holds `mark`, that included.
    pub fn count_from(&self, mark: &[u8]) {
        let mut state = self.inner.state.lock().unwrap();
        (state.mark, state.counted) = (mark.to_vec(), 0);
    }

    /// How many bytes that is.
    pub fn counted(&self) -> usize {
        self.inner.state.lock().unwrap().counted
    }

    /// Waits until what was set has happened.
    pub fn await_sprung(&self) {
        let state = self.inner.state.lock().unwrap();
        let patience = Duration::from_secs(60);
        let waited = self.inner.changed.wait_timeout_while(state, patience, |it| !it.sprung);
        assert!(waited.unwrap().0.sprung, "it was not sent");
    }

    /// Whether what was set has happened.
    pub fn has_sprung(&self) -> bool {
        self.inner.state.lock().unwrap().sprung
    }

    /// How many have come, and how many of those are there still.
    pub fn clients(&self) -> (u64, u64) {
        let state = self.inner.state.lock().unwrap();
        (state.clients, state.open)
    }

    /// Waits until nobody is there any more.
    pub fn await_nobody(&self) {
        let state = self.inner.state.lock().unwrap();
        let patience = Duration::from_secs(60);
        let waited = self.inner.changed.wait_timeout_while(state, patience, |it| it.open > 0);
        assert_eq!(waited.unwrap().0.open, 0, "somebody stays");
    }
}

impl Inner {
    fn behave(&self, manner: Manner) {
        self.state.lock().unwrap().manner = manner;
        self.changed.notify_all();
    }

    fn take(self: &Arc<Self>, client: TcpStream) {
        let port = {
            let mut state = self.state.lock().unwrap();
            state.clients += 1;
            if state.manner == Manner::Cuts {
                return;
            }
            state.port
        };
        // Where nobody listens behind, the client is hung up on.
        let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { return };
        {
            let mut state = self.state.lock().unwrap();
            state.open += 1;
            state.sockets.push(client.try_clone().unwrap());
            state.sockets.push(server.try_clone().unwrap());
        }
        let (to, from) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        let inner = self.clone();
        std::thread::spawn(move || inner.answers(server, client));
        let inner = self.clone();
        std::thread::spawn(move || {
            inner.questions(&from, &to);
            let mut state = inner.state.lock().unwrap();
            state.open -= 1;
            drop(state);
            inner.changed.notify_all();
        });
    }

    fn answers(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 65_536];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            self.count(&bytes[..count]);
            if !self.may_pass() || to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    }

    fn count(&self, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap();
        let mark = &state.mark;
        if !mark.is_empty() {
            let begins = bytes.windows(mark.len()).any(|at| at == mark);
            state.counted = if begins { 0 } else { state.counted } + bytes.len();
        }
    }

    fn questions(&self, from: &TcpStream, to: &TcpStream) {
        let (mut from, mut to) = (from, to);
        // So that whoever leaves is seen to leave while nothing is passed on.
        from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut bytes = [0; 65_536];
        let mut held = Vec::new();
        loop {
            match from.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => held.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
            let manner = self.state.lock().unwrap().manner;
            match manner {
                Manner::Hangs => continue,
                Manner::Cuts => break,
                Manner::Passes => {}
            }
            let sent = std::mem::take(&mut held);
            let trap = self.trapped(&sent);
            if trap == Some(Trap::Hangs) {
                self.behave(Manner::Hangs);
            }
            if trap == Some(Trap::Unanswered) {
                let _ = from.shutdown(Shutdown::Both);
            }
            if trap != Some(Trap::Lost) && to.write_all(&sent).is_err() {
                break;
            }
            if trap.is_some() {
                self.state.lock().unwrap().sprung = true;
                self.changed.notify_all();
            }
            match trap {
                // The server sees its client gone only after what was sent.
                Some(Trap::Unanswered) => {
                    let _ = to.shutdown(Shutdown::Write);
                    return;
                }
                Some(Trap::Lost) => break,
                Some(Trap::Hangs) | None => {}
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn trapped(&self, bytes: &[u8]) -> Option<Trap> {
        let holds = |wanted: &[u8]| bytes.windows(wanted.len()).any(|at| at == wanted);
        let mut state = self.state.lock().unwrap();
        if let Some(first) = &state.first {
            if holds(first) {
                state.first = None;
            }
            return None;
        }
        let (wanted, trap) = state.trap.as_ref()?;
        let trap = holds(wanted).then_some(*trap)?;
        state.trap = None;
        Some(trap)
    }

    /// Waits while nothing is passed on; whether something may be.
    fn may_pass(&self) -> bool {
        let state = self.state.lock().unwrap();
        let waited = self.changed.wait_while(state, |it| it.manner == Manner::Hangs);
        waited.unwrap().manner == Manner::Passes
    }
}
