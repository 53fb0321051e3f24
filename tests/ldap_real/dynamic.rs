//! That a URL means here whom the server's own search finds.

use std::collections::BTreeSet;

use super::*;

const CLASSES: &str = "#global include /etc/ldap/schema/dyngroup.schema\n";

/// Random people and filters over a few attributes of several rules.
struct Random(fastrand::Rng);

impl Random {
    fn one<'o>(&mut self, of: &[&'o str]) -> &'o str {
        of[self.0.usize(..of.len())]
    }

    fn number(&mut self) -> i64 {
        self.0.i64(-2..12)
    }

    fn text(&mut self) -> &'static str {
        self.one(&[
            "a", "A", "ab", "a b", "a  b", " ab", "B", "ba", "Zoë", "zoe", "straße", "1", "01",
        ])
    }

    fn person(&mut self, uid: &str) -> String {
        let mut lines = String::new();
        for attribute in ["title", "description", "departmentNumber", "mobile"] {
            for _ in 0..self.0.usize(..3) {
                let value = if attribute == "mobile" { "+1 5" } else { self.text() };
                let base64 = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, value);
                let line = format!("{attribute}:: {base64}\n");
                // Twice the same value is none.
                if !lines.contains(&format!("{attribute}:: ")) || self.0.bool() {
                    lines = format!("{line}{}", lines.replace(&line, ""));
                }
            }
        }
        if self.0.bool() {
            let (number, home) = (self.0.i64(0..12), self.one(&["/a", "/A", "/a b"]));
            lines = format!(
                "objectClass: posixAccount\nuidNumber: {number}\ngidNumber: 7\n\
                 homeDirectory: {home}\n{lines}"
            );
        }
        if self.0.bool() {
            let boss = self.one(&["uid=p1,ou=people", "UID=P2, OU=People", "cn=x\\2Cy"]);
            lines += &format!("manager: {boss},{SUFFIX}\n");
        }
        person(uid, &lines)
    }

    fn filter(&mut self, depth: usize) -> String {
        if depth > 0 && self.0.u8(..3) > 0 {
            let filters: String = (0..self.0.usize(1..4)).map(|_| self.filter(depth - 1)).collect();
            return match self.0.u8(..3) {
                0 => format!("(&{filters})"),
                1 => format!("(|{filters})"),
                _ => format!("(!{})", self.filter(depth - 1)),
            };
        }
        let text = self.one(&["title", "description", "departmentNumber", "cn", "uid", "mail"]);
        match self.0.u8(..9) {
            0 => format!("({text}=*)"),
            1 => format!("({text}={})", self.text()),
            2 => format!("({text}={}*)", self.text()),
            3 => format!("({text}=*{})", self.text()),
            4 => format!("({text}={}*{}*)", self.text(), self.text()),
            5 => format!("(uidNumber{}{})", self.one(&["=", ">=", "<="]), self.number()),
            6 => format!("(homeDirectory={})", self.one(&["/a", "/A", "/a b", "/b"])),
            7 => format!(
                "(manager={},{SUFFIX})",
                self.one(&["uid=p1,ou=people", "uid=p2,ou=PEOPLE", "cn=x\\5c,y"])
            ),
            _ => format!(
                "(objectClass={})",
                self.one(&["person", "posixAccount", "inetOrgPerson", "top", "2.5.6.7", "device"])
            ),
        }
    }
}

/// A filter as it stands in a URL.
fn in_url(filter: &str) -> String {
    percent_encoding::utf8_percent_encode(filter, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[test]
fn a_url_means_whom_the_servers_own_search_finds() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = Random(fastrand::Rng::with_seed(seed));
    let mut ldif = tree();
    for number in 0..60 {
        ldif += &random.person(&format!("p{number}"));
    }
    let bases =
        [SUFFIX.to_owned(), format!("ou=people,{SUFFIX}"), format!("uid=p1,ou=People,{SUFFIX}")];
    let mut groups = Vec::new();
    for number in 0..250 {
        let base = &bases[random.0.usize(..bases.len())];
        let scope = random.one(&["base", "one", "sub", "children"]);
        let filter = random.filter(3);
        let url = format!("ldap:///{}??{scope}?{}", base.replace(' ', "%20"), in_url(&filter));
        let name = format!("g{number}");
        ldif += &format!(
            "dn: {}\nobjectClass: groupOfURLs\ncn: {name}\nmemberURL: {url}\n\n",
            group_dn(&name)
        );
        groups.push((name, base.clone(), scope, filter));
    }
    let Some(server) = OpenLdap::start(&ldif, CLASSES) else { return };
    let mut config = reader(&server);
    config.groups.as_mut().unwrap().filter = "(objectClass=groupOfURLs)".to_owned();
    let snapshot = read(&config).unwrap();
    let (mut evaluated, mut somebody) = (0, 0);
    for (name, base, scope, filter) in groups {
        let dn = group_dn(&name);
        if !completeness(&snapshot, &dn).is_complete() {
            continue;
        }
        let all = format!("(&(objectClass=inetOrgPerson){filter})");
        let found = server.search(&["-b", &base, "-s", scope, &all, "uid"]);
        let found: BTreeSet<&str> =
            found.lines().filter_map(|line| line.strip_prefix("uid: ")).collect();
        let members: BTreeSet<&str> = members(&snapshot, &dn).into_iter().collect();
        assert_eq!(members, found, "seed {seed}: {base} {scope} {filter}");
        evaluated += 1;
        somebody += usize::from(!found.is_empty());
    }
    assert!(evaluated > 100 && somebody > 20, "{evaluated} evaluated, {somebody} mean somebody");
}
