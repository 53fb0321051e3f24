//! Generalized times (RFC 4517, section 3.3.13), in all their forms.
//!
//! Read by hand: calendars of general use know no leap second that is a fraction of a minute long,
//! no hour in tenths and, some of them, no year 0, which is how OpenLDAP says "for good".

use crate::model::Time;

/// A moment: seconds since 1970 began in UTC, and nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Moment {
    seconds: i64,
    nanos: u32,
}

impl From<Time> for Moment {
    fn from(time: Time) -> Self {
        Moment { seconds: time.timestamp(), nanos: time.timestamp_subsec_nanos() }
    }
}

/// A generalized time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Generalized {
    /// The year as written, 0 to 9999.
    pub year: i64,
    /// The moment.
    pub moment: Moment,
}

/// Reads `YYYYMMDDHH[MM[SS]][(.|,)fraction](Z|(+|-)HH[MM])`. Nothing where `text` is none.
#[must_use]
pub fn generalized(text: &str) -> Option<Generalized> {
    let mut cursor = Cursor(text.as_bytes());
    let year = cursor.number(4)?;
    let month = cursor.number(2)?;
    let day = cursor.number(2)?;
    let hour = cursor.number(2)?;
    let minute = cursor.number(2);
    let second = minute.and_then(|_| cursor.number(2));
    // Second 60 is the leap second.
    let is_day = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    let (minutes, seconds) = (minute.unwrap_or(0), second.unwrap_or(0));
    if !is_day || hour > 23 || minutes > 59 || seconds > 60 {
        return None;
    }
    // What the fraction is a fraction of.
    let unit = match (minute, second) {
        (None, _) => 3600,
        (Some(_), None) => 60,
        (Some(_), Some(_)) => 1,
    };
    let nanos = cursor.fraction()?.checked_mul(unit)?;
    let offset = cursor.zone()?;
    if !cursor.0.is_empty() {
        return None;
    }
    let whole = days_before(year, month, day) * 86_400 + hour * 3600 + minutes * 60 + seconds;
    let moment = Moment {
        seconds: whole - offset + i64::try_from(nanos / NANOS).ok()?,
        nanos: u32::try_from(nanos % NANOS).ok()?,
    };
    Some(Generalized { year, moment })
}

const NANOS: u64 = 1_000_000_000;

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    /// A number of exactly so many digits; nothing is taken where there are fewer.
    fn number(&mut self, digits: usize) -> Option<i64> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        let mut value = 0;
        for byte in number {
            value = value * 10 + i64::from(char::from(*byte).to_digit(10)?);
        }
        self.0 = rest;
        Some(value)
    }

    /// A fraction of one in nanoseconds, 0 where there is none.
    fn fraction(&mut self) -> Option<u64> {
        let Some((b'.' | b',', rest)) = self.0.split_first() else { return Some(0) };
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = rest.split_at_checked(count).filter(|_| count > 0)?;
        self.0 = rest;
        let mut place = NANOS;
        let mut nanos = 0;
        for digit in digits.iter().take(9) {
            place /= 10;
            nanos += u64::from(digit - b'0') * place;
        }
        Some(nanos)
    }

    /// Seconds that the zone is before UTC.
    fn zone(&mut self) -> Option<i64> {
        let (sign, rest) = self.0.split_first()?;
        self.0 = rest;
        let sign = match sign {
            b'Z' => return Some(0),
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let hours = self.number(2)?;
        let minutes = if self.0.is_empty() { 0 } else { self.number(2)? };
        (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the given day of the Gregorian calendar, which is taken to hold before
/// it was made as well.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    // Days from 0000-01-01: 365 a year, and one more for each leap year before this one.
    let leaps = |year: i64| (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
    let in_year: i64 = (1..month).map(|month| days_in(year, month)).sum();
    year * 365 + leaps(year) + in_year + day - 1 - 719_528
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> (i64, u32) {
        let moment = generalized(text).unwrap().moment;
        (moment.seconds, moment.nanos)
    }

    #[test]
    fn every_form_of_a_generalized_time_is_read() {
        for (text, same) in [
            ("2026112312Z", "2026-11-23T12:00:00Z"),
            ("202611231230Z", "2026-11-23T12:30:00Z"),
            ("20261123123015Z", "2026-11-23T12:30:15Z"),
            ("2026112312.5Z", "2026-11-23T12:30:00Z"),
            ("2026112312,25Z", "2026-11-23T12:15:00Z"),
            ("202611231230.5Z", "2026-11-23T12:30:30Z"),
            ("202611231230,1Z", "2026-11-23T12:30:06Z"),
            ("20261123123015.25Z", "2026-11-23T12:30:15.25Z"),
            ("20261123123015.0000000000000Z", "2026-11-23T12:30:15Z"),
            ("2026112312+01", "2026-11-23T11:00:00Z"),
            ("2026112312-0530", "2026-11-23T17:30:00Z"),
            ("2026112300+0030", "2026-11-22T23:30:00Z"),
            ("20261123123015,5-05", "2026-11-23T17:30:15.5Z"),
            ("20161231235960Z", "2017-01-01T00:00:00Z"),
            ("20161231235960.5Z", "2017-01-01T00:00:00.5Z"),
            ("2024022900Z", "2024-02-29T00:00:00Z"),
            ("2000022900Z", "2000-02-29T00:00:00Z"),
            ("1970010100Z", "1970-01-01T00:00:00Z"),
            ("9999123123Z", "9999-12-31T23:00:00Z"),
        ] {
            let time = crate::model::parse_rfc3339(same).unwrap();
            assert_eq!(at(text), (time.timestamp(), time.timestamp_subsec_nanos()), "{text}");
        }
        assert_eq!(at("2026112312.3333333333Z").0, at("20261123121959Z").0);
        assert_eq!(at("00000101000000Z").0, -62_167_219_200);
        assert_eq!(at("00000301000000Z").0 - at("00000228000000Z").0, 2 * 86_400, "a leap year");
        assert_eq!(generalized("000001010000+0100").unwrap().year, 0);
    }

    #[test]
    fn what_is_no_generalized_time_is_not_guessed_at() {
        for text in [
            "",
            "Z",
            "soon",
            "20261123Z",
            "2026112312",
            "202611231230",
            "20261123123015",
            "20261123123015z",
            "2026112324Z",
            "202611231260Z",
            "20261123123061Z",
            "2026130112Z",
            "2026000112Z",
            "2026110012Z",
            "2026113112Z",
            "2026022912Z",
            "1900022912Z",
            "20261123123015.Z",
            "20261123123015.5",
            "20261123123015Z ",
            "20261123123015ZZ",
            "2026112312301Z",
            "20261123123015+1",
            "20261123123015+24",
            "20261123123015+0160",
            "20261123123015+010",
            "20261123123015+01000",
            "2026-11-23T12:30:15Z",
            "２０２６112312Z",
            "+0261123123015Z",
        ] {
            assert_eq!(generalized(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn days_are_counted_as_chrono_counts_them(year in 0_i32..9999, day in 0_u32..365) {
            let date = chrono::NaiveDate::from_yo_opt(year, day + 1).unwrap();
            let expected = date.and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp();
            prop_assert_eq!(at(&format!("{}000000Z", date.format("%Y%m%d"))), (expected, 0));
        }

        #[test]
        fn any_text_is_a_time_or_none_and_never_a_panic(text in "[0-9]{0,18}[.,]?[0-9]{0,20}[Z+-]?[0-9]{0,5}") {
            let _ = generalized(&text);
        }
    }
}
