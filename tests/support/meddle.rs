//! A proxy before an HTTP server that tells a test of each request before it passes it on, so that
//! something can happen to the server between two requests of one read.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What is told of each request: how many came since it was set, from 1, and `METHOD /path?query`.
type Told = Box<dyn FnMut(usize, &str) + Send>;

/// See the module. Its threads end with their connections, the listening one with the program.
pub struct Meddler {
    /// Where it listens, on the loopback.
    pub port: u16,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    requests: Vec<String>,
    told: Option<Told>,
}

impl Meddler {
    /// One that leads to this port of the loopback.
    pub fn before(port: u16) -> Meddler {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let inner = Arc::<Mutex<Inner>>::default();
        let meddler = Meddler { port: listener.local_addr().unwrap().port(), inner: inner.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Where nobody listens behind, the client is hung up on.
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let (to, from) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let inner = inner.clone();
                std::thread::spawn(move || {
                    let _ = requests(from, &to, &inner);
                    let _ = to.shutdown(Shutdown::Both);
                });
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut &server, &mut &client);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        meddler
    }

    /// Tells `told` of each request from now on, one at a time; a request waits until `told`
    /// has returned.
    pub fn tell(&self, told: impl FnMut(usize, &str) + Send + 'static) {
        *self.inner.lock().unwrap() = Inner { told: Some(Box::new(told)), ..Inner::default() };
    }

    /// The requests since [`Meddler::tell`], as it told them. Nobody is told from now on.
    ///
    /// # Panics
    /// Where the one who was told did.
    pub fn end(&self) -> Vec<String> {
        let mut inner = self.inner.lock().expect("what was told of a request panicked");
        inner.told = None;
        std::mem::take(&mut inner.requests)
    }
}

/// Passes requests on until the client is done.
fn requests(from: TcpStream, mut to: &TcpStream, inner: &Mutex<Inner>) -> std::io::Result<()> {
    let mut from = BufReader::new(from);
    loop {
        let mut head = String::new();
        let mut length = 0;
        loop {
            let start = head.len();
            if from.read_line(&mut head)? == 0 {
                return Ok(());
            }
            let line = head[start..].to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            assert!(!line.starts_with("transfer-encoding:"), "the reader sends no chunks");
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        let line = head.split(" HTTP/").next().unwrap_or_default().to_owned();
        {
            let mut inner = inner.lock().unwrap();
            inner.requests.push(line.clone());
            let n = inner.requests.len();
            if let Some(told) = &mut inner.told {
                told(n, &line);
            }
        }
        to.write_all(head.as_bytes())?;
        to.write_all(&body)?;
    }
}
