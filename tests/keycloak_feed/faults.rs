//! A real server behind one that answers some calls itself, for faults that a server does not commit on
//! demand.

use std::sync::{Arc, Mutex};

use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::support::keycloak::wait;

/// A part of a path, the status, and the body.
type Fault = (String, u16, &'static str);

/// See the module.
pub struct Faulty {
    server: MockServer,
    fault: Arc<Mutex<Option<Fault>>>,
    // Dropped last: the server's task runs on it.
    _runtime: tokio::runtime::Runtime,
}

struct Answer {
    to: String,
    fault: Arc<Mutex<Option<Fault>>>,
    client: reqwest::Client,
}

impl Respond for Answer {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        if let Some((part, status, body)) = &*self.fault.lock().unwrap()
            && request.url.path().contains(part.as_str())
        {
            return ResponseTemplate::new(*status).set_body_string(*body);
        }
        let query = request.url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let url = format!("{}{}{query}", self.to, request.url.path());
        let mut onward =
            self.client.request(request.method.clone(), url).body(request.body.clone());
        for name in ["authorization", "content-type"] {
            if let Some(value) = request.headers.get(name) {
                onward = onward.header(name, value);
            }
        }
        let (status, body) = wait(async move {
            let answer = onward.send().await.unwrap();
            (answer.status().as_u16(), answer.bytes().await.unwrap())
        });
        ResponseTemplate::new(status).set_body_raw(body.to_vec(), "application/json")
    }
}

impl Faulty {
    /// One before the server at `to`.
    pub fn before(to: &str) -> Faulty {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let fault = Arc::<Mutex<Option<Fault>>>::default();
        let answer =
            Answer { to: to.to_owned(), fault: fault.clone(), client: reqwest::Client::new() };
        let server = runtime.block_on(async {
            let server = MockServer::start().await;
            Mock::given(any()).respond_with(answer).mount(&server).await;
            server
        });
        Faulty { server, fault, _runtime: runtime }
    }

    pub fn url(&self) -> String {
        self.server.uri()
    }

    /// Answers each path that has `part` in it so.
    pub fn fail(&self, part: &str, status: u16, body: &'static str) {
        *self.fault.lock().unwrap() = Some((part.to_owned(), status, body));
    }

    /// Passes everything on again.
    pub fn mend(&self) {
        *self.fault.lock().unwrap() = None;
    }
}
