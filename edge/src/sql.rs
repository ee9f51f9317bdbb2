//! The database of an object: SQLite, the object's own on the platform, rusqlite in tests.
//!
//! The trait is as small as what is needed of it: statements with positional parameters, whose rows come at once and are
//! few, and transactions that hold no `await`.

use std::fmt;

use shared::cid::Cid;

/// A value of a row or a parameter. Integers are exact below 2^53.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A number.
    Integer(i64),
    /// A text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// One row.
pub type Row = Vec<Value>;

/// Why a statement failed, as the database says it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// The database refuses or fails.
    #[error("the object's database failed: {0}")]
    Failed(String),
    /// A row is not what its statement should give.
    #[error("a row of the object's database is not what it should be")]
    Row,
}

/// The database of one object.
pub trait Sql {
    /// Runs one statement and returns its rows.
    ///
    /// # Errors
    /// [`SqlError::Failed`].
    fn exec(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError>;

    /// Runs `run`; what it changed stays if it succeeds, and else none of it. Not to be nested.
    ///
    /// # Errors
    /// What `run` fails with, or the database itself.
    fn transaction<T, E: From<SqlError> + fmt::Debug>(&self, run: impl FnOnce() -> Result<T, E>) -> Result<T, E>;
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Blob(bytes.to_vec())
    }
}

impl From<&Cid> for Value {
    fn from(cid: &Cid) -> Self {
        Self::Blob(cid.as_bytes().to_vec())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Integer(i64::from(truth))
    }
}

/// Takes the columns of a row in order.
#[derive(Debug)]
pub struct Columns(std::vec::IntoIter<Value>);

impl Columns {
    /// Of this row.
    #[must_use]
    pub fn of(row: Row) -> Self {
        Self(row.into_iter())
    }

    /// The next one, a text.
    ///
    /// # Errors
    /// [`SqlError::Row`] for anything else; the same of the others.
    pub fn text(&mut self) -> Result<String, SqlError> {
        match self.0.next() {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(SqlError::Row),
        }
    }

    /// The next one, bytes.
    ///
    /// # Errors
    /// [`SqlError::Row`].
    pub fn bytes(&mut self) -> Result<Vec<u8>, SqlError> {
        match self.0.next() {
            Some(Value::Blob(bytes)) => Ok(bytes),
            _ => Err(SqlError::Row),
        }
    }

    /// The next one, a number that is not negative.
    ///
    /// # Errors
    /// [`SqlError::Row`].
    pub fn number(&mut self) -> Result<u64, SqlError> {
        match self.0.next() {
            Some(Value::Integer(number)) => u64::try_from(number).map_err(|_| SqlError::Row),
            _ => Err(SqlError::Row),
        }
    }

    /// The next one, a CID in its bytes.
    ///
    /// # Errors
    /// [`SqlError::Row`].
    pub fn cid(&mut self) -> Result<Cid, SqlError> {
        Cid::from_bytes(&self.bytes()?).map_err(|_| SqlError::Row)
    }

    /// The next one, bytes or nothing.
    ///
    /// # Errors
    /// [`SqlError::Row`].
    pub fn optional_bytes(&mut self) -> Result<Option<Vec<u8>>, SqlError> {
        match self.0.next() {
            Some(Value::Blob(bytes)) => Ok(Some(bytes)),
            Some(Value::Null) => Ok(None),
            _ => Err(SqlError::Row),
        }
    }
}

#[cfg(test)]
pub(crate) mod native {
    //! The same over rusqlite.

    use std::fmt;

    use rusqlite::types::{ToSqlOutput, ValueRef};
    use rusqlite::{Connection, ToSql, params_from_iter};

    use super::{Row, Sql, SqlError, Value};

    /// A database in memory.
    #[derive(Debug)]
    pub(crate) struct Native(Connection);

    impl Native {
        pub(crate) fn new() -> Self {
            Self(Connection::open_in_memory().unwrap())
        }
    }

    impl ToSql for Value {
        fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
            Ok(ToSqlOutput::Borrowed(match self {
                Self::Null => ValueRef::Null,
                Self::Integer(number) => ValueRef::Integer(*number),
                Self::Text(text) => ValueRef::Text(text.as_bytes()),
                Self::Blob(bytes) => ValueRef::Blob(bytes),
            }))
        }
    }

    impl From<rusqlite::Error> for SqlError {
        fn from(error: rusqlite::Error) -> Self {
            Self::Failed(error.to_string())
        }
    }

    impl Sql for Native {
        fn exec(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError> {
            // The platform allows no more.
            assert!(parameters.len() <= 100);
            let mut statement = self.0.prepare_cached(statement)?;
            let columns = statement.column_count();
            let rows = statement.query_map(params_from_iter(parameters), |row| {
                (0..columns)
                    .map(|column| {
                        Ok(match row.get_ref(column)? {
                            ValueRef::Null => Value::Null,
                            ValueRef::Integer(number) => Value::Integer(number),
                            ValueRef::Real(_) => panic!("a real number"),
                            ValueRef::Text(text) => Value::Text(String::from_utf8(text.to_vec()).unwrap()),
                            ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
                        })
                    })
                    .collect()
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        }

        fn transaction<T, E: From<SqlError> + fmt::Debug>(&self, run: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
            let transaction = self.0.unchecked_transaction().map_err(SqlError::from)?;
            let done = run()?;
            transaction.commit().map_err(SqlError::from)?;
            Ok(done)
        }
    }
}
