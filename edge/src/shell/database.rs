//! An object's database on the platform.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use js_sys::{Function, Reflect};
use wasm_bindgen::closure::ScopedClosure;
use wasm_bindgen::{JsCast as _, JsValue};
use worker::{SqlStorage, SqlStorageValue, State, Storage};

use crate::sql::{Row, Sql, SqlError, Value};

/// SQLite in a durable object.
pub(super) struct Database {
    storage: Storage,
    sql: SqlStorage,
}

impl Database {
    /// The database of the object whose state this is.
    pub(super) fn of(state: &State) -> Self {
        let storage = state.storage();
        let sql = storage.sql();
        Self { storage, sql }
    }
}

impl Sql for Database {
    fn exec(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError> {
        let parameters: Vec<SqlStorageValue> = parameters.into_iter().map(outgoing).collect();
        let cursor = self.sql.exec(statement, parameters).map_err(|error| SqlError::Failed(error.to_string()))?;
        let mut rows = Vec::new();
        for row in cursor.raw() {
            let row = row.map_err(|error| SqlError::Failed(error.to_string()))?;
            rows.push(row.into_iter().map(incoming).collect::<Result<Row, _>>()?);
        }
        Ok(rows)
    }

    /// By the platform's `transactionSync`, which rolls back if its function throws. The crate has no binding of it.
    fn transaction<T, E: From<SqlError> + fmt::Debug>(&self, run: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let failed = |error: &JsValue| SqlError::Failed(format!("{error:?}"));
        let storage: &JsValue = self.storage.as_raw().as_ref();
        let transaction: Function = Reflect::get(storage, &JsValue::from_str("transactionSync"))
            .and_then(|function| function.dyn_into())
            .map_err(|error| failed(&error))?;
        let (done, run) = (Rc::new(RefCell::new(None)), RefCell::new(Some(run)));
        let outcome = {
            let mut inside = || -> Result<JsValue, JsValue> {
                let Some(run) = run.take() else { return Err(JsValue::from_str("called twice")) };
                let result = run();
                let thrown =
                    if result.is_ok() { Ok(JsValue::UNDEFINED) } else { Err(JsValue::from_str("rolled back")) };
                *done.borrow_mut() = Some(result);
                thrown
            };
            // It is called before the platform's function returns, and not after.
            let inside = ScopedClosure::<dyn FnMut() -> Result<JsValue, JsValue>>::borrow_mut_aborting(&mut inside);
            transaction.call1(storage, inside.as_js_value())
        };
        let result = done.borrow_mut().take();
        match (outcome, result) {
            (Ok(_), Some(result)) => result,
            (Err(_), Some(Err(error))) => Err(error),
            (Err(error), _) => Err(failed(&error).into()),
            (Ok(_), None) => Err(SqlError::Failed("the transaction was not run".to_owned()).into()),
        }
    }
}

fn outgoing(value: Value) -> SqlStorageValue {
    match value {
        Value::Null => SqlStorageValue::Null,
        Value::Integer(number) => SqlStorageValue::Integer(number),
        Value::Text(text) => SqlStorageValue::String(text),
        Value::Blob(bytes) => SqlStorageValue::Blob(bytes),
    }
}

fn incoming(value: SqlStorageValue) -> Result<Value, SqlError> {
    Ok(match value {
        SqlStorageValue::Null => Value::Null,
        SqlStorageValue::Boolean(truth) => Value::Integer(i64::from(truth)),
        SqlStorageValue::Integer(number) => Value::Integer(number),
        SqlStorageValue::String(text) => Value::Text(text),
        SqlStorageValue::Blob(bytes) => Value::Blob(bytes),
        SqlStorageValue::Float(_) => return Err(SqlError::Row),
    })
}
