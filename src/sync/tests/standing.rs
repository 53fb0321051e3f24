//! By which configuration a store stands.

use super::ingest::by_hand;
use super::*;
use crate::sync::stands_by;

const CONFIG: &str = r#"
[schedule]
cron = "0 0 * * * *"
[[source]]
name = "realm"
kind = "file"
realm_export = "realm.json"
[roles.ml]
external_roles = ["deep"]
"#;

over_both! {
    a_store_stands_by_the_configuration_of_the_last_run_and_by_those_that_plan_alike
}

fn a_store_stands_by_the_configuration_of_the_last_run_and_by_those_that_plan_alike(over: Over) {
    let home = Home::over(over, CONFIG);
    let company = small();
    home.write("realm.json", &company.realm(&[person(0, &[], &[2])]));
    let by = |toml: &str| {
        let file = home.file("other.toml");
        std::fs::write(&file, format!("[store]\npath = \"store.db\"\n{toml}")).unwrap();
        let config = config::load(&file, &crate::source::kinds()).unwrap();
        stands_by(&config, &*home.reader()).unwrap()
    };
    home.sync();
    for (what, other, same) in [
        ("the same", CONFIG.to_owned(), true),
        ("another schedule", CONFIG.replace("0 0 *", "0 5 *"), true),
        ("a mode", format!("{CONFIG}sync_mode = \"force\"\n"), false),
        ("a rule", CONFIG.replace("[\"deep\"]", "[\"bundle\"]"), false),
        ("a guard", format!("{CONFIG}[guard]\nmax_lost_floor = 3\n"), false),
        ("a source", CONFIG.replace("name = \"realm\"", "name = \"other\""), false),
        ("a role", format!("{CONFIG}[roles.more]\n"), false),
    ] {
        assert_eq!(by(&other), Some(same), "{what}");
    }
    // What a source says anew has nothing to do with it, and what people do by hand leaves it open.
    home.write("realm.json", &company.realm(&[person(0, &[], &[]), person(1, &[], &[2])]));
    home.sync();
    assert_eq!(by(CONFIG), Some(true));
    by_hand(&home, "bot");
    assert_eq!(by(CONFIG), None);
    home.sync();
    assert_eq!(by(CONFIG), Some(true));
}
