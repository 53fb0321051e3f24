//! What no caller in its right mind sends, and what becomes of it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kit::{ACTIONS, EVALUATION, EVALUATIONS, Pdp, RESOURCES, SUBJECTS, asks};

/// A question of alice, in which `X` stands for more.
const QUESTION: &str = r#"{"subject": {"type": "user", "id": "alice" X1}, "action": {"name": "read" X2},
    "resource": {"type": "record", "id": "record-1" X3} X4}"#;

fn question(place: &str, more: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (n, part) in QUESTION.split('X').enumerate() {
        // Behind the first `X` each part begins with its number.
        let (number, rest) = if n == 0 { ("", part) } else { part.split_at(1) };
        if number == place {
            bytes.extend_from_slice(more);
        }
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}

#[test]
fn what_two_parsers_could_read_as_two_questions_is_refused() {
    let pdp = Pdp::shipped();
    let of = |place: &str, more: &[u8]| {
        let body = question(place, more);
        let evaluation = pdp.raw(EVALUATION, &body, &[]).status;
        for path in [EVALUATIONS, SUBJECTS, RESOURCES, ACTIONS] {
            assert_eq!(pdp.raw(path, &body, &[]).status, evaluation, "{path} {more:?}");
        }
        evaluation
    };
    // What is unknown is ignored, at any depth, if it can be read.
    for more in [
        r#", "more": {"deep": [1, 2.5, -3e7, null, true, "\u00fc\ud83d\ude00"]}"#,
        r#", "properties": {"a": {"b": [{}]}}"#,
        r#", "": 1, " ": 2"#,
    ] {
        for place in ["1", "2", "3"] {
            assert_eq!(of(place, more.as_bytes()), 200, "{place} {more}");
        }
    }
    assert_eq!(of("4", b", \"extra\": [[[]]], \"context\": {\"x\": null}"), 200);
    for (place, more) in [
        // Trap 5: a member that is there twice, wherever,
        ("1", &br#", "id": "bob""#[..]),
        ("1", br#", "id": "alice""#),
        ("1", br#", "\u0069d": "bob""#),
        ("2", br#", "name": "write""#),
        ("3", br#", "type": "x""#),
        ("4", br#", "subject": {"type": "user", "id": "bob"}"#),
        ("4", br#", "context": {}, "context": {}"#),
        ("1", br#", "properties": {"a": 1, "a": 2}"#),
        ("4", br#", "unknown": [{"deep": {"a": 1, "a": 1}}]"#),
        // a lone surrogate, in a value or a name, known or not,
        ("1", br#", "properties": {"a": "\ud800"}"#),
        ("4", br#", "unknown": "\udc00""#),
        ("4", br#", "unknown": "\ud800\u0041""#),
        ("4", br#", "\ud800": 1"#),
        ("4", br#", "unknown": ["\ud83d"]"#),
        // a noncharacter,
        ("4", br#", "unknown": "\ufffe""#),
        ("4", br#", "unknown": {"\ufdd0": 1}"#),
        ("4", ", \"unknown\": \"\u{1ffff}\"".as_bytes()),
        // bytes that are no UTF-8, a raw control character,
        ("4", b", \"unknown\": \"\xff\""),
        ("4", b", \"unknown\": \"\xed\xa0\x80\""),
        ("4", b", \"unknown\": \"\xc0\xaf\""),
        ("4", b", \"unknown\": \"\n\""),
        ("4", b", \"unknown\": \"\0\""),
        // numbers that are none, and other dialects.
        ("4", br#", "unknown": 1e999"#),
        ("4", br#", "unknown": 01"#),
        ("4", br#", "unknown": NaN"#),
        ("4", br#", "unknown": +1"#),
        ("4", br#", "unknown": 'x'"#),
        ("4", br#", "unknown": 1,"#),
        ("4", b", // comment\n \"unknown\": 1"),
    ] {
        let shown = String::from_utf8_lossy(more);
        assert_eq!(of(place, more), 400, "{place} {shown}");
    }
    let mut marked = b"\xef\xbb\xbf".to_vec();
    marked.extend(question("", b""));
    assert_eq!(pdp.raw(EVALUATION, &marked, &[]).status, 400, "a byte order mark");
    let wide: Vec<u8> = String::from_utf8(question("", b""))
        .unwrap()
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(pdp.raw(EVALUATION, &wide, &[]).status, 400, "UTF-16");
}

#[test]
fn nesting_items_and_bytes_have_their_limits() {
    let pdp = Pdp::shipped();
    let nested = |depth: usize| {
        let more = format!(", \"context\": {{\"x\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
        pdp.raw(EVALUATION, &question("4", more.as_bytes()), &[]).status
    };
    assert_eq!(nested(100), 200);
    for depth in [130, 10_000, 1_000_000] {
        assert_eq!(nested(depth), 400, "{depth}");
    }
    let batch = |count: usize| {
        let mut body = asks("alice", "read", "record/record-1");
        body["evaluations"] = json!(vec![json!({}); count]);
        pdp.post(EVALUATIONS, &body)
    };
    let most = batch(1000);
    assert_eq!(most.json()["evaluations"].as_array().unwrap().len(), 1000);
    let more = batch(1001);
    assert_eq!(more.status, 400);
    assert_eq!(more.json(), "there are 1001 evaluations, and 1000 at most are taken");
    let large = |bytes: usize| {
        let mut body = asks("alice", "read", "record/record-1");
        body["context"] = json!({"x": "x".repeat(bytes)});
        pdp.post(EVALUATION, &body)
    };
    assert_eq!(large(4_000_000).status, 200);
    let refused = large(4 * 1024 * 1024);
    assert!(refused.status == 413 || refused.status == 0, "{refused:?}");
    // It goes on answering.
    assert!(pdp.decide(&asks("alice", "read", "record/record-1")));
}

#[test]
fn a_limit_is_a_whole_number_and_a_token_one_that_was_given() {
    let pdp = Pdp::shipped();
    let search = |page: Value| {
        let body = json!({"subject": {"type": "user"}, "action": {"name": "read"},
            "resource": {"type": "record", "id": "record-1"}, "page": page});
        pdp.post(SUBJECTS, &body)
    };
    for limit in
        [json!(-1), json!(1.5), json!("1"), json!(null), json!([]), json!(true), json!(-0.5)]
    {
        assert_eq!(search(json!({"limit": limit})).status, 400, "{limit}");
    }
    for page in [json!("x"), json!(null), json!([]), json!({"token": 1}), json!({"properties": 1})]
    {
        assert_eq!(search(page.clone()).status, 400, "{page}");
    }
    for token in ["x", "AAAA", "====", "é", "a b", &"A".repeat(100_000)] {
        assert_eq!(search(json!({"token": token})).status, 400, "{token:.20}");
    }
    let zero = search(json!({"limit": 0}));
    assert_eq!(zero.json(), json!({"page": {"next_token": "", "count": 0}, "results": []}));
    for limit in [json!(1_000_000), json!(1e300), json!(u64::MAX), json!(2.0)] {
        let answer = search(json!({"limit": limit, "unknown": {}})).json();
        assert_eq!(answer["results"].as_array().unwrap().len(), 2, "{limit}");
    }
}

/// Everything that comes for these bytes until the connection ends, or nothing more comes.
fn exchange(port: u16, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // Whoever refuses may have ended the connection meanwhile.
    let _ = stream.write_all(bytes);
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count) = stream.read(&mut buffer) {
        if count == 0 {
            break;
        }
        got.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&got).into_owned()
}

#[test]
fn a_body_that_nobody_reads_is_never_the_next_request() {
    let pdp = Pdp::shipped();
    let inner = asks("alice", "read", "record/record-1").to_string();
    let smuggled = format!(
        "POST {EVALUATION} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{inner}",
        inner.len()
    );
    for (what, head) in [
        (
            "another method",
            format!("PUT {EVALUATION} HTTP/1.1\r\ncontent-type: application/json\r\n"),
        ),
        ("another type", format!("POST {EVALUATION} HTTP/1.1\r\ncontent-type: text/plain\r\n")),
        ("the metadata", "POST /.well-known/authzen-configuration HTTP/1.1\r\n".to_owned()),
    ] {
        let outer =
            format!("{head}host: x\r\ncontent-length: {}\r\n\r\n{smuggled}", smuggled.len());
        let got = exchange(pdp.port, outer.as_bytes());
        assert_eq!(got.matches("HTTP/1.1 ").count(), 1, "{what}: {got}");
        assert!(got.to_lowercase().contains("connection: close"), "{what}: {got}");
        assert!(!got.contains("decision"), "{what}: {got}");
    }
    let long = format!(
        "POST {EVALUATION} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: 99999999\r\n\r\n{smuggled}"
    );
    let got = exchange(pdp.port, long.as_bytes());
    assert!(got.starts_with("HTTP/1.1 413"), "{got}");
    assert_eq!(got.matches("HTTP/1.1 ").count(), 1, "{got}");
}

/// A request with a body of the largest size, of which the end does not come.
fn unfinished(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "POST {EVALUATION} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {LARGEST}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

const LARGEST: usize = 4 * 1024 * 1024;

#[test]
fn what_many_callers_send_at_once_takes_bounded_memory() {
    /// In MiB: what the program takes by itself, all bodies together, and what a few threads parse.
    const MOST: u64 = 320;
    let pdp = Pdp::shipped();
    // What a parser makes a hundred bytes of for each two of these.
    for (unit, begin, end) in [("[1],", "{\"x\":[", "0]}"), ("{\"a\":{}},", "{\"x\":[", "0]}")] {
        let many = (LARGEST - begin.len() - end.len()) / unit.len();
        let body = format!("{begin}{}{end}", unit.repeat(many));
        std::thread::scope(|scope| {
            for _ in 0..24 {
                scope.spawn(|| {
                    let got = pdp.raw(EVALUATIONS, body.as_bytes(), &[]);
                    // On a busy machine there may be no room in time.
                    let refused = matches!(got.status, 408 | 503);
                    let counted = got.body.contains("more than 250000 values and names");
                    assert!(refused || got.status == 400 && counted, "{got:?}");
                });
            }
        });
    }
    let peak = pdp.server.peak_memory();
    assert!(peak < MOST, "{peak} MiB");
    // Many that are never whole: as much of each as is taken.
    let mut streams: Vec<TcpStream> = (0..100).map(|_| unfinished(pdp.port)).collect();
    let (part, mut sent, mut idle) = (vec![b' '; 64 * 1024], vec![0; streams.len()], 0);
    while idle < 200 {
        idle += 1;
        for (stream, sent) in streams.iter_mut().zip(&mut sent) {
            let most = part.len().min(LARGEST - 1 - *sent);
            if let Ok(count) = stream.write(&part[..most])
                && count > 0
            {
                *sent += count;
                idle = 0;
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let peak = pdp.server.peak_memory();
    assert!(peak < MOST, "{peak} MiB");
    // Whoever asks one thing is answered beside all that.
    assert!(pdp.decide(&asks("alice", "read", "record/record-1")));
}

#[test]
fn as_many_questions_as_may_be_asked_at_once_are_not_too_much() {
    let pdp = Pdp::shipped();
    let claims: Value = (0..40).map(|n| (format!("claim {n}"), json!([n, "text"]))).collect();
    let mut one = asks("alice", "read", "record/record-1");
    one["context"] = claims;
    let batch = json!({"evaluations": vec![one; 1_000]});
    let answer = pdp.ok(EVALUATIONS, &batch);
    let decisions = answer["evaluations"].as_array().unwrap();
    assert!(decisions.len() == 1_000 && decisions.iter().all(|it| it["decision"] == true));
}
