//! What runs take away adds up over the guard's window.

use serde_json::json;

use super::*;

over_both! {
    what_trickles_away_is_held_like_what_goes_at_once
    a_window_of_nothing_looks_at_each_run_alone
}

const TOML: &str = "[guard]\nmax_lost_floor = 2\n[[source]]\nname = \"kc\"\nkind = \"file\"\n\
                    realm_export = \"kc.json\"\n[roles.ml]\nexternal_roles = [\"ML\"]\n";

/// Thirty people, of whom the first `left` are not in the group any more.
fn realm(left: usize) -> Value {
    let user = |at: usize| {
        let groups: &[&str] = if at < left { &[] } else { &["/ML"] };
        let (id, name) = (format!("id-{at:02}"), format!("user{at:02}"));
        json!({"id": id, "username": name, "enabled": true, "groups": groups})
    };
    json!({
        "realm": "r", "groups": [{"id": "ml", "name": "ML", "path": "/ML"}],
        "users": (0..30).map(user).collect::<Vec<_>>(), "roles": {"realm": [], "client": {}},
    })
}

/// A run `minutes` after the first one, of which so many left the group; how many pairs are held.
fn run_at(home: &Home, minutes: i64, left: usize) -> u64 {
    home.write("kc.json", &realm(left));
    let options =
        Options { dry_run: false, sources: None, what: "test".to_owned(), ..Options::default() };
    let silent: OnProgress = Arc::new(|_| {});
    let at = now() + chrono::Duration::minutes(minutes);
    let outcome = wait(run(&home.config, &*home.store, &options, &silent, at)).unwrap();
    outcome.held.map_or(0, |held| held.lost_pairs)
}

fn holders(home: &Home) -> usize {
    home.roles().values().filter(|roles| roles.contains("ml")).count()
}

fn what_trickles_away_is_held_like_what_goes_at_once(over: Over) {
    let home = Home::over(over, TOML);
    assert_eq!(run_at(&home, 0, 0), 0);
    assert_eq!(run_at(&home, 10, 2), 0);
    assert_eq!(run_at(&home, 20, 3), 0, "three of thirty");
    assert_eq!(run_at(&home, 30, 4), 1);
    assert_eq!(holders(&home), 27);
    // What is held is not let go for having waited while nothing else went.
    assert_eq!(run_at(&home, 120, 4), 1);
    assert_eq!(holders(&home), 27);
    // Once it is back, and the hour is over, the count begins anew.
    assert_eq!(run_at(&home, 130, 3), 0);
    assert_eq!(run_at(&home, 140, 5), 0);
    assert_eq!(holders(&home), 25);
}

fn a_window_of_nothing_looks_at_each_run_alone(over: Over) {
    let home = Home::over(
        over,
        &TOML.replace("max_lost_floor = 2\n", "max_lost_floor = 2\nwindow = \"0s\"\n"),
    );
    for left in 0..6 {
        assert_eq!(run_at(&home, 0, left), 0, "{left}");
    }
    assert_eq!(holders(&home), 25);
}
