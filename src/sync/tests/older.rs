//! Stores that older programs wrote: the first sync over one, and those after it.

use rusqlite::Connection;

use super::*;

const CONFIG: &str = r#"
[[source]]
name = "realm"
kind = "file"
realm_export = "realm.json"
[roles.ml]
sync_mode = "force"
external_roles = []
[roles.deep]
external_roles = ["deep"]
[roles.blue]
external_roles = ["osmo-blue"]
[[mapping]]
group = "/Eng/ML"
roles = ["ml"]
[[mapping]]
attribute = { name = "department", value = "Research" }
roles = ["blue"]
"#;

const SCHEMAS: [&str; 3] = [
    include_str!("../../store/sqlite/schema/v1.sql"),
    include_str!("../../store/sqlite/schema/v2.sql"),
    include_str!("../../store/sqlite/schema/v3.sql"),
];

/// From the tables of the present schema to those of the first, but for reasons.
const COPY: &str = "
UPDATE meta SET (generation, applied_at, version, next_due, next_user) =
    (SELECT generation, applied_at, version, next_due, next_user FROM new.meta);
INSERT INTO role SELECT num, name, live, description, everyone, mode, template, policies FROM new.role;
INSERT INTO role_policy SELECT role, n, position, effect, action, resource FROM new.role_policy;
INSERT INTO request SELECT num, action, resource FROM new.request;
INSERT INTO role_set SELECT num, id, users FROM new.role_set;
INSERT INTO role_set_role SELECT role_set, role FROM new.role_set_role;
INSERT INTO decision
    SELECT s.num, d.request, d.allow, d.role FROM new.role_set s JOIN new.decision d ON d.list = s.list;
INSERT INTO user SELECT id, username, email, status, since, disabled_by, role_set FROM new.user;
INSERT INTO link_source SELECT num, name FROM new.link_source;
INSERT INTO link SELECT user, source, ext FROM new.link;
INSERT INTO reason_set SELECT num, reasons FROM new.reason_set;
INSERT INTO idp_grant SELECT user, role, reasons FROM new.idp_grant;
INSERT INTO generation SELECT num, at, first, silent FROM new.generation;
INSERT INTO history
    SELECT num, generation, kind, user, role, origin, cause, reasons, old_reasons, old, new, note
      FROM new.history;
INSERT INTO source (num, name, configured, kind, read_at, tried_at, spoke_at)
    SELECT num, name, configured, kind, read_at, tried_at, spoke_at FROM new.source WHERE name <> 'local';
";

/// The store as a program of schema `version` would have written it.
fn made_older(home: &Home, version: usize) {
    let (store, new) = (home.file("store.db"), home.file("new.db"));
    for end in ["", "-wal", "-shm"] {
        let from = home.file(&format!("store.db{end}"));
        if from.exists() {
            std::fs::rename(from, home.file(&format!("new.db{end}"))).unwrap();
        }
    }
    let conn = Connection::open(&store).unwrap();
    conn.execute_batch(SCHEMAS[0]).unwrap();
    conn.execute("ATTACH ?1 AS new", [new.to_str().unwrap()]).unwrap();
    conn.execute_batch(COPY).unwrap();
    let mut reasons = conn.prepare("SELECT num, source, rule, path FROM new.reason").unwrap();
    let mut rows = reasons.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let path: Vec<Value> = serde_json::from_str(&row.get::<_, String>(3).unwrap()).unwrap();
        let label = |step: &Value| {
            let kind = step["kind"].as_str().unwrap().replace('-', " ");
            format!("{kind} `{}`", step["identity"].as_str().unwrap())
        };
        let labels: Vec<String> = path.iter().map(label).collect();
        conn.execute(
            "INSERT INTO reason (num, source, rule, reference, path) VALUES (?1, ?2, ?3, ?4, ?5)",
            (
                row.get::<_, i64>(0).unwrap(),
                row.get::<_, String>(1).unwrap(),
                row.get::<_, String>(2).unwrap(),
                labels.last().unwrap(),
                json!(labels).to_string(),
            ),
        )
        .unwrap();
    }
    SCHEMAS.iter().take(version).skip(1).for_each(|sql| conn.execute_batch(sql).unwrap());
    conn.pragma_update(None, "user_version", i64::try_from(version).unwrap()).unwrap();
}

fn paths(home: &Home) -> Vec<String> {
    let conn = Connection::open(home.file("store.db")).unwrap();
    let mut paths = conn.prepare("SELECT path FROM reason ORDER BY num").unwrap();
    paths.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn company() -> (Company, Vec<User>) {
    let mut company = small();
    company.group_roles[1] = vec![1];
    let research = |user| User { department: true, ..user };
    (company, vec![person(0, &[1], &[]), research(person(1, &[1], &[2])), person(2, &[], &[0])])
}

#[test]
fn the_first_sync_over_an_older_store_changes_nobody_and_knows_things_by_their_ids_from_then_on() {
    for version in [1, 2, 3] {
        let home = Home::new(CONFIG);
        let (company, people) = company();
        home.write("realm.json", &company.realm(&people));
        home.sync();
        let (roles, written) = (home.roles(), paths(&home));
        let names = ["u0", "u1", "u2"];
        let told = names.map(|name| home.grants(name));
        assert!(
            told[1].contains("deep: through realm role `deep` (realm, roles.deep), and 1 more way"),
            "{told:?}"
        );
        made_older(&home, version);
        assert!(paths(&home).iter().all(|path| !path.contains("identity")));

        // A person comes who holds what others hold for the same reason.
        let mut more = people.clone();
        more.push(person(3, &[1], &[]));
        home.write("realm.json", &company.realm(&more));
        let outcome = home.sync();
        let plan = outcome.plan.unwrap();
        let mut kinds: Vec<&str> =
            plan.changes.iter().map(|change| change.kind().as_str()).collect();
        kinds.sort_unstable();
        assert_eq!(
            kinds,
            ["grant-added", "grant-added", "link-added", "user-created"],
            "{version}"
        );
        assert_eq!(names.map(|name| home.grants(name)), told, "{version}");
        assert_eq!(home.grants("u3"), told[0], "{version}");
        assert_eq!(paths(&home), written, "{version}: the same rows, with ids");
        assert!(home.roles().iter().all(|(name, held)| name == "u3" || roles[name] == *held));
        assert!(home.sync().plan.is_none(), "{version}: settled");

        // A rename is told of those in the group, and a rule that named it by its path gives no more.
        let mut realm = company.realm(&more);
        realm["groups"][0]["subGroups"][0]["path"] = json!("/Eng/AI");
        realm["groups"][0]["subGroups"][0]["name"] = json!("AI");
        for user in realm["users"].as_array_mut().unwrap() {
            if user["groups"] == json!(["/Eng/ML"]) {
                user["groups"] = json!(["/Eng/AI"]);
            }
        }
        home.write("realm.json", &realm);
        let plan = home.sync().plan.unwrap();
        let of = |kind: &str| plan.changes.iter().filter(|it| it.kind().as_str() == kind).count();
        assert_eq!((of("grant-reasons"), of("grant-removed")), (3, 3), "{:?}", plan.changes);
    }
}

#[test]
fn an_unchanged_run_over_an_older_store_makes_no_generation_and_writes_the_ids() {
    for version in [1, 2, 3] {
        let home = Home::new(CONFIG);
        let (company, people) = company();
        home.write("realm.json", &company.realm(&people));
        home.sync();
        let written = paths(&home);
        made_older(&home, version);
        let first = home.sync();
        assert!(!first.changes(), "{:?}", first.plan.unwrap().changes);
        assert_eq!((first.before, first.generation), (1, 1), "{version}");
        assert_eq!(paths(&home), written, "{version}");
        let again = home.sync();
        assert!(again.plan.is_none() && again.generation == 1, "{version}");
    }
}
