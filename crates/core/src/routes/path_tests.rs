use proptest::prelude::*;

use super::*;

fn segments(target: &str) -> Vec<String> {
    let path = Path::parse(target).unwrap_or_else(|why| panic!("{target:?}: {why}"));
    path.segments().map(str::to_owned).collect()
}

#[test]
fn a_path_is_its_segments_decoded_once_and_the_query_is_no_part_of_it() {
    for (target, expected) in [
        ("/", &[][..]),
        ("/?a=/../b", &[]),
        ("/api", &["api"]),
        ("/api/pool?", &["api", "pool"]),
        ("/api/pool?x=%zz//../%00\\%23y", &["api", "pool"]),
        ("/api/%70ool", &["api", "pool"]),
        ("/%61%70%69/po%6Fl", &["api", "pool"]),
        ("/a%20b", &["a b"]),
        ("/a+b", &["a+b"]),
        ("/p%C3%B6ol/%F0%9F%A6%80", &["pöol", "🦀"]),
        ("/api/pool/", &["api", "pool", ""]),
        ("/100%25/x", &["100%", "x"]),
        ("/100%25z0", &["100%z0"]),
        ("/...", &["..."]),
        ("/.a/a./..a/a..", &[".a", "a.", "..a", "a.."]),
        ("/a:b@c!$&'()*+,=~-_", &["a:b@c!$&'()*+,=~-_"]),
        ("/a;b/c%3Bd", &["a;b", "c;d"]),
        ("/*", &["*"]),
        ("/{pool}", &["{pool}"]),
    ] {
        assert_eq!(segments(target), expected, "{target}");
    }
}

#[test]
fn nothing_is_allocated_where_nothing_is_encoded() {
    let path = Path::parse("/api/pool/ml-a/workflow?x=%20").unwrap();
    assert!(matches!(path.text, Cow::Borrowed("api/pool/ml-a/workflow")));
}

#[test]
fn what_two_servers_could_read_differently_is_refused_and_said() {
    use BadPath::*;
    for (target, why) in [
        ("", NotAPath),
        ("*", NotAPath),
        ("api/pool", NotAPath),
        ("?x", NotAPath),
        ("http://host/api/pool", NotAPath),
        ("host:443", NotAPath),
        ("\\api", NotAPath),
        ("/api#x", Fragment),
        ("/api#x?y", Fragment),
        ("/api?x#y", Fragment),
        ("/api?#", Fragment),
        ("/?a=/../b#/c?d", Fragment),
        ("/a b", Space),
        ("/a\tb", Control),
        ("/a\0b", Control),
        ("/a\x7fb", Control),
        ("/a%00b", Control),
        ("/a%0d%0ab", Control),
        ("/a%7F", Control),
        ("/a%C2%85", Control),
        ("/a\\b", Backslash),
        ("/..\\b", Backslash),
        ("/a%5cb", Backslash),
        ("/a%5Cb", Backslash),
        ("/a%2fb", EncodedSlash),
        ("/a%2Fb", EncodedSlash),
        ("/%2e%2e%2fb", EncodedSlash),
        ("/a%3fb", EncodedDelimiter),
        ("/a%23b", EncodedDelimiter),
        ("//", RepeatedSlash),
        ("//host/api", RepeatedSlash),
        ("/api//pool", RepeatedSlash),
        ("/api/pool//", RepeatedSlash),
        ("/%61pi//pool", RepeatedSlash),
        ("/.", DotSegment),
        ("/..", DotSegment),
        ("/./api", DotSegment),
        ("/api/../pool", DotSegment),
        ("/api/pool/..", DotSegment),
        ("/api/%2e%2e/pool", DotSegment),
        ("/api/%2E./pool", DotSegment),
        ("/api/.%2e/pool", DotSegment),
        ("/api/%2e/pool", DotSegment),
        ("/api/..;/pool", DotSegment),
        ("/api/..;x=y/pool", DotSegment),
        ("/api/.%2e%3bx/pool", DotSegment),
        ("/%", BadEscape),
        ("/a%2", BadEscape),
        ("/a%zz", BadEscape),
        ("/a%2g", BadEscape),
        ("/a%u002e", BadEscape),
        ("/a%%32%65", BadEscape),
        ("/a%+1", BadEscape),
        ("/a%252e%252e/b", EncodedTwice),
        ("/a%25%32%65", EncodedTwice),
        ("/a%252fb", EncodedTwice),
        ("/a%255cb", EncodedTwice),
        ("/a%2561", EncodedTwice),
        ("/a%25252e", EncodedTwice),
        ("/a%ff", NotUtf8),
        ("/a%c0%ae", NotUtf8),
        ("/a%c0%af", NotUtf8),
        ("/a%e0%80%ae", NotUtf8),
        ("/a%ed%a0%80", NotUtf8),
        ("/a%c3", NotUtf8),
        ("/ä", NotAscii),
    ] {
        let got = Path::parse(target);
        assert_eq!(got, Err(why), "{target:?}");
        assert!(why.to_string().starts_with("the "), "{why}");
    }
}

#[test]
fn the_length_is_bounded_and_the_querys_is_not() {
    let longest = format!("/{}", "a".repeat(MAX_PATH - 1));
    assert_eq!(segments(&longest)[0].len(), MAX_PATH - 1);
    assert_eq!(Path::parse(&format!("{longest}a")), Err(BadPath::TooLong));
    assert_eq!(segments(&format!("/a?{}", "b".repeat(MAX_PATH))), ["a"]);
}

#[test]
fn parameters_and_a_slash_at_the_end_are_known() {
    let path = |target| Path::parse(target).unwrap();
    assert!(path("/a;b").has_parameters() && path("/a/b%3b/c").has_parameters());
    assert!(!path("/a/b?c;d").has_parameters());
    assert!(path("/a/").ends_in_slash() && !path("/a").ends_in_slash());
    assert!(!path("/").ends_in_slash());
}

/// `text` with the bytes at `places` percent-encoded.
fn encoded(text: &str, places: &[bool], upper: bool) -> String {
    let mut out = String::new();
    for (at, byte) in text.bytes().enumerate() {
        if !byte.is_ascii() || places.get(at).copied().unwrap_or(false) {
            out += &if upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") };
        } else {
            out.push(char::from(byte));
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_path_encoded_differently_is_the_same_path_or_none(
        target in "(/[a-c.;%25öA*é ?]{0,5}|/%[0-9a-fA-F]{2}|/[a-z]{1,6}){1,6}/?",
        places in prop::collection::vec(any::<bool>(), 60),
        upper in any::<bool>(),
    ) {
        let target = encoded(&target, &[], upper);
        let Ok(path) = Path::parse(&target) else { return Ok(()) };
        let before: Vec<&str> = path.segments().collect();
        // What was sent once more, and what it means written in another way.
        let raw = target.split('?').next().unwrap();
        for again in [
            format!("/{}", encoded(path.text(), &places, upper)),
            format!("/{}", encoded(&raw[1..], &places, upper)),
        ] {
            if let Ok(other) = Path::parse(&again) {
                let after: Vec<&str> = other.segments().collect();
                prop_assert_eq!(&after, &before, "{} and {}", target, again);
            }
        }
    }

    #[test]
    fn whatever_parses_has_no_second_reading(target in "/[ -~]{0,24}") {
        let Ok(path) = Path::parse(&target) else { return Ok(()) };
        let segments: Vec<&str> = path.segments().collect();
        for (at, segment) in segments.iter().enumerate() {
            let name = segment.split(';').next().unwrap();
            prop_assert!(!matches!(name, "." | ".."));
            prop_assert!(!segment.contains(['/', '\\', '\0', '?', '#']));
            prop_assert!(!segment.is_empty() || (at > 0 && at + 1 == segments.len()));
            // Decoding a second time changes nothing.
            let twice = percent_encoding::percent_decode_str(segment).decode_utf8().unwrap();
            prop_assert_eq!(twice, *segment);
        }
    }

    #[test]
    fn no_noise_makes_it_panic(target in "\\PC{0,60}", bytes in "[/.%2efEF5cC;\\\\?#]{0,30}") {
        let _ = Path::parse(&target);
        let _ = Path::parse(&format!("/{bytes}"));
    }
}
