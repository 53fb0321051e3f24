//! How values stand in columns. Sorted lists of numbers are bytes: differences, each as a LEB128
//! varint, so that a group of 100,000 members takes about 100 kB instead of 100,000 rows.

use crate::store::sql::db::{DbResult, Row};

use crate::model::UserId;

/// [`crate::model::Status::counts`] of a row `u` of `user`, in SQL. The views say the same in words
/// of their own, since a released schema is never edited; a test holds all of them to the one rule.
pub(super) const COUNTS: &str = "(u.status = 0 OR (u.status = 2 AND u.disabled_by IS NULL))";

/// The person whose number stands in a row's column.
pub(super) fn user_at(row: Row<'_>, column: usize) -> DbResult<UserId> {
    row.get(column).map(UserId::new)
}

/// `sorted` as bytes. The list must be sorted and distinct.
pub(super) fn encode(sorted: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(sorted.len().saturating_mul(2));
    let mut last = 0u32;
    for number in sorted {
        let mut rest = number.wrapping_sub(last);
        last = *number;
        while rest >= 0x80 {
            bytes.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    }
    bytes
}

/// What [`encode`] made; `None` where the bytes are not such a list.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<u32>> {
    let mut numbers = Vec::with_capacity(bytes.len());
    let mut last = 0u32;
    let mut rest = bytes.iter();
    while let Some(first) = rest.next() {
        let mut value = u64::from(first & 0x7f);
        let mut byte = *first;
        let mut shift = 7;
        while byte >= 0x80 {
            byte = *rest.next()?;
            if shift > 28 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
        }
        last = last.checked_add(u32::try_from(value).ok()?)?;
        numbers.push(last);
    }
    numbers.shrink_to_fit();
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{decode, encode};

    proptest! {
        #[test]
        fn a_list_survives_the_way_there_and_back(set in prop::collection::btree_set(any::<u32>(), 0..200)) {
            let list: Vec<u32> = set.into_iter().collect();
            prop_assert_eq!(decode(&encode(&list)), Some(list));
        }

        #[test]
        fn any_bytes_are_a_list_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn a_cut_list_is_refused() {
        assert_eq!(decode(&[0x80]), None);
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), None);
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0x01]), None, "past 32 bits");
    }
}
