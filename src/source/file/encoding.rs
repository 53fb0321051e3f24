//! The bytes of a file as UTF-8, whatever it was saved in.
//!
//! Windows' tools write UTF-16 (`ldifde -u`, a shell's `>`). That is read; anything else that is
//! not UTF-8 is not guessed at.

/// How a text's characters are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Encoding {
    Utf8,
    Utf16Le,
    Utf16Be,
    Utf32,
}

/// Why bytes are no text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum EncodingFault {
    #[error("it is UTF-32: save it as UTF-8")]
    Utf32,
    #[error("it is UTF-16 and ends in the middle of a character: it looks cut off")]
    CutOff,
    #[error("it is UTF-16 and half of a character is missing: save it as UTF-8")]
    Half,
}

/// The text of `bytes` in UTF-8. A byte order mark of UTF-8 stays.
///
/// # Errors
/// It is UTF-16 and cut off or malformed, or it is UTF-32.
pub(super) fn utf8(bytes: Vec<u8>) -> Result<Vec<u8>, EncodingFault> {
    let from_pair = match told_by(&bytes) {
        Encoding::Utf8 => return Ok(bytes),
        Encoding::Utf32 => return Err(EncodingFault::Utf32),
        Encoding::Utf16Le => u16::from_le_bytes,
        Encoding::Utf16Be => u16::from_be_bytes,
    };
    let pairs = bytes.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(EncodingFault::CutOff);
    }
    let units = pairs.filter_map(|pair| pair.first_chunk::<2>().copied()).map(from_pair);
    let text: Result<String, _> =
        char::decode_utf16(units).filter(|c| !matches!(c, Ok('\u{feff}'))).collect();
    text.map(String::into_bytes).map_err(|_| EncodingFault::Half)
}

/// A byte order mark tells, else the zeros between the first two characters, which are ASCII in
/// all that is read here.
fn told_by(bytes: &[u8]) -> Encoding {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Encoding::Utf32,
        [0xff, 0xfe, ..] => Encoding::Utf16Le,
        [0xfe, 0xff, ..] => Encoding::Utf16Be,
        [first, 0, second, 0, ..] if *first != 0 && *second != 0 => Encoding::Utf16Le,
        [0, first, 0, second, ..] if *first != 0 && *second != 0 => Encoding::Utf16Be,
        _ => Encoding::Utf8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, mark: bool, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        let mark = mark.then_some(0xfeff);
        mark.into_iter().chain(text.encode_utf16()).flat_map(to_bytes).collect()
    }

    #[test]
    fn utf_16_is_read_with_a_byte_order_mark_or_without() {
        let text = "dn: cn=\u{e9}\u{1f600}\r\n";
        let in_utf8 = text.as_bytes().to_vec();
        for (bytes, name) in [
            (in_utf8.clone(), "UTF-8"),
            (utf16(text, true, u16::to_le_bytes), "LE"),
            (utf16(text, false, u16::to_le_bytes), "LE without a mark"),
            (utf16(text, true, u16::to_be_bytes), "BE"),
            (utf16(text, false, u16::to_be_bytes), "BE without a mark"),
        ] {
            assert_eq!(utf8(bytes).as_ref(), Ok(&in_utf8), "{name}");
        }
        let marked = b"\xef\xbb\xbfdn: a\n".to_vec();
        assert_eq!(utf8(marked.clone()), Ok(marked));
        assert_eq!(utf8(vec![]), Ok(vec![]));
        assert_eq!(utf8(vec![0, 0, 0, 0]), Ok(vec![0, 0, 0, 0]), "no text at all");
    }

    #[test]
    fn what_is_cut_off_or_stored_otherwise_is_named_as_such() {
        let mut cut = utf16("dn: a", true, u16::to_le_bytes);
        cut.pop();
        let half: Vec<u8> =
            [0xfeff_u16, 0x64, 0xd83d].into_iter().flat_map(u16::to_le_bytes).collect();
        for (bytes, why) in [
            (cut, "UTF-16 and ends in the middle"),
            (half, "UTF-16 and half of a character"),
            (vec![0xff, 0xfe, 0, 0, 0x64, 0, 0, 0], "UTF-32"),
            (vec![0, 0, 0xfe, 0xff, 0, 0, 0, 0x64], "UTF-32"),
        ] {
            assert!(utf8(bytes).is_err_and(|error| error.to_string().contains(why)), "{why}");
        }
    }
}
