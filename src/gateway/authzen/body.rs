//! The bodies of questions, and how much memory all of them may take.
//!
//! A body is small where it asks one thing, and those are always read. Of larger ones as many are read at a
//! time as there is room for: the next ones wait, and their connections with them. What a body would become
//! as values is counted before it is parsed: two bytes can make a hundred.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::{HeaderMap, StatusCode};
use futures_util::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::http::Refusal;

/// The largest body, in bytes: a thousand questions with all that gateways say of a request fit.
const LARGEST: usize = 4 * 1024 * 1024;
/// A body of so many bytes is read whatever others there are.
const SMALL: usize = 16 * 1024;
/// So much room there is for all larger ones together, in bytes.
const ROOM: usize = 64 * 1024 * 1024;
/// How long a larger one waits for room.
const PATIENCE: Duration = Duration::from_secs(5);

/// So much of a body that nobody looks at is taken, in bytes, and for so long.
const DISCARDED: usize = 64 * 1024;
const LINGER: Duration = Duration::from_millis(200);

/// Room for larger bodies, for all that are under way.
#[derive(Clone)]
pub(super) struct Room {
    free: Arc<Semaphore>,
    patience: Duration,
}

/// A body, and the room that it takes until it is answered.
pub(super) struct Taken {
    pub(super) bytes: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(super) fn new() -> Room {
        Room { free: Arc::new(Semaphore::new(ROOM)), patience: PATIENCE }
    }

    /// The body, where it is said to be JSON and not too large, and there is room for it.
    ///
    /// # Errors
    /// It is not read, or not in whole.
    pub(super) async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Taken, Refusal> {
        if !is_json(headers) {
            discard(headers, body).await;
            let why = "the `Content-Type` is not `application/json`";
            return Err(Refusal::unread(StatusCode::BAD_REQUEST, why));
        }
        let too_large = || {
            let why = format!("the body has more than {LARGEST} bytes, or did not come in whole");
            Refusal::unread(StatusCode::PAYLOAD_TOO_LARGE, why)
        };
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let length: Option<usize> = length.and_then(|length| length.parse().ok());
        if length.is_some_and(|length| length > LARGEST) {
            return Err(too_large());
        }
        let (mut bytes, mut room) = (Vec::new(), None);
        let mut parts = body.into_data_stream();
        while let Some(part) = parts.next().await {
            let part = part.map_err(|_| too_large())?;
            let size = bytes.len().saturating_add(part.len());
            if size > LARGEST {
                return Err(too_large());
            }
            if size > SMALL && room.is_none() {
                // What is not said may be anything.
                let whole = length.unwrap_or(LARGEST).max(size);
                room = Some(self.of(whole).await?);
                bytes.reserve_exact(whole.saturating_sub(bytes.len()));
            }
            bytes.extend_from_slice(&part);
        }
        Ok(Taken { bytes, _room: room })
    }

    /// Room for so many bytes.
    async fn of(&self, size: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.free).acquire_many_owned(size);
        match tokio::time::timeout(self.patience, room).await {
            Ok(Ok(room)) => Ok(room),
            // It is never closed.
            Ok(Err(_)) | Err(_) => {
                let why = "too many large requests are under way";
                Err(Refusal::unread(StatusCode::SERVICE_UNAVAILABLE, why))
            }
        }
    }
}

/// Takes what has come of a body that nobody looks at: closing the connection with it in the way would
/// reset it, and the answer might never arrive. Whoever says that they wait with it gets the answer first.
pub(super) async fn discard(headers: &HeaderMap, body: Body) {
    if !headers.contains_key(EXPECT) {
        // An error, or an end of patience, changes nothing: the connection ends.
        let _ = tokio::time::timeout(LINGER, to_bytes(body, DISCARDED)).await;
    }
}

/// Whether there is one `Content-Type`, and it is JSON's, whatever its parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(one), None) = (types.next(), types.next()) else { return false };
    let Ok(one) = one.to_str() else { return false };
    let essence = one.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// Whether JSON text holds more than `most` values and names of members. What is no JSON has some number too.
pub(super) fn holds_more(text: &[u8], most: usize) -> bool {
    // Each stands behind a byte of its own, but for the first.
    if text.len() < most {
        return false;
    }
    let (mut count, mut quoted, mut escaped) = (1_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' | b',' | b':' if !quoted => count = count.saturating_add(1),
            _ => {}
        }
    }
    count > most
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(length: Option<usize>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(length.map(|length| (CONTENT_LENGTH, HeaderValue::from(length))));
        headers
    }

    fn body(size: usize) -> Body {
        Body::from(vec![b' '; size])
    }

    #[tokio::test]
    async fn large_bodies_share_their_room_and_small_ones_need_none() {
        let room = Room::new();
        let at_once = Room { patience: Duration::from_millis(1), ..room.clone() };
        let mut held = Vec::new();
        for _ in 0..ROOM / LARGEST {
            held.push(room.read(&headers(Some(LARGEST)), body(LARGEST)).await.ok().unwrap());
        }
        for length in [Some(SMALL + 1), None] {
            let refused = at_once.read(&headers(length), body(SMALL + 1)).await.err().unwrap();
            assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{length:?}");
        }
        assert_eq!(
            at_once.read(&headers(None), body(SMALL)).await.ok().unwrap().bytes.len(),
            SMALL
        );
        // Whoever waits goes on as soon as one is answered.
        let (headers, next) = (headers(None), body(SMALL + 1));
        let waiting = room.read(&headers, next);
        let answered = async { drop(held.pop()) };
        let (read, ()) = tokio::join!(waiting, answered);
        assert_eq!(read.ok().unwrap().bytes.len(), SMALL + 1);
        drop(held);
        assert_eq!(room.free.available_permits(), ROOM);
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_not_read_whatever_it_says() {
        let room = Room::new();
        for length in [Some(LARGEST + 1), None, Some(10)] {
            let refused = room.read(&headers(length), body(LARGEST + 1)).await.err().unwrap();
            assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE, "{length:?}");
        }
        assert_eq!(room.free.available_permits(), ROOM);
    }

    #[test]
    fn the_values_of_a_text_are_counted_as_a_parser_would_make_them() {
        for (text, count) in [
            ("[]", 2),
            ("1", 1),
            (r#"{"a": 1, "b": [2, 3]}"#, 7),
            (r#"{"a,b:[{": "\",:[{\\", "c": "\\\\"}"#, 5),
            ("[[1],[1],[1]]", 7),
        ] {
            // In a text so long that somebody counts.
            let long = format!("{text}{}", " ".repeat(20));
            assert!(holds_more(long.as_bytes(), count - 1), "{text}");
            assert!(!holds_more(long.as_bytes(), count), "{text}");
        }
    }
}
