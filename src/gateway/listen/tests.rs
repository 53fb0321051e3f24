use std::sync::Mutex;

use axum::body::Body;
use axum::http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::Notify;

use super::*;

const LONG: Duration = Duration::from_secs(3600);
/// Over before anybody can do a thing in it.
const NONE: Duration = Duration::ZERO;

/// A router that answers `ok`, but `/wait` only when it is told to.
fn router(go: &Arc<Notify>) -> Router {
    let go = Arc::clone(go);
    Router::new().fallback(move |request: Request<Body>| {
        let go = Arc::clone(&go);
        async move {
            match request.uri().path() {
                "/wait" => go.notified().await,
                // As gRPC does: the request's body is part of the question.
                "/body" => drop(axum::body::to_bytes(request.into_body(), 100).await),
                _ => {}
            }
            "ok"
        }
    })
}

/// One end of a connection that is served with these timeouts; how it ends.
fn served(timeouts: Timeouts) -> (DuplexStream, JoinHandle<End>, watch::Sender<bool>) {
    served_from(Instant::now(), timeouts)
}

/// One that began then.
fn served_from(
    began: Instant,
    timeouts: Timeouts,
) -> (DuplexStream, JoinHandle<End>, watch::Sender<bool>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (stop, stopped) = watch::channel(false);
    let router = router(&Arc::default());
    let task = tokio::spawn(connection::serve((far, None), router, timeouts, began, stopped));
    (near, task, stop)
}

fn timeouts(head: Duration, idle: Duration) -> Timeouts {
    Timeouts { head, idle, answer: LONG }
}

/// Reads an answer of HTTP/1.1 to `GET /`.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"ok") {
        let byte = stream.read_u8().await.unwrap_or_else(|error| {
            panic!("{error} after {:?}", String::from_utf8_lossy(&read));
        });
        read.push(byte);
    }
    String::from_utf8(read).unwrap()
}

/// Everything until the other end closes.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut rest).await;
    rest
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn a_connection_that_sends_no_whole_head_is_cut() {
    for sent in [
        &b""[..],
        b"GET",
        b"GET / HTTP/1.1\r\nhost: x\r\n",
        // HTTP/2: nothing but the preface, a preface in parts, settings without a request.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/2.0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ] {
        let (mut near, task, _stop) = served(timeouts(Duration::from_millis(50), LONG));
        // On a busy machine it is gone before it sends a thing.
        let _ = near.write_all(sent).await;
        assert_eq!(task.await.unwrap(), End::TooSlow, "{:?}", String::from_utf8_lossy(sent));
        assert!(!rest(&mut near).await.starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn a_later_head_is_timed_from_its_first_byte() {
    // The first has all the time in the world.
    let (mut near, task, _stop) =
        served_from(Instant::now() + LONG, timeouts(Duration::from_millis(50), LONG));
    near.write_all(GET).await.unwrap();
    assert!(answer(&mut near).await.starts_with("HTTP/1.1 200"));
    near.write_all(b"GET / HTT").await.unwrap();
    assert_eq!(task.await.unwrap(), End::TooSlow);
}

#[tokio::test]
async fn between_requests_a_connection_may_lie_idle_and_then_ends() {
    let (mut near, task, _stop) = served(timeouts(LONG, Duration::from_millis(50)));
    near.write_all(GET).await.unwrap();
    answer(&mut near).await;
    assert_eq!(rest(&mut near).await, b"", "it is closed, not answered");
    assert_eq!(task.await.unwrap(), End::Done);
}

#[tokio::test]
async fn no_patience_ends_what_is_being_answered() {
    let go = Arc::new(Notify::new());
    let (mut near, far) = tokio::io::duplex(1 << 16);
    let (_stop, stopped) = watch::channel(false);
    let short = timeouts(LONG, NONE);
    let served = connection::serve((far, None), router(&go), short, Instant::now(), stopped);
    let task = tokio::spawn(served);
    near.write_all(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // The timer has come and gone many times by then, were it running.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!task.is_finished());
    go.notify_one();
    answer(&mut near).await;
    assert_eq!(task.await.unwrap(), End::Done);
}

#[tokio::test]
async fn a_request_whose_body_never_comes_is_given_up() {
    let slow = Timeouts { head: LONG, idle: LONG, answer: Duration::from_millis(50) };
    let (mut near, _task, _stop) = served(slow);
    near.write_all(b"POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n").await.unwrap();
    let mut status = [0; 12];
    near.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 408");
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let (mut near, task, stop) = served(timeouts(LONG, LONG));
    near.write_all(GET).await.unwrap();
    answer(&mut near).await;
    stop.send(true).unwrap();
    assert_eq!(task.await.unwrap(), End::Done);
    let (_silent, task, stop) = served(timeouts(LONG, LONG));
    stop.send(true).unwrap();
    assert_eq!(task.await.unwrap(), End::Done);
}

/// A listener on a free port of the loopback.
async fn listening(most: usize, head: Duration) -> (Listening, Counts, SocketAddr) {
    let counts = Counts::default();
    let bounds = Bounds { most, timeouts: timeouts(head, LONG) };
    let at = Listen::Tcp("127.0.0.1:0".parse().unwrap());
    let router = router(&Arc::default());
    let listening =
        Listening::start(&at, Tls::default(), router, bounds, counts.clone()).await.unwrap();
    let address = listening.address().unwrap();
    (listening, counts, address)
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_listener_has_so_many_connections_and_the_next_waits_for_its_turn() {
    let (listening, counts, address) = listening(2, LONG).await;
    let one = TcpStream::connect(address).await.unwrap();
    let _two = TcpStream::connect(address).await.unwrap();
    until(|| counts.open.get() == 2).await;
    let most = Arc::new(Mutex::new(0));
    let (seen, open) = (Arc::clone(&most), counts.open.clone());
    let third = tokio::spawn(async move {
        let mut third = TcpStream::connect(address).await.unwrap();
        third.write_all(GET).await.unwrap();
        *seen.lock().unwrap() = open.get();
        answer(&mut third).await
    });
    until(|| *most.lock().unwrap() != 0).await;
    assert_eq!(*most.lock().unwrap(), 2, "it is connected, and not accepted");
    assert!(!third.is_finished());
    drop(one);
    assert!(third.await.unwrap().starts_with("HTTP/1.1 200"));
    listening.stop().await;
    assert_eq!(counts.open.get(), 0);
}

#[tokio::test]
async fn who_says_nothing_makes_room_for_who_asks() {
    let (listening, counts, address) = listening(3, Duration::from_millis(50)).await;
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let mut asks = TcpStream::connect(address).await.unwrap();
    asks.write_all(GET).await.unwrap();
    assert!(answer(&mut asks).await.starts_with("HTTP/1.1 200"));
    assert!(counts.too_slow.get() >= 9, "{}", counts.too_slow.get());
    drop((silent, asks));
    listening.stop().await;
}

#[tokio::test]
async fn a_tls_handshake_is_part_of_the_head() {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::server::ResolvesServerCertUsingSni::new()));
    let tls = Tls::default();
    tls.store(Some(Arc::new(TlsAcceptor::from(Arc::new(config)))));
    let counts = Counts::default();
    let bounds = Bounds { most: 1, timeouts: timeouts(Duration::from_millis(50), LONG) };
    let at = Listen::Tcp("127.0.0.1:0".parse().unwrap());
    let listening =
        Listening::start(&at, tls, router(&Arc::default()), bounds, counts.clone()).await.unwrap();
    let mut silent = TcpStream::connect(listening.address().unwrap()).await.unwrap();
    assert_eq!(rest(&mut silent).await, b"");
    until(|| counts.open.get() == 0).await;
    assert_eq!(counts.too_slow.get(), 1);
    listening.stop().await;
}

#[tokio::test]
async fn a_limit_that_is_raised_counts_at_once() {
    let (listening, counts, address) = listening(1, LONG).await;
    let _one = TcpStream::connect(address).await.unwrap();
    until(|| counts.open.get() == 1).await;
    let mut two = TcpStream::connect(address).await.unwrap();
    listening.limit(2);
    two.write_all(GET).await.unwrap();
    answer(&mut two).await;
    listening.stop().await;
}

#[test]
fn each_error_in_a_row_is_waited_for_longer_up_to_a_second() {
    let mut pauses = vec![after(Duration::ZERO)];
    while pauses.len() < 10 {
        pauses.push(after(*pauses.last().unwrap()));
    }
    assert_eq!(pauses[0], Duration::from_millis(10));
    assert_eq!(pauses[1], Duration::from_millis(20));
    assert!(pauses.is_sorted());
    assert_eq!(pauses[9], LONGEST_PAUSE);
}
