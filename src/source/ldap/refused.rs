//! Passwords that were refused, so that none is sent again and again: directories lock an account
//! after a few wrong ones, and a schedule or the gateway's look-ups would bring that about by
//! themselves.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a refused password is not sent again. Active Directory counts wrong ones over half an
/// hour unless set otherwise, and few lock an account at the third.
pub(super) const FOR: Duration = Duration::from_secs(15 * 60);

/// Who signs in where, and with what: a number that tells nothing of the password.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Attempt(u64);

/// Refused attempts of this process, whichever source or look-up made them.
static REFUSED: LazyLock<Mutex<HashMap<Attempt, Instant>>> = LazyLock::new(Mutex::default);

impl Attempt {
    /// Signing in as `dn` with `password`, at the servers of `urls`.
    pub fn new<'u>(urls: impl Iterator<Item = &'u str>, dn: &str, password: &str) -> Self {
        static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let urls: Vec<&str> = urls.collect();
        Attempt(HASHER.hash_one((urls, dn, password)))
    }

    /// Notes that it was refused at `now` for what may be a wrong password.
    pub fn was_refused(self, now: Instant) {
        refused().insert(self, now);
    }

    /// Notes that it was let in.
    pub fn was_let_in(self) {
        refused().remove(&self);
    }

    /// How long from `now` it is not to be made again; nothing where it may.
    pub fn waits(self, now: Instant) -> Option<Duration> {
        let mut refused = refused();
        let since = now.saturating_duration_since(*refused.get(&self)?);
        let left = FOR.checked_sub(since).filter(|left| !left.is_zero());
        if left.is_none() {
            refused.remove(&self);
        }
        left
    }
}

fn refused() -> MutexGuard<'static, HashMap<Attempt, Instant>> {
    REFUSED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_password_waits_and_another_one_does_not() {
        let urls = ["ldaps://a", "ldaps://b"];
        let attempt = |password| Attempt::new(urls.into_iter(), "cn=x", password);
        let (first, second) = (attempt("refused-here"), attempt("another-here"));
        let now = Instant::now();
        assert_eq!(first.waits(now), None);
        first.was_refused(now);
        assert_eq!(first.waits(now), Some(FOR));
        assert_eq!(attempt("refused-here").waits(now), Some(FOR), "whoever asks");
        assert_eq!(second.waits(now), None);
        assert_eq!(first.waits(now + FOR), None);
        first.was_refused(now);
        first.was_let_in();
        assert_eq!(first.waits(now), None);
    }
}
