//! What an account's owner set for applications: a list of JSON objects, each named by its `$type`.
//!
//! They are kept in the account's store, and nobody but its owner, and the moderator, sees them. An application password
//! neither sees nor changes what only the owner may ([`FULL_ACCESS`]); how old the owner is ([`AGE`]) is told without
//! the day of birth, and never set.
//!
//! Specification: lexicons `app.bsky.actor.getPreferences`, `app.bsky.actor.putPreferences`.

use rusqlite::{Connection, Transaction, params};
use serde_json::{Value, json};
use shared::api::bsky::Preference;
use shared::syntax::Datetime;

use crate::db::DbError;

/// The names that are kept here.
const NAMESPACE: &str = "app.bsky";
/// What only a log-in with the account's own password sees and sets.
const FULL_ACCESS: &str = "app.bsky.actor.defs#personalDetailsPref";
/// What is told and never set.
const AGE: &str = "app.bsky.actor.defs#declaredAgePref";

/// Why preferences were not set.
#[derive(Debug, thiserror::Error)]
pub enum PreferencesError {
    /// One without a `$type`.
    #[error("Preference is missing a $type")]
    NoType,
    /// One that is not an application's.
    #[error("Some preferences are not in the {NAMESPACE} namespace")]
    Namespace,
    /// Some that only the owner's own password sets.
    #[error("Do not have authorization to set preferences: {0}")]
    Forbidden(String),
    /// The store failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<rusqlite::Error> for PreferencesError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Db(error.into())
    }
}

/// The preferences, in the order in which they were set; with `full` also what only the owner sees. `today` is the time.
///
/// # Errors
/// When the store fails.
pub fn get(connection: &Connection, full: bool, today: &Datetime) -> Result<Vec<Preference>, DbError> {
    let mut statement = connection.prepare_cached(r#"SELECT "name", "valueJson" FROM "account_pref" ORDER BY "id""#)?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let (mut preferences, mut age) = (Vec::new(), None);
    for row in rows {
        let (name, json) = row?;
        // What another server wrote wrongly is nobody's preference.
        let Some(preference) = serde_json::from_str::<Preference>(&json).ok().filter(|_| is_kept(&name)) else {
            continue;
        };
        let kind = kind(&preference);
        if kind == Some(FULL_ACCESS) && age.is_none() {
            age = preference.get("birthDate").and_then(Value::as_str).map(|born| years(born, today.as_str()));
        }
        if full || kind != Some(FULL_ACCESS) {
            preferences.push(preference);
        }
    }
    if let Some(age) = age {
        let over = |limit| age.is_some_and(|age| age >= limit);
        let declared = json!({
            "$type": AGE, "isOverAge13": over(13), "isOverAge16": over(16), "isOverAge18": over(18)
        });
        preferences.extend(declared.as_object().cloned());
    }
    Ok(preferences)
}

/// Sets the preferences, in place of all that there were; without `full` those that only the owner sees stay.
///
/// # Errors
/// A [`PreferencesError`]. Nothing is changed then.
pub fn put(transaction: &Transaction<'_>, preferences: &[Preference], full: bool) -> Result<(), PreferencesError> {
    let kinds: Option<Vec<&str>> = preferences.iter().map(kind).collect();
    let kinds = kinds.ok_or(PreferencesError::NoType)?;
    if !kinds.iter().all(|kind| is_kept(kind)) {
        return Err(PreferencesError::Namespace);
    }
    let forbidden: Vec<_> = kinds.iter().filter(|kind| !full && **kind == FULL_ACCESS).copied().collect();
    if !forbidden.is_empty() {
        return Err(PreferencesError::Forbidden(forbidden.join(", ")));
    }
    transaction.execute(
        r#"DELETE FROM "account_pref" WHERE ("name" = ?1 OR substr("name", 1, length(?1) + 1) = ?1 || '.')
           AND (?2 OR "name" <> ?3)"#,
        params![NAMESPACE, full, FULL_ACCESS],
    )?;
    let mut insert =
        transaction.prepare_cached(r#"INSERT INTO "account_pref" ("name", "valueJson") VALUES (?1, ?2)"#)?;
    for (preference, kind) in preferences.iter().zip(kinds).filter(|(_, kind)| *kind != AGE) {
        insert.execute(params![kind, Value::Object(preference.clone()).to_string()])?;
    }
    Ok(())
}

fn kind(preference: &Preference) -> Option<&str> {
    preference.get("$type").and_then(Value::as_str)
}

fn is_kept(name: &str) -> bool {
    name.strip_prefix(NAMESPACE).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// How many whole years lie between two days, both `YYYY-MM-DD` and whatever follows; `None` if they are no days.
fn years(born: &str, today: &str) -> Option<i32> {
    let day = |text: &str| -> Option<(i32, u32, u32)> {
        let mut parts = text.get(..10)?.split('-');
        let day = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        parts.next().is_none().then_some(day)
    };
    let ((year, month, of_month), now) = (day(born)?, day(today)?);
    Some(now.0 - year - i32::from((now.1, now.2) < (month, of_month)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_is_over_on_the_birthday() {
        for (born, today, age) in [
            ("2000-06-15", "2013-06-14T23:59:59.000Z", Some(12)),
            ("2000-06-15", "2013-06-15T00:00:00.000Z", Some(13)),
            ("2000-06-15T00:00:00.000Z", "2013-05-30", Some(12)),
            ("2000-02-29", "2018-02-28", Some(17)),
            ("yesterday, or so", "2018-02-28", None),
            ("2000-01", "2018-02-28", None),
        ] {
            assert_eq!(years(born, today), age, "{born} {today}");
        }
    }

    #[test]
    fn only_names_of_the_application_are_kept() {
        for (name, kept) in
            [("app.bsky", true), ("app.bsky.actor.defs#x", true), ("app.bskyx.y", false), ("com.a", false)]
        {
            assert_eq!(is_kept(name), kept, "{name}");
        }
    }
}
