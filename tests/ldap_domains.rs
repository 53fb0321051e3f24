//! Two domains of a real Active Directory (Samba) as two sources, whose groups list one another's people and
//! groups: the real program, from the servers to the store.
#![cfg(test)]

mod support;

use support::idpsyncd::Home;
use support::samba::{AD, ADMIN, OTHER, PASSWORD, Samba, dn, group, user};

const DOMAIN_LOCAL: &str = "groupType: -2147483644\n";
const UNIVERSAL: &str = "groupType: -2147483640\n";

fn source(name: &str, dc: &Samba, bind_dn: &str) -> String {
    let suffix = dc.domain.suffix;
    format!(
        "[[source]]\nname = \"{name}\"\nkind = \"ldap\"\nurl = \"{}\"\nca_file = \"{}\"\n\
         bind_dn = \"{bind_dn}\"\nbind_password = {{ file = \"{}\" }}\n\
         users = {{ base = \"{suffix}\", filter = \"(&(objectCategory=person)(objectClass=user)(!(isCriticalSystemObject=TRUE)))\", username = \"sAMAccountName\" }}\n\
         groups = {{ base = \"{suffix}\", filter = \"(objectClass=group)\" }}\n",
        dc.ldaps_url,
        dc.ca_file().display(),
        dc.dir.path().join("secret").display(),
    )
}

fn config(first: &Samba, second: &Samba, second_by: &str) -> String {
    for dc in [first, second] {
        std::fs::write(dc.dir.path().join("secret"), PASSWORD).unwrap();
    }
    [
        "[store]\npath = \"store.db\"\n[guard]\nmax_lost_percent = 100\nmax_lost_floor = 1000\n"
            .to_owned(),
        source("first", first, &first.dn(ADMIN)),
        source("second", second, second_by),
        "[roles.partner]\nexternal_roles = []\n[roles.guest]\nexternal_roles = []\n".to_owned(),
        format!(
            "[[mapping]]\nsource = \"first\"\ngroup = \"{}\"\nroles = [\"partner\"]\n",
            first.dn("partners")
        ),
        format!(
            "[[mapping]]\nsource = \"second\"\ngroup = \"{}\"\nroles = [\"guest\"]\n",
            second.dn("visitors")
        ),
    ]
    .concat()
}

/// Puts somebody of another domain into a group, as the vendor's tools do.
fn list(dc: &Samba, group: &str, sid: &str) {
    dc.modify(&format!(
        "dn: CN={group},CN=Users,SUFFIX\nchangetype: modify\nadd: member\nmember: <SID={sid}>\n\n"
    ));
}

/// Who holds a role, by name.
fn holders(home: &Home, role: &str) -> Vec<String> {
    let store = rusqlite::Connection::open(home.path("store.db")).unwrap();
    let sql = "SELECT username FROM gateway_user_role WHERE role = ?1 ORDER BY username";
    let mut statement = store.prepare(sql).unwrap();
    let rows = statement.query_map([role], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn members_of_another_domain_count_by_sid_and_what_no_source_knows_is_named() {
    let entries = [
        user("alice", ""),
        group("team", &[dn("alice")], UNIVERSAL),
        group("partners", &[dn("alice")], DOMAIN_LOCAL),
    ];
    let Some(first) = Samba::start(AD, &entries.concat()) else { return };
    let entries = [
        ["zoe", "yan", "xi", "will"].map(|name| user(name, "")).concat(),
        group("inner", &[dn("yan")], ""),
        group("staff", &[dn("inner"), dn("xi")], UNIVERSAL),
        group("visitors", &[], DOMAIN_LOCAL),
    ];
    let Some(mut second) = Samba::start(OTHER, &entries.concat()) else { return };
    let (zoe, staff) = (second.sid("zoe").to_string(), second.sid("staff").to_string());
    list(&first, "partners", &zoe);
    list(&first, "partners", &staff);
    list(&first, "partners", "S-1-5-21-1111-2222-3333-1104");
    list(&second, "visitors", &first.sid("team").to_string());
    let admin = second.dn(ADMIN);
    let home = Home::new(&config(&first, &second, &admin));

    // The second cannot be read: nobody knows for whom these stand.
    home.configure(&config(&first, &second, "CN=nobody,DC=other"));
    home.ok(&["sync"], 4);
    assert_eq!(holders(&home, "partner"), ["alice"]);
    home.configure(&config(&first, &second, &admin));
    let told = home.ok(&["sync"], 0);
    assert_eq!(holders(&home, "partner"), ["alice", "xi", "yan", "zoe"]);
    assert_eq!(holders(&home, "guest"), ["alice"]);
    let foreign = "1 member(s) are of another directory, and no source knows them: \
                   `CN=S-1-5-21-1111-2222-3333-1104,CN=ForeignSecurityPrincipals,";
    assert!(told.contains(foreign), "{told}");
    let warned = told.lines().filter(|line| line.contains("another directory"));
    let unknown: Vec<&str> =
        warned.filter(|line| line.contains(&zoe) || line.contains(&staff)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let checked = home.ok(&["check"], 0);
    assert!(checked.contains(foreign), "{checked}");

    // Why: by what way, in which source.
    let principal = |sid: &str| {
        format!("foreign security principal `CN={sid},CN=ForeignSecurityPrincipals,{}`", AD.suffix)
    };
    let partners = format!("group `{}`", first.dn("partners"));
    let why = home.ok(&["explain", "zoe"], 0);
    assert!(why.contains(&format!("{} → {partners}", principal(&zoe))), "{why}");
    assert!(why.contains("(first, mapping[1])"), "{why}");
    assert!(why.contains(&format!("first: by the SID {zoe} in {partners}")), "{why}");
    let why = home.ok(&["explain", "yan"], 0);
    let [inner, staff_group] =
        ["inner", "staff"].map(|name| format!("group `{}`", second.dn(name)));
    let way = format!("{inner} → {staff_group} → {} → {partners}", principal(&staff));
    assert!(why.contains(&way), "{why}");

    // Out of the group there, deleted there, out of the list here; and one who comes in by a group.
    second.modify(
        "dn: CN=inner,CN=Users,SUFFIX\nchangetype: modify\nreplace: member\n\
         member: CN=will,CN=Users,SUFFIX\n\n\
         dn: CN=xi,CN=Users,SUFFIX\nchangetype: delete\n\n",
    );
    home.ok(&["sync"], 0);
    let partners_now = holders(&home, "partner");
    assert!(!partners_now.contains(&"yan".to_owned()), "{partners_now:?}");
    assert!(partners_now.contains(&"will".to_owned()), "{partners_now:?}");

    // While the second is down what it was known to say counts; and what the first says is new.
    second.kill();
    first.modify(&format!(
        "dn: CN=partners,CN=Users,SUFFIX\nchangetype: modify\ndelete: member\n\
         member: {}\n\n",
        format_args!("CN={staff},CN=ForeignSecurityPrincipals,SUFFIX")
    ));
    home.ok(&["sync"], 4);
    let partners_now = holders(&home, "partner");
    assert!(partners_now.contains(&"zoe".to_owned()), "{partners_now:?}");
    assert!(!partners_now.contains(&"will".to_owned()), "{partners_now:?}");
}
