//! Moments on the command line: a time, or a duration from now.

use chrono::Duration;

use crate::model::{Time, parse_rfc3339};

/// Which way a duration counts.
#[derive(Clone, Copy)]
pub enum From {
    /// `--since 7d`: that long ago.
    Past,
    /// `--until 24h`: that long from now.
    Future,
}

/// A text that names no moment.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MomentError {
    /// It is no time and no duration.
    #[error("`{0}` is neither a time such as `2026-11-23T20:15:00Z` nor a duration such as `24h`")]
    Neither(String),
    /// The calendar does not go so far.
    #[error("`{0}` is too long")]
    TooLong(String),
}

/// Reads `text` as an RFC 3339 time, or as a duration such as `90s`, `5m`, `24h`, `7d` counted from
/// `now`.
///
/// # Errors
/// It is neither.
pub fn moment(text: &str, now: Time, from: From) -> Result<Time, MomentError> {
    let Some(duration) = duration(text) else {
        return parse_rfc3339(text).map_err(|_| MomentError::Neither(text.to_owned()));
    };
    let moment = match from {
        From::Past => now.checked_sub_signed(duration),
        From::Future => now.checked_add_signed(duration),
    };
    moment.ok_or_else(|| MomentError::TooLong(text.to_owned()))
}

fn duration(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let number: i64 = text.strip_suffix(unit)?.parse().ok().filter(|number| *number >= 0)?;
    match unit {
        's' => Duration::try_seconds(number),
        'm' => Duration::try_minutes(number),
        'h' => Duration::try_hours(number),
        'd' => Duration::try_days(number),
        _ => None,
    }
}

/// How long ago `then` was: `3 min ago`, `2 d ago`.
#[must_use]
pub fn ago(then: Time, now: Time) -> String {
    let seconds = (now - then).num_seconds();
    match seconds {
        i64::MIN..0 => "in the future".to_owned(),
        0..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::{From, moment};
    use crate::model::parse_rfc3339;

    #[test]
    fn a_moment_is_a_time_or_a_duration_from_now() {
        let now = parse_rfc3339("2026-01-02T00:00:00Z").unwrap();
        let at = |text: &str| parse_rfc3339(text).unwrap();
        assert_eq!(moment("24h", now, From::Past), Ok(at("2026-01-01T00:00:00Z")));
        assert_eq!(moment("1d", now, From::Future), Ok(at("2026-01-03T00:00:00Z")));
        assert_eq!(
            moment("2026-05-01T00:00:00+02:00", now, From::Past),
            Ok(at("2026-04-30T22:00:00Z"))
        );
        for bad in ["", "h", "-1h", "tomorrow", "24", "9999999999999d"] {
            assert!(moment(bad, now, From::Future).is_err(), "{bad}");
        }
    }
}
