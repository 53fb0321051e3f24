//! Rows on their way into a table: a few as a statement each, many by `COPY`, while which whoever sends them
//! goes on, and what is done to the table behind them.
//!
//! The server works at one lot of rows while the next one is put into words, and lots of one table that follow
//! each other go by one `COPY`. What becomes of them is told by whatever else is asked next in their transaction,
//! the commit at last: see [`Session::come_to_rest`].

use std::future::Future;
use std::io::Write as _;
use std::pin::pin;
use std::sync::Arc;

use futures_util::SinkExt as _;
use futures_util::future::try_join_all;
use tokio::sync::mpsc::{self, Sender};
use tokio::task::JoinHandle;
use tokio_postgres::{CopyInSink, Error};

use super::session::{Bound, Session, SessionError, runtime};
use super::text;
use crate::store::sql::Cell;
use crate::store::sql::db::{Datum, DbResult, Param as _};

/// Up to so many rows go as a statement each, all sent before the first answer; more by `COPY`.
const FEW: usize = 32;

/// What is sent at once of rows that are copied.
pub(super) type Chunk = std::io::Cursor<Vec<u8>>;

/// So many lots wait to be sent before whoever makes them does.
const WAITING: usize = 2;

/// Where more rows of a table can be put.
struct Open {
    /// `table (column, …)`.
    into: String,
    lots: Sender<Chunk>,
}

/// At what the server works. Dropped before it is done, it is not heard of any more.
pub(super) struct UnderWay {
    work: JoinHandle<Result<(), Error>>,
    open: Option<Open>,
}

impl UnderWay {
    pub(super) fn begin(
        work: impl Future<Output = Result<(), Error>> + Send + 'static,
    ) -> Result<Self, SessionError> {
        Ok(UnderWay { work: runtime()?.spawn(work), open: None })
    }

    /// What it comes to. No more rows are put where there was place for them.
    pub(super) async fn done(mut self) -> Result<(), SessionError> {
        self.open = None;
        match (&mut self.work).await {
            Ok(done) => Ok(done?),
            Err(ended) => Err(SessionError::Thread(ended.into())),
        }
    }

    /// Where more rows go, where it is rows of this table at which the server works.
    pub(super) fn takes(&self, into: &str) -> Option<Sender<Chunk>> {
        let open = self.open.as_ref().filter(|open| open.into == into)?;
        Some(open.lots.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl Session {
    /// Inserts rows into a table, given as `table (column, …)`. Inside of a transaction many of them are
    /// not waited for: whether they could be is told by what comes next.
    pub(in crate::store) fn copy<'v, const N: usize>(
        &self,
        into: &str,
        rows: impl ExactSizeIterator<Item = [Cell<'v>; N]>,
    ) -> DbResult<()> {
        let more = self.takes(into);
        if more.is_none() && rows.len() <= FEW {
            return self.insert(into, rows.collect());
        }
        let mut lines = Vec::new();
        for row in rows {
            for (place, cell) in row.iter().enumerate() {
                if place > 0 {
                    lines.push(b'\t');
                }
                put(&mut lines, cell.datum());
            }
            lines.push(b'\n');
        }
        let mut lot = Chunk::new(lines);
        if let Some(more) = more {
            let sent = async { Ok::<_, SessionError>(more.send(lot).await) };
            match self.wire.wait(sent)? {
                Ok(()) => return Ok(()),
                // Nobody takes rows any more: what came before them tells why.
                Err(left) => lot = left.0,
            }
        }
        Ok(self.copy_behind(into, lot)?)
    }

    /// Begins to copy rows, behind which others may follow.
    fn copy_behind(&self, into: &str, first: Chunk) -> Result<(), SessionError> {
        let statement = self.prepared(&copying(into))?;
        self.come_to_rest()?;
        let wire = Arc::clone(&self.wire);
        let (lots, mut following) = mpsc::channel(WAITING);
        let copied = async move {
            let mut sink = pin!(wire.client.copy_in(&statement).await?);
            sink.send(first).await?;
            while let Some(lot) = following.recv().await {
                sink.send(lot).await?;
            }
            sink.as_mut().finish().await.map(drop)
        };
        let mut work = UnderWay::begin(copied)?;
        work.open = Some(Open { into: into.to_owned(), lots });
        self.go_on(work)
    }

    fn insert<const N: usize>(&self, into: &str, rows: Vec<[Cell<'_>; N]>) -> DbResult<()> {
        let places: Vec<String> = (1..=N).map(|place| format!("?{place}")).collect();
        let sql = format!("INSERT INTO {into} VALUES ({})", places.join(", "));
        let statement = self.prepared(&sql)?;
        let each = rows.iter().map(|row| {
            let bound: Vec<Bound<'_>> = row.iter().map(|cell| Bound(cell.datum())).collect();
            let (client, statement) = (&self.wire.client, &statement);
            async move { client.execute_raw(statement, bound.iter()).await }
        });
        self.wait(try_join_all(each))?;
        Ok(())
    }

    /// Begins to copy rows into a table, given as `table (column, …)`.
    pub(super) fn copy_in(&self, into: &str) -> Result<CopyInSink<Chunk>, SessionError> {
        let statement = self.prepared(&copying(into))?;
        self.wait(self.wire.client.copy_in(&statement))
    }
}

fn copying(into: &str) -> String {
    format!("COPY {into} FROM STDIN")
}

/// Writes a value as `COPY`'s text has it.
pub(super) fn put(line: &mut Vec<u8>, datum: Datum<'_>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match datum {
        Datum::Null => line.extend_from_slice(b"\\N"),
        // Writing to memory cannot fail.
        Datum::Int(number) => drop(write!(line, "{number}")),
        Datum::Text(bytes) => {
            for byte in text::marked(bytes).iter() {
                match byte {
                    b'\\' => line.extend_from_slice(b"\\\\"),
                    b'\n' => line.extend_from_slice(b"\\n"),
                    b'\r' => line.extend_from_slice(b"\\r"),
                    b'\t' => line.extend_from_slice(b"\\t"),
                    byte => line.push(*byte),
                }
            }
        }
        Datum::Bytes(bytes) => {
            line.extend_from_slice(b"\\\\x");
            for byte in bytes {
                for half in [byte >> 4, byte & 15] {
                    line.extend(HEX.get(usize::from(half)));
                }
            }
        }
    }
}
