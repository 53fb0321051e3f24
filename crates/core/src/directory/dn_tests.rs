use proptest::prelude::*;

use super::*;

#[test]
fn spellings_of_one_entry_have_one_normal_form() {
    for (written, normal) in [
        ("", ""),
        ("  ", ""),
        ("uid=alice,ou=people,dc=example,dc=org", "uid=alice,ou=people,dc=example,dc=org"),
        ("UID=Alice, OU=People ,DC=Example;dc=ORG", "uid=alice,ou=people,dc=example,dc=org"),
        ("cn=A\\, B,dc=x", "cn=a\\2c b,dc=x"),
        ("CN=a\\,  b,dc=x", "cn=a\\2c b,dc=x"),
        ("cn=A\\2C B,dc=x", "cn=a\\2c b,dc=x"),
        ("cn=A\\2c\\20B,dc=x", "cn=a\\2c b,dc=x"),
        ("cn=\"A, B\",dc=x", "cn=a\\2c b,dc=x"),
        ("cn = \"A, B\" , dc = x", "cn=a\\2c b,dc=x"),
        ("2.5.4.3=A\\, B,dc=x", "cn=a\\2c b,dc=x"),
        ("OID.2.5.4.3=A\\, B,dc=x", "cn=a\\2c b,dc=x"),
        ("commonName=a,dc=x", "cn=a,dc=x"),
        ("userid=a,domainComponent=x", "uid=a,dc=x"),
        ("cn=#0401 61,dc=x", ""),
        ("cn=#040161,dc=x", "cn=a,dc=x"),
        ("cn=#0C0141,dc=x", "cn=a,dc=x"),
        ("cn=#1303414243", "cn=abc"),
        ("1.2.3.4=#0201FF,dc=x", "1.2.3.4=#0201ff,dc=x"),
        ("cn=b+uid=a,dc=x", "cn=b+uid=a,dc=x"),
        ("uid=A + cn=B,dc=x", "cn=b+uid=a,dc=x"),
        ("cn=a+cn=A,dc=x", "cn=a,dc=x"),
        ("cn=\\20 a \\20,dc=x", "cn=a,dc=x"),
        ("cn=a\\=b,dc=x", "cn=a\\3db,dc=x"),
        ("cn=a=b,dc=x", "cn=a\\3db,dc=x"),
        ("cn=\\#a,dc=x", "cn=\\23a,dc=x"),
        ("cn=a#b,dc=x", "cn=a\\23b,dc=x"),
        ("cn=J\\C3\\BCrgen,dc=x", "cn=jürgen,dc=x"),
        ("cn=JÜRGEN,dc=x", "cn=jürgen,dc=x"),
        ("cn=Ju\u{308}rgen,dc=x", "cn=jürgen,dc=x"),
        ("cn=\\FF,dc=x", "cn=\\ff,dc=x"),
        ("cn=OSMO   ML Team,dc=x", "cn=osmo ml team,dc=x"),
        ("homeDirectory=/Home/A,dc=x", "homedirectory=/Home/A,dc=x"),
        ("cn=,dc=x", "cn=,dc=x"),
        ("cn=a/b,dc=x", "cn=a/b,dc=x"),
    ] {
        if normal.is_empty() && !written.trim().is_empty() {
            assert!(normalize(written).is_err(), "{written}");
        } else {
            assert_eq!(normalize(written).as_deref(), Ok(normal), "{written}");
        }
    }
}

#[test]
fn what_is_not_a_dn_is_refused_and_the_reason_named() {
    for (written, why) in [
        ("alice", "no `=`"),
        ("cn=a,", "no `=`"),
        ("cn=a,,dc=x", "may not"),
        ("=a", "empty"),
        ("c n=a", "space"),
        ("cn=a\\", "ends in a backslash"),
        ("cn=a\\2", "one hex digit"),
        ("cn=a\\zb", "needs none"),
        ("cn=\"a", "not closed"),
        ("cn=\"a\"b", "follows a closing quote"),
        ("cn=a\"b", "middle of a value"),
        ("cn=#", "empty"),
        ("cn=#0", "not hex"),
        ("cn=#zz", "not hex"),
    ] {
        let error = normalize(written).expect_err(written).to_string();
        assert!(error.contains(why), "{written}: {error}");
    }
}

#[test]
fn under_means_whole_rdns() {
    let under = |dn: &str, base: &str| is_under(&normalize(dn).unwrap(), &normalize(base).unwrap());
    assert!(under("uid=a,ou=People,dc=x", "ou=people,dc=x"));
    assert!(under("ou=People,dc=x", "ou=people,dc=x"));
    assert!(under("dc=x", ""));
    assert!(!under("dc=x", "ou=people,dc=x"));
    assert!(!under("ou=notpeople,dc=x", "ou=people,dc=x"));
    assert!(!under("cn=a\\,dc=x", "dc=x"), "an escaped comma separates nothing");
    assert!(!under("cn=a\\,ou=people,dc=x", "ou=people,dc=x"));
    assert!(!under("xou=people,dc=x", "ou=people,dc=x"));
}

#[test]
fn the_rdn_tells_its_value_as_spelled() {
    let rdn_values = |dn: &str, of: &str| -> Vec<String> {
        rdn(dn).into_iter().filter(|(name, _)| name == of).map(|(_, value)| value).collect()
    };
    assert_eq!(rdn_values("UID=Alice\\+B,dc=x", "uid"), ["Alice+B"]);
    assert_eq!(rdn_values("cn=a+uid=b,dc=x", "uid"), ["b"]);
    assert_eq!(rdn_values("cn=b+cn=a", "cn"), ["b", "a"]);
    assert_eq!(rdn_values("cn=a,uid=b", "uid"), [""; 0]);
    assert_eq!(rdn_values("uid", "uid"), [""; 0]);
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9 ,+=#;<>\"\\\\._@-]{1,12}", "\\PC{1,8}"]
}

/// A value escaped as RFC 4514 wants it, or in hex throughout, or quoted.
fn spell(value: &str, how: u8) -> String {
    match how % 3 {
        0 => value
            .char_indices()
            .map(|(index, c)| {
                let edge = index == 0 || index + c.len_utf8() == value.len();
                match c {
                    ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => format!("\\{c}"),
                    ' ' | '#' if edge => format!("\\{c}"),
                    c => c.to_string(),
                }
            })
            .collect(),
        1 => value.bytes().map(|byte| format!("\\{byte:02X}")).collect(),
        _ => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

proptest! {
    #[test]
    fn normalising_twice_changes_nothing(dn in "[a-zA-Z0-9=,+\\\\ #\".;-]{0,40}") {
        if let Ok(once) = normalize(&dn) {
            prop_assert_eq!(normalize(&once), Ok(once.clone()), "{}", dn);
        }
    }

    #[test]
    fn any_text_is_a_dn_or_an_error_and_never_a_panic(dn in "\\PC{0,40}") {
        let _ = normalize(&dn);
    }

    #[test]
    fn how_a_value_is_escaped_does_not_matter(
        values in prop::collection::vec(value(), 1..4),
        a in any::<u8>(),
        b in any::<u8>(),
    ) {
        let dn = |how: u8| {
            let parts: Vec<String> =
                values.iter().map(|value| format!("cn={}", spell(value, how))).collect();
            parts.join(",")
        };
        let first = normalize(&dn(a)).unwrap();
        prop_assert_eq!(&first, &normalize(&dn(b)).unwrap());
        prop_assert_eq!(&first, &normalize(&first).unwrap());
        prop_assert_eq!(first.split(',').count(), values.len());
    }

    #[test]
    fn the_fast_path_agrees_with_the_long_way(dn in "(uid|cn|ou)=[a-z0-9. _-]{0,6}(,(dc|ou)=[A-Za-z0-9 ]{0,4}){0,3}") {
        let long: Vec<String> = parse(&dn)
            .unwrap()
            .iter()
            .map(|rdn| rdn.iter().map(Ava::normal).collect::<Vec<_>>().join("+"))
            .collect();
        prop_assert_eq!(normalize(&dn).unwrap(), long.join(","));
    }

    #[test]
    fn the_order_of_the_parts_of_an_rdn_does_not_matter(a in value(), b in value()) {
        let one = format!("cn={}+uid={},dc=x", spell(&a, 0), spell(&b, 1));
        let two = format!("UID={}+CN={},DC=X", spell(&b, 0), spell(&a, 1));
        prop_assert_eq!(normalize(&one).unwrap(), normalize(&two).unwrap());
    }
}
