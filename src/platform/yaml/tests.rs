use proptest::prelude::*;

use super::*;

/// As JSON, for comparing.
fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Number(text) => serde_json::json!({ "number": text }),
        Value::Text(text) => text.clone().into(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => {
            let entries = entries.iter().map(|(key, node)| (key.name.clone(), json(node)));
            serde_json::Value::Object(entries.collect())
        }
    }
}

fn one(text: &str) -> serde_json::Value {
    let all = documents(text).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    assert_eq!(all.len(), 1, "{text}");
    json(&all[0])
}

#[test]
fn texts_numbers_booleans_and_nothing_are_told_apart() {
    let text = "a: x\nb: '1'\nc: 1\nd: ~\ne:\nf: true\ng: yes\nh: !!str 1\ni: 1.5e3\nj: 1.2.3\n\
                k: \"\\u00e9\\n\"\nl: |\n  one\n  two\nm: -0x1f\nn: '*'\no: 2026-01-02\n";
    assert_eq!(
        one(text),
        serde_json::json!({
            "a": "x", "b": "1", "c": { "number": "1" }, "d": null, "e": null, "f": true,
            "g": "yes", "h": "1", "i": { "number": "1.5e3" }, "j": "1.2.3", "k": "é\n",
            "l": "one\ntwo\n", "m": { "number": "-0x1f" }, "n": "*", "o": "2026-01-02",
        })
    );
}

#[test]
fn json_is_read_too() {
    let text = "{\n\t\"a\": [1, \"b\\/c\", null, {\"d\": \"\\u00e9\"}],\n\t\"e\": \"\"\n}\n";
    let number = serde_json::json!({ "number": "1" });
    assert_eq!(one(text), serde_json::json!({ "a": [number, "b/c", null, { "d": "é" }], "e": "" }));
    assert_eq!(one(r#"["\ud83d\ude80"]"#), serde_json::json!(["🚀"]));
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        "\\PC{0,12}".prop_map(Into::into),
        "[ \\t\\n:#'\"{}\\[\\],&*!|>%@`-]{0,6}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map("\\PC{0,6}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever a program writes as JSON is that.
    #[test]
    fn json_is_what_a_reader_of_json_takes_it_for(value in any_json()) {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let all = documents(&text).map_err(|error| {
                TestCaseError::fail(format!("{error}: {text}"))
            })?;
            let read = all.first().map_or(serde_json::Value::Null, json);
            prop_assert_eq!(&read, &value, "{}", text);
        }
    }
}

#[test]
fn aliases_are_copies_and_merge_keys_take_over_what_is_not_there() {
    let text = "base: &b {x: 1, y: 2}\nother: &o {y: 3, z: 4}\nit:\n  <<: [*b, *o]\n  x: 5\n\
                list: [*b]\nname: &n deep\n*n : 1\n'<<': text\n";
    let n = |text: &str| serde_json::json!({ "number": text });
    assert_eq!(
        one(text),
        serde_json::json!({
            "base": { "x": n("1"), "y": n("2") }, "other": { "y": n("3"), "z": n("4") },
            "it": { "x": n("5"), "y": n("2"), "z": n("4") },
            "list": [{ "x": n("1"), "y": n("2") }], "name": "deep", "deep": n("1"),
            "<<": "text",
        })
    );
}

#[test]
fn documents_are_told_apart_and_empty_ones_are_none() {
    assert_eq!(documents("").unwrap(), []);
    assert_eq!(documents("# nothing\n").unwrap(), []);
    let all = documents("---\na: 1\n---\n# nothing\n---\n- b\n...\n").unwrap();
    assert_eq!(all.len(), 2);
    assert!(all[0].get("a").is_some());
    assert_eq!(all[1].list().unwrap()[0].place, Position { line: 6, column: 3 });
}

#[test]
fn what_cannot_be_relied_on_is_refused_with_its_place() {
    for (text, line, column, message) in [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", 4, 3, "the key `c` stands twice: first in line 3"),
        ("{\"a\": 1, \"a\": 1}", 1, 10, "the key `a` stands twice"),
        ("a: !ruby/object x\n", 1, 17, "the tag `!ruby/object` means nothing here"),
        ("? [a]\n: b\n", 1, 3, "a key that is a list or a map"),
        ("a: [1, 2\nb: 3\n", 2, 2, "is not YAML"),
        ("a: &x [*x]\n", 1, 8, "names an anchor that is not there"),
        ("<<: 3\n", 1, 5, "`<<` takes a map"),
    ] {
        let error = documents(text).unwrap_err();
        assert!(error.to_string().contains(message), "{text}: {error}");
        assert_eq!(error.place, Position { line, column }, "{text}: {error}");
    }
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    assert!(documents(&deep).is_err());
}

#[test]
fn aliases_cannot_grow_without_bound() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let last = n - 1;
        let repeated = vec![format!("*a{last}"); 10].join(", ");
        text.push_str(&format!("a{n}: &a{n} [{repeated}]\n"));
    }
    assert_eq!(documents(&text).unwrap_err().fault, YamlFault::TooMany);
}
