//! Lists of people, in pages.
//!
//! With one organization in a realm Keycloak looks up every listed person's organizations, and an
//! answer costs the square of its rows (keycloak issue 46681): 6,000 people in one answer took 96
//! seconds of processor, in pages of 100 they took 11. Where there is none, each page costs a sort
//! of the whole list instead. So a page grows for as long as a row of it costs no more than a row
//! of the pages before, and only where organizations are proved absent is a list asked for whole.
//!
//! Offsets slip where people come and go between two pages. Each page begins with the last row of
//! the page before: where it does not, the list has slipped and is read again. Where a federation
//! drops people while it lists them, a short page is not the last; one with nothing new is.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use super::api::json;
use super::client::Client;
use super::fault::{CallError, Fault};
use super::federation::Federation;
use super::organizations;
use super::read::Attempt;

/// Rows of the first page of all people.
pub(super) const SMALL: usize = 100;
/// Rows of the first page of a list that is mostly short, such as a group's members.
pub(super) const USUAL: usize = 200;
/// More rows than this are never asked for at once.
const LARGEST: usize = 1000;
/// How often a list is read before slipping is taken as lasting.
pub(super) const TRIES: usize = 3;

/// How lists of people are read in this realm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Paging {
    /// In one answer.
    Whole,
    /// In pages.
    Pages {
        /// A page with fewer rows than were asked for is the last.
        short_is_last: bool,
    },
}

impl Paging {
    /// In pages, whatever is cheapest for other lists. Without knowing whether people vanish in reading, a short page
    /// is not the last.
    pub(super) fn in_pages(self) -> Paging {
        match self {
            Paging::Whole => Paging::Pages { short_is_last: false },
            pages @ Paging::Pages { .. } => pages,
        }
    }
}

/// How to read lists of people here. `rights` are those of the service account.
///
/// # Errors
/// A fault that ends the read. That organizations cannot be counted is none: their feature is off
/// (they may still be there, and cost as much), the server is too old, or the right is missing.
pub(super) async fn paging(
    client: &Client,
    rights: &[String],
    federations: &[Federation],
) -> Result<Paging, CallError> {
    // The order of people who are not in Keycloak's database is the directory's own.
    if federations.iter().any(|it| !it.imports) {
        return Ok(Paging::Whole);
    }
    let pages = Paging::Pages { short_is_last: federations.is_empty() };
    // With less than these the count is 0, or 403.
    if !organizations::seen_with(rights) {
        return Ok(pages);
    }
    let count = client.get(&["organizations", "count"], &[], |body| json::<u64>(body)).await;
    match count {
        Ok(0) => Ok(Paging::Whole),
        Ok(_) => Ok(pages),
        Err(error) => match error.fault {
            Fault::Status { .. } => Ok(pages),
            _ => Err(error),
        },
    }
}

/// One answer.
pub(super) struct Page<T> {
    /// What was read of it.
    pub what: T,
    /// How many rows it has, the repeated one included.
    pub rows: usize,
    /// The id of its first row; empty without rows.
    pub first: String,
    /// The id of its last row; empty without rows.
    pub last: String,
}

/// What to ask for.
#[derive(Clone, Debug)]
pub(super) struct Span {
    /// `first` and `max` of the query.
    pub query: Vec<(&'static str, String)>,
    /// The first row repeats the page before, and is not to be taken again.
    pub repeats: bool,
}

/// A list as it was read once.
pub(super) struct Pass<T> {
    /// What the pages held.
    pub pages: Vec<T>,
    /// People came or went between two pages: someone may be missing.
    pub slipped: bool,
}

/// Reads a list once. `start` is the size of the first page.
///
/// # Errors
/// Those of `ask`. An unknown page makes the whole list unknown.
pub(super) async fn read<'a, T>(
    paging: Paging,
    start: usize,
    ask: impl Fn(Span) -> BoxFuture<'a, Result<Attempt<Page<T>>, CallError>>,
) -> Result<Attempt<Pass<T>>, CallError> {
    let mut pass = Pass { pages: Vec::new(), slipped: false };
    let Paging::Pages { short_is_last } = paging else {
        let whole = Span { query: vec![("max", "-1".to_owned())], repeats: false };
        return Ok(match ask(whole).await? {
            Attempt::Got(page) => {
                pass.pages.push(page.what);
                Attempt::Got(pass)
            }
            Attempt::Unknown(reason) => Attempt::Unknown(reason),
        });
    };
    let mut size = Size::new(start);
    let mut last: Option<String> = None;
    let mut seen = 0;
    loop {
        let rows = size.rows;
        let offset = if last.is_some() { seen - 1 } else { 0 };
        let span = Span {
            query: vec![("first", offset.to_string()), ("max", rows.to_string())],
            repeats: last.is_some(),
        };
        let asked = Instant::now();
        let page = match ask(span).await? {
            Attempt::Got(page) => page,
            Attempt::Unknown(reason) => return Ok(Attempt::Unknown(reason)),
        };
        size.took(page.rows, asked.elapsed());
        if let Some(last) = &last
            && page.first != *last
        {
            pass.slipped = true;
            // Read again anyway, unless this was the last try: what there is still counts.
            if page.rows == 0 {
                return Ok(Attempt::Got(pass));
            }
        }
        let new = page.rows - usize::from(last.is_some()).min(page.rows);
        seen += new;
        let done = new == 0 || (short_is_last && page.rows < rows);
        pass.pages.push(page.what);
        if done {
            return Ok(Attempt::Got(pass));
        }
        last = Some(page.last);
    }
}

/// How many rows to ask for.
struct Size {
    rows: usize,
    /// Beyond this a row costs more.
    ceiling: usize,
    /// The least that a row cost.
    best: f64,
}

impl Size {
    fn new(start: usize) -> Self {
        Size { rows: start, ceiling: LARGEST, best: f64::INFINITY }
    }

    /// Learns what a page cost.
    fn took(&mut self, rows: usize, time: Duration) {
        /// So much dearer than in the cheapest page a row may be before pages get smaller again.
        const DEARER: f64 = 1.2;
        if rows == 0 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a page has at most a thousand rows")]
        let each = time.as_secs_f64() / rows as f64;
        if each > self.best * DEARER && self.rows > SMALL {
            self.ceiling = (self.rows / 2).max(SMALL);
            self.rows = self.ceiling;
        } else {
            self.rows = (self.rows * 2).min(self.ceiling);
        }
        self.best = self.best.min(each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes of the pages where a page of `n` rows takes `cost(n)` seconds.
    fn sizes(cost: impl Fn(f64) -> f64) -> Vec<usize> {
        let mut size = Size::new(SMALL);
        let mut sizes = Vec::new();
        for _ in 0..6 {
            sizes.push(size.rows);
            size.took(size.rows, Duration::from_secs_f64(cost(size.rows as f64)));
        }
        sizes
    }

    #[test]
    fn pages_grow_where_a_row_gets_no_dearer_and_stay_small_where_it_does() {
        // As measured without an organization, and with one, at 20,000 people.
        assert_eq!(sizes(|n| 0.1 + n * 0.0002), [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(sizes(|n| n * 0.0016 + n * n * 0.0000023), [100, 200, 400, 200, 200, 200]);
    }

    /// Reads `lists`, one a page that is asked for (the last for ever), in pages of [`SMALL`].
    fn read_of(short_is_last: bool, lists: &[Vec<u32>]) -> (Vec<u32>, bool, usize) {
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let paging = Paging::Pages { short_is_last };
        let pass = futures_util::future::FutureExt::now_or_never(read(paging, SMALL, |span| {
            let n = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let list = &lists[n.min(lists.len() - 1)];
            let number = |n: usize| span.query[n].1.parse::<usize>().unwrap();
            let rows: Vec<u32> = list.iter().skip(number(0)).take(number(1)).copied().collect();
            let id = |row: Option<&u32>| row.map(u32::to_string).unwrap_or_default();
            let page = Page {
                rows: rows.len(),
                first: id(rows.first()),
                last: id(rows.last()),
                what: rows[usize::from(span.repeats).min(rows.len())..].to_vec(),
            };
            Box::pin(async move { Ok(Attempt::Got(page)) })
        }));
        let Attempt::Got(pass) = pass.unwrap().unwrap() else { panic!() };
        (pass.pages.concat(), pass.slipped, asked.into_inner())
    }

    #[test]
    fn everyone_comes_once_however_the_pages_fall() {
        for count in [0, 1, 99, 100, 101, 199, 200, 2999, 3000] {
            for short_is_last in [true, false] {
                let list: Vec<u32> = (0..count).collect();
                let (read, slipped, _) = read_of(short_is_last, std::slice::from_ref(&list));
                assert_eq!((read, slipped), (list, false), "{count} {short_is_last}");
            }
        }
        assert_eq!(read_of(true, &[(0..99).collect()]).2, 1, "a short list is one call");
        assert_eq!(read_of(false, &[(0..99).collect()]).2, 2, "but where people vanish in reading");
    }

    #[test]
    fn someone_who_goes_or_comes_between_two_pages_is_noticed() {
        let all: Vec<u32> = (0..1000).collect();
        let without: Vec<u32> = all.iter().copied().filter(|n| *n != 7).collect();
        let (read, slipped, _) = read_of(true, &[all.clone(), without.clone()]);
        assert!(slipped && !read.contains(&100), "100 moved up and is missed");
        assert!(read_of(true, &[without, all.clone()]).1, "someone came before the boundary");
        // Behind the boundary nothing moves.
        let later: Vec<u32> = all.iter().copied().filter(|n| *n != 900).collect();
        assert!(!read_of(true, &[all.clone(), later]).1);
        // Everyone but the first page's people goes: the page has nothing to begin with.
        assert!(read_of(true, &[all, (0..50).collect()]).1);
    }
}
