//! One session with PostgreSQL, used by one thread at a time.
//!
//! The client is async: what it sends and receives goes on by a thread of this folder's own, and whoever asks
//! waits for the answer (`wire` has for how long). Rows are read as they come. Where something else is
//! asked meanwhile, those that are still on their way are taken into memory first: a session answers
//! one question after the other. Rows that are written (`rows`) go on by themselves; the next question waits for them.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use futures_util::Stream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Sender;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type};
use tokio_postgres::{RowStream, SimpleQueryMessage, Statement};

use super::connect::{DatabaseAddress, WHOSE};
use super::dialect::translated;
use super::error::cause;
use super::pool::Pool;
use super::rows::{Chunk, UnderWay};
use super::text;
use super::wire::{BRIEF, Wire};
use crate::store::sql::db::{Datum, DbResult, Params};

/// What went wrong with a session.
#[derive(Debug, thiserror::Error)]
pub(in crate::store) enum SessionError {
    /// The server says so, or the connection broke.
    #[error("{}", cause(.0))]
    Database(#[from] tokio_postgres::Error),
    /// It has not answered.
    #[error("it has not answered for {} s", .0.as_secs())]
    Silent(Duration),
    /// It did not answer something before, and is not asked any more.
    #[error("it has not answered before")]
    GivenUp,
    /// A server that takes no writes, where only one that does will do.
    #[error(
        "it takes no writes: it is a standby, or `default_transaction_read_only` is on there for the role or \
         the database"
    )]
    ReadOnly,
    /// What is said to one session comes to another one.
    #[error(
        "between here and the server is a pool that lends one session to several clients: have it keep sessions \
         apart (PgBouncer: `pool_mode = session`)"
    )]
    Shared,
    /// The server or the database cannot hold a store, or what is needed to ask it cannot be had.
    #[error("{0}")]
    Unfit(String),
    /// A commit was not answered: it is there in whole or not at all.
    #[error("the commit was not answered: {0}")]
    Unanswered(Box<SessionError>),
    /// There is no connection, and why.
    #[error("{0}")]
    Connect(String),
    /// What is received is no such value.
    #[error("column {0} has a type that is not read here")]
    Column(usize),
    /// The thread that sends and receives cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Where sessions send and receive.
pub(super) fn runtime() -> Result<&'static Runtime, SessionError> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let made = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("postgres")
        .enable_all()
        .build()?;
    Ok(RUNTIME.get_or_init(|| made))
}

/// Rows on their way.
struct Feed {
    wire: Arc<Wire>,
    stream: Option<Pin<Box<RowStream>>>,
    came: VecDeque<tokio_postgres::Row>,
}

impl Feed {
    fn receive(&mut self) -> Result<Option<tokio_postgres::Row>, SessionError> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let next = std::future::poll_fn(|context| stream.as_mut().poll_next(context));
        let next = async { next.await.transpose() };
        let row = self.wire.wait(next);
        if !matches!(row, Ok(Some(_))) {
            self.stream = None;
        }
        row
    }
}

/// A session.
pub(in crate::store) struct Session {
    pub(super) wire: Arc<Wire>,
    statements: RefCell<Statements>,
    feed: RefCell<Weak<Mutex<Feed>>>,
    /// At what the server works while whoever asked for it goes on. Nothing else is asked before it is done.
    under_way: RefCell<Option<UnderWay>>,
    /// One may be open: from before it is begun until the server has said that it is over.
    in_transaction: Cell<bool>,
    /// Where it goes when nobody uses it any more.
    pool: Option<Arc<Pool>>,
}

/// What was prepared, by its words in `sql`.
pub(super) type Statements = HashMap<String, Statement>;

impl Session {
    pub(super) fn over(wire: Arc<Wire>, statements: Statements, pool: Option<Arc<Pool>>) -> Self {
        Session {
            wire,
            statements: RefCell::new(statements),
            pool,
            feed: RefCell::default(),
            under_way: RefCell::default(),
            in_transaction: Cell::new(false),
        }
    }

    /// Whether a transaction is open.
    pub(super) fn is_in_transaction(&self) -> bool {
        self.in_transaction.get()
    }

    /// Whether the connection is known to be gone.
    pub(super) fn is_gone(&self) -> bool {
        self.wire.is_gone()
    }

    /// Since when the server that answers runs: by that one is told from another.
    pub(super) fn server(&self) -> &str {
        &self.wire.backend.server
    }

    pub(super) fn wait<T>(
        &self,
        future: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, SessionError> {
        self.come_to_rest()?;
        self.wire.wait(future)
    }

    /// Lets what is under way come to its end, which is where its error is told; rows that are on their way
    /// are taken into memory.
    pub(super) fn come_to_rest(&self) -> Result<(), SessionError> {
        if let Some(under_way) = self.under_way.take() {
            self.wire.wait(under_way.done())?;
        }
        let Some(feed) = self.feed.borrow().upgrade() else { return Ok(()) };
        let mut feed = feed.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(row) = feed.receive()? {
            feed.came.push_back(row);
        }
        Ok(())
    }

    /// Where more rows of this table go, while some are under way.
    pub(super) fn takes(&self, into: &str) -> Option<Sender<Chunk>> {
        self.under_way.borrow().as_ref()?.takes(into)
    }

    /// Goes on while the server works at this; in no transaction, where nothing comes after it that would tell
    /// its error, not before it is done.
    pub(super) fn go_on(&self, work: UnderWay) -> Result<(), SessionError> {
        self.under_way.replace(Some(work));
        if self.in_transaction.get() { Ok(()) } else { self.come_to_rest() }
    }

    /// Runs statements that have no parameters, in PostgreSQL's own words.
    pub(in crate::store) fn batch(&self, sql: &str) -> Result<(), SessionError> {
        self.wait(self.wire.client.batch_execute(sql))
    }

    /// Runs statements of the room `sql` that have no parameters, and goes on meanwhile.
    pub(in crate::store) fn batch_behind(&self, sql: &str) -> Result<(), SessionError> {
        self.come_to_rest()?;
        let (wire, own) = (Arc::clone(&self.wire), translated(sql));
        let work = async move { wire.client.batch_execute(&own).await };
        self.go_on(UnderWay::begin(work)?)
    }

    /// The text in the first cell of what `sql` finds, within what may be taken by what takes no work.
    pub(super) fn brief(&self, sql: &str) -> Result<Option<String>, SessionError> {
        Ok(texts(&self.briefly(sql)?).next().flatten())
    }

    fn briefly(&self, sql: &str) -> Result<Vec<SimpleQueryMessage>, SessionError> {
        self.come_to_rest()?;
        self.wire.within(self.wire.client.simple_query(sql), BRIEF)
    }

    /// As [`Session::batch`], where an answer that takes longer than `most` is none.
    pub(super) fn batch_within(&self, sql: &str, most: Duration) -> Result<(), SessionError> {
        self.come_to_rest()?;
        self.wire.within(self.wire.client.batch_execute(sql), most)
    }

    /// Begins a transaction: `how`, as after `BEGIN`.
    pub(super) fn begin(&self, how: &str) -> Result<(), SessionError> {
        self.in_transaction.set(true);
        let begun = self.wait(self.wire.client.simple_query(&format!("BEGIN {how}; {WHOSE}")));
        let begun = begun.and_then(|told| self.is_ours(&told));
        if begun.is_err() {
            self.ended(false);
        }
        begun
    }

    /// The same, and the text in the first cell of what `sql` finds in it, which takes no work: in one go.
    pub(super) fn begin_with(&self, how: &str, sql: &str) -> Result<Option<String>, SessionError> {
        self.in_transaction.set(true);
        let found = self.briefly(&format!("BEGIN {how}; {WHOSE}; {sql}"));
        let found = found.and_then(|told| {
            self.is_ours(&told)?;
            Ok(texts(&told).nth(1).flatten())
        });
        if found.is_err() {
            self.rollback();
        }
        found
    }

    /// Whether what is asked here is answered in the session that was begun. A pool that keeps no sessions apart
    /// would have it otherwise: nothing that was prepared or set could be relied on, and no lock.
    pub(super) fn still_ours(&self) -> Result<(), SessionError> {
        self.is_ours(&self.briefly(WHOSE)?)
    }

    fn is_ours(&self, told: &[SimpleQueryMessage]) -> Result<(), SessionError> {
        let whose = texts(told).next().flatten();
        if whose.as_ref() == Some(&self.wire.backend.mark) {
            return Ok(());
        }
        self.wire.give_up();
        Err(SessionError::Shared)
    }

    /// Whether sessions are kept apart, as far as that can be seen by beginning another one.
    pub(super) fn kept_apart(&self, place: &DatabaseAddress) -> Result<(), SessionError> {
        // Where there is no room for another one there is nobody to be taken for.
        drop(place.wire(None));
        self.still_ours()
    }

    /// Commits.
    ///
    /// # Errors
    /// The server says that it is not committed; or nobody knows ([`SessionError::Unanswered`]).
    pub(super) fn commit(&self) -> Result<(), SessionError> {
        // PostgreSQL takes a transaction back at its `COMMIT` where something in it has failed, and calls that
        // no error.
        if let Err(error) = self.come_to_rest() {
            self.rollback();
            return Err(error);
        }
        self.bound("COMMIT").map_err(|error| {
            if error.is_cut() { SessionError::Unanswered(Box::new(error)) } else { error }
        })
    }

    /// Takes back what was not committed. Where that cannot be told, the connection's end does it.
    pub(super) fn rollback(&self) {
        if self.in_transaction.get() {
            let done = match self.come_to_rest() {
                Err(error) if error.is_cut() => Err(error),
                // What has failed is taken back with the rest.
                _ => self.wire.within(self.wire.client.batch_execute("ROLLBACK"), BRIEF),
            };
            self.ended(done.is_ok());
        }
    }

    /// A transaction's end. Whatever goes wrong there, as at its beginning, the session is not used again: nobody
    /// finds himself in a transaction of which he knows nothing, or outside of his own.
    fn bound(&self, sql: &str) -> Result<(), SessionError> {
        self.in_transaction.set(true);
        let done = self.wait(self.wire.client.batch_execute(sql));
        self.ended(done.is_ok());
        done
    }

    fn ended(&self, well: bool) {
        if !well {
            self.wire.give_up();
        }
        self.in_transaction.set(false);
    }

    /// A statement of the room `sql`. The server hears of it when it is run for the first time: of those that
    /// a commit has at hand it needs a few.
    pub(in crate::store) fn prepare(&self, sql: &str) -> PgStatement<'_> {
        match self.statements.borrow().get(sql) {
            Some(known) => PgStatement {
                session: self,
                sql: String::new(),
                statement: OnceCell::from(known.clone()),
            },
            None => PgStatement { session: self, sql: sql.to_owned(), statement: OnceCell::new() },
        }
    }

    /// A statement that the server knows. What was prepared once stays so.
    pub(super) fn prepared(&self, sql: &str) -> Result<Statement, SessionError> {
        let known = self.statements.borrow().get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let own = translated(sql);
        let statement = self.wait(self.wire.client.prepare(&own))?;
        self.statements.borrow_mut().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.under_way.take().is_some() {
            self.wire.give_up();
        }
        // A query whose rows nobody read to the end has none on their way any more: they are passed over.
        if let Some(pool) = self.pool.take()
            && !self.is_gone()
            && !self.in_transaction.get()
        {
            pool.keep(Arc::clone(&self.wire), self.statements.take());
        }
    }
}

/// The first cell of each row.
fn texts(told: &[SimpleQueryMessage]) -> impl Iterator<Item = Option<String>> {
    told.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
        _ => None,
    })
}

/// A statement of a session.
pub(in crate::store) struct PgStatement<'s> {
    session: &'s Session,
    /// Its words in `sql`, until the server knows it.
    sql: String,
    statement: OnceCell<Statement>,
}

/// The parameters, in order.
fn bound(params: &impl Params) -> DbResult<Vec<Bound<'_>>> {
    let mut all = Vec::new();
    params.each(&mut |datum| {
        all.push(Bound(datum));
        Ok(())
    })?;
    Ok(all)
}

impl PgStatement<'_> {
    /// The types of its parameters.
    #[cfg(test)]
    pub(super) fn types(&self) -> Result<Vec<Type>, SessionError> {
        Ok(self.prepared()?.params().to_vec())
    }

    fn prepared(&self) -> Result<&Statement, SessionError> {
        match self.statement.get() {
            Some(statement) => Ok(statement),
            None => {
                let statement = self.session.prepared(&self.sql)?;
                Ok(self.statement.get_or_init(|| statement))
            }
        }
    }

    /// How many rows it changed.
    pub(in crate::store) fn execute(&self, params: &impl Params) -> DbResult<usize> {
        let bound = bound(params)?;
        let changing = self.session.wire.client.execute_raw(self.prepared()?, bound.iter());
        let changed = self.session.wait(changing)?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    pub(in crate::store) fn query(&self, params: &impl Params) -> DbResult<PgRows> {
        let bound = bound(params)?;
        let asking = self.session.wire.client.query_raw(self.prepared()?, bound.iter());
        let stream = self.session.wait(asking)?;
        let wire = Arc::clone(&self.session.wire);
        let feed = Feed { wire, stream: Some(Box::pin(stream)), came: VecDeque::new() };
        let feed = Arc::new(Mutex::new(feed));
        self.session.feed.replace(Arc::downgrade(&feed));
        Ok(PgRows(feed))
    }
}

/// The rows that a query finds.
pub(in crate::store) struct PgRows(Arc<Mutex<Feed>>);

impl PgRows {
    pub(in crate::store) fn next(&mut self) -> DbResult<Option<PgRow>> {
        let mut feed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match feed.came.pop_front() {
            Some(row) => Some(PgRow::of(row)),
            None => feed.receive()?.map(PgRow::of),
        })
    }
}

/// A row.
pub(in crate::store) struct PgRow {
    row: tokio_postgres::Row,
    /// Texts that stand in it in another form, by column: few rows have one.
    plain: OnceCell<Vec<OnceCell<Vec<u8>>>>,
}

impl PgRow {
    fn of(row: tokio_postgres::Row) -> Self {
        PgRow { row, plain: OnceCell::new() }
    }

    /// The value in a column.
    pub(in crate::store) fn datum(&self, column: usize) -> Result<Datum<'_>, SessionError> {
        let received: Received<'_> = self.row.try_get(column)?;
        match received.0.ok_or(SessionError::Column(column))? {
            Datum::Text(text) if text::is_marked(text) => {
                let all = || (0..self.row.len()).map(|_| OnceCell::new()).collect();
                let cell = self.plain.get_or_init(all).get(column);
                let cell = cell.ok_or(SessionError::Column(column))?;
                Ok(Datum::Text(cell.get_or_init(|| text::plain(text))))
            }
            datum => Ok(datum),
        }
    }
}

/// A parameter on its way.
#[derive(Debug)]
pub(super) struct Bound<'a>(pub(super) Datum<'a>);

type Unfit = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for Bound<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Unfit> {
        match (self.0, kind) {
            (Datum::Null, _) => return Ok(IsNull::Yes),
            (Datum::Int(number), &Type::INT8) => out.extend_from_slice(&number.to_be_bytes()),
            (Datum::Int(number), &Type::INT4) => {
                out.extend_from_slice(&i32::try_from(number)?.to_be_bytes());
            }
            (Datum::Int(number), &Type::BOOL) => out.extend_from_slice(&[u8::from(number != 0)]),
            (Datum::Text(text), &Type::TEXT | &Type::JSON | &Type::NAME | &Type::VARCHAR) => {
                out.extend_from_slice(&text::marked(text));
            }
            (Datum::Bytes(bytes), &Type::BYTEA) => out.extend_from_slice(bytes),
            (_, kind) => return Err(format!("a parameter is no {kind}").into()),
        }
        Ok(IsNull::No)
    }

    fn accepts(_kind: &Type) -> bool {
        true
    }

    tokio_postgres::types::to_sql_checked!();
}

/// A value as it was received; `None`: of a type that is not read here.
struct Received<'r>(Option<Datum<'r>>);

impl<'r> FromSql<'r> for Received<'r> {
    fn from_sql(kind: &Type, raw: &'r [u8]) -> Result<Self, Unfit> {
        Ok(Received(Some(match *kind {
            Type::INT8 => Datum::Int(i64::from_be_bytes(raw.try_into()?)),
            Type::INT4 => Datum::Int(i64::from(i32::from_be_bytes(raw.try_into()?))),
            Type::BOOL => Datum::Int(i64::from(raw.first().is_some_and(|byte| *byte != 0))),
            Type::TEXT | Type::VARCHAR | Type::NAME => Datum::Text(raw),
            Type::BYTEA => Datum::Bytes(raw),
            _ => return Ok(Received(None)),
        })))
    }

    fn from_sql_null(_kind: &Type) -> Result<Self, Unfit> {
        Ok(Received(Some(Datum::Null)))
    }

    fn accepts(_kind: &Type) -> bool {
        true
    }
}

impl SessionError {
    /// Whether the connection is gone, or no answer came: nobody knows what became of what was asked.
    pub(super) fn is_cut(&self) -> bool {
        match self {
            // 57P01 to 57P03: the server goes down, or ended the session.
            SessionError::Database(error) => match error.code() {
                Some(code) => code.code().starts_with("57P") || code.code().starts_with("08"),
                None => true,
            },
            SessionError::Silent(_)
            | SessionError::GivenUp
            | SessionError::Unanswered(_)
            | SessionError::ReadOnly
            | SessionError::Connect(_)
            | SessionError::Thread(_) => true,
            SessionError::Column(_) | SessionError::Unfit(_) | SessionError::Shared => false,
        }
    }
}

/// So that a place can be named in a message.
pub(super) fn named(shown: &dyn Display) -> String {
    format!("the store `{shown}`")
}
