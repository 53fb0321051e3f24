//! Texts that hold U+0000, which no text of PostgreSQL may: a directory may have one, and must not be able to
//! keep everybody else's changes from being stored. In its place stands a mark and a `0`, and the mark itself
//! stands twice.

use std::borrow::Cow;

/// U+F8FF, of the private use area, in UTF-8.
const MARK: &[u8] = "\u{f8ff}".as_bytes();

/// Whether the mark is in what was read.
pub(super) fn is_marked(text: &[u8]) -> bool {
    text.contains(&0xef) && text.windows(MARK.len()).any(|at| at == MARK)
}

/// A text as it is stored.
pub(super) fn marked(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&0) && !is_marked(text) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len().saturating_add(8));
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(MARK) {
            out.extend_from_slice(MARK);
            out.extend_from_slice(MARK);
            rest = after;
            continue;
        }
        if *first == 0 {
            out.extend_from_slice(MARK);
            out.push(b'0');
        } else {
            out.push(*first);
        }
        rest = after;
    }
    Cow::Owned(out)
}

/// What [`marked`] was made of.
pub(super) fn plain(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        match rest.strip_prefix(MARK) {
            Some(after) => match after.strip_prefix(MARK) {
                Some(after) => {
                    out.extend_from_slice(MARK);
                    rest = after;
                }
                None => {
                    out.push(0);
                    rest = after.get(1..).unwrap_or_default();
                }
            },
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_survives_the_way_there_and_back(text in "[a\u{0}0\u{f8ff}\u{f8fe}ü]{0,12}") {
            let stored = marked(text.as_bytes()).into_owned();
            prop_assert!(!stored.contains(&0));
            prop_assert!(std::str::from_utf8(&stored).is_ok());
            prop_assert_eq!(plain(&stored), text.into_bytes());
        }
    }
}
