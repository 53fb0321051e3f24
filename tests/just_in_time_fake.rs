//! Just in time against a fake Keycloak that takes 20 ms an answer, for counting calls and for
//! faults that a real server does not commit on demand.

#![cfg(test)]

mod support;

use std::time::Duration;

use futures_util::future::join_all;
use idpsyncd::gateway::provision::{Limits, Provisioned};
use support::slow_keycloak::{Home, by_name};

fn patient() -> Limits {
    Limits {
        deadline: Duration::from_secs(300),
        lookup: Duration::from_secs(120),
        memory: Duration::ZERO,
        ..Limits::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_up_by_id_is_three_calls_and_the_token_is_kept() {
    let home = Home::new().await;
    let provisioner = home.provisioner(patient());
    let who = home.by_id("s1");
    let answers = join_all((0..1000).map(|_| provisioner.provision(&who))).await;
    assert!(answers.iter().all(|it| matches!(it, Provisioned::Committed { .. })));
    let calls = home.calls();
    assert_eq!(
        calls,
        [
            "POST token",
            "users/id-s1",
            "users/id-s1/groups?briefRepresentation=true&first=0&max=-1",
            "users/id-s1/role-mappings",
        ]
    );
    provisioner.provision(&by_name("s2")).await;
    let calls = home.calls();
    assert_eq!(calls.len(), 3, "{calls:?}");
    assert!(!calls.contains(&"POST token".to_owned()));
    assert_eq!(home.members(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_strangers_cost_no_more_than_the_queue_takes() {
    let home = Home::new().await;
    let limits = Limits { queue: 56, ..patient() };
    let provisioner = home.provisioner(limits);
    let callers: Vec<_> = (0..1000).map(|n| home.by_id(&format!("s{n}"))).collect();
    let answers = join_all(callers.iter().map(|who| provisioner.provision(who))).await;
    let committed = answers.iter().filter(|it| matches!(it, Provisioned::Committed { .. })).count();
    // Those who are polled after the first have landed may find a place.
    assert!(committed >= 64, "{committed}");
    assert_eq!(home.calls().len(), 3 * committed + 1);
    assert_eq!(home.members(), committed as u64 + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_list_is_nobody_only_beside_a_count_that_says_so() {
    let home = Home::new().await;
    let provisioner = home.provisioner(patient());
    assert_eq!(provisioner.provision(&by_name("nobody")).await, Provisioned::Nobody);
    assert_eq!(provisioner.provision(&home.by_id("nobody")).await, Provisioned::Nobody);
    let unavailable = [
        // A failing statement: the list is empty, the count fails.
        ("users?", 200, "[]", "users/count", 400, "x"),
        ("users?", 200, "[]", "users/count", 200, "1"),
        // Cut off, or glued.
        ("users?", 200, "[{\"id\":", "zzz", 200, ""),
        ("users/id-s1", 200, "{}{\"error\":1}", "zzz", 200, ""),
        // Only one body says that a user is gone.
        ("users/id-s1", 404, "{\"error\":\"Realm not found.\"}", "zzz", 200, ""),
        ("users/id-s1", 403, "{\"error\":\"HTTP 403 Forbidden\"}", "zzz", 200, ""),
    ];
    let before = home.members();
    for (a, a_status, a_body, b, b_status, b_body) in unavailable {
        home.mend();
        home.set(a, a_status, a_body);
        home.set(b, b_status, b_body);
        let who = if a.starts_with("users?") { by_name("s1") } else { home.by_id("s1") };
        let answer = provisioner.provision(&who).await;
        assert!(matches!(answer, Provisioned::Unavailable(_)), "{a} {a_body}: {answer:?}");
    }
    assert_eq!(home.members(), before);
    home.mend();
    assert!(matches!(provisioner.provision(&by_name("s1")).await, Provisioned::Committed { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn someone_of_a_federation_is_believed_while_its_directory_answers() {
    let home = Home::new().await;
    let provisioner = home.provisioner(patient());
    home.set("components", 200, r#"[{"id":"F","name":"corp","providerId":"ldap","config":{}}]"#);
    home.set("users/f%3AF", 500, r#"{"error":"unknown_error"}"#);
    for enabled in [false, true] {
        home.realm.lock().unwrap().lea_enabled = enabled;
        let answer = provisioner.provision(&by_name("lea")).await;
        let Provisioned::Unavailable(why) = answer else { panic!("{answer:?}") };
        assert!(why.contains("cannot be believed"), "{why}");
    }
    home.realm.lock().unwrap().faults.remove("users/f%3AF");
    home.realm.lock().unwrap().lea_enabled = false;
    let answer = provisioner.provision(&by_name("lea")).await;
    assert!(matches!(answer, Provisioned::Refused(_)), "{answer:?}");
    home.realm.lock().unwrap().lea_enabled = true;
    let answer = provisioner.provision(&by_name("lea")).await;
    assert!(matches!(answer, Provisioned::Committed { .. }), "{answer:?}");
}
