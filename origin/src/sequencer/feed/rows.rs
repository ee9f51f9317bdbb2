//! The feed's tables: what is written and read on a connection.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, Row as SqlRow, Transaction, params};
use shared::cid::Cid;
use shared::firehose::{AccountStatus, Body, Event, Kind, Seq};
use shared::link::{Changed, Position, Purge, PurgeScope, Region, Replica, decode, encode};
use shared::syntax::{Datetime, Did, Handle};

use super::{Fed, NAMED, READ, Registered, Row, Since, What};
use crate::db::DbError;
use crate::sequencer::Stored;
use crate::time::now_millis;

pub(super) fn clear(tx: &Transaction<'_>) -> Result<(), DbError> {
    for table in ["headwater_feed", "headwater_feed_floor", "headwater_handle", "headwater_replica"] {
        tx.execute(&format!(r#"DELETE FROM "{table}""#), [])?;
    }
    Ok(())
}

/// Adds the rows of an event that was just sequenced.
pub(in crate::sequencer) fn put_event(tx: &Transaction<'_>, did: &Did, event: &Body, seq: Seq) -> Result<Fed, DbError> {
    let (kind, handles) = match event.kind() {
        Kind::Commit | Kind::Sync => ("repository", String::new()),
        Kind::Identity | Kind::Account => ("state", handles_of(tx, did, event)?),
    };
    let position = put(tx, did, kind, Some(seq), &handles)?;
    Ok(Fed { did: did.clone(), position, handles: !handles.is_empty() })
}

/// Adds what follows from a commit that made blobs private: the replicas and the copies lose them.
pub(in crate::sequencer) fn put_released(
    tx: &Transaction<'_>,
    did: &Did,
    released: &[Cid],
) -> Result<Option<Fed>, DbError> {
    if released.is_empty() {
        return Ok(None);
    }
    for some in released.chunks(1000) {
        put_purge(tx, did, &PurgeScope::Blobs(some.to_vec()))?;
    }
    let position = put(tx, did, "state", None, "")?;
    Ok(Some(Fed { did: did.clone(), position, handles: false }))
}

pub(super) fn put(
    tx: &Transaction<'_>,
    did: &Did,
    kind: &str,
    seq: Option<Seq>,
    handles: &str,
) -> Result<Position, DbError> {
    let previous = last_of(tx, did)?;
    let seq = seq.map(|seq| i64::try_from(seq.get()).unwrap_or(i64::MAX));
    let sql = r#"INSERT INTO "headwater_feed" ("did", "previous", "kind", "seq", "handles", "at")
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)"#;
    tx.prepare_cached(sql)?.execute(params![did.as_str(), number(previous), kind, seq, handles, now_millis()])?;
    Ok(position_of(tx.last_insert_rowid()))
}

/// The handles that an event makes come, go or move: the one that was told before, and the one that is told now.
pub(super) fn handles_of(tx: &Transaction<'_>, did: &Did, event: &Body) -> Result<String, DbError> {
    let known = r#"SELECT "handle" FROM "headwater_handle" WHERE "did" = ?1"#;
    let before: Option<String> = tx.prepare_cached(known)?.query_row([did.as_str()], |row| row.get(0)).optional()?;
    let (now, gone) = match event.decode() {
        Ok(Event::Identity(identity)) => (identity.handle.filter(|handle| *handle != Handle::invalid()), false),
        Ok(Event::Account(account)) => (None, account.status == Some(AccountStatus::Deleted)),
        _ => (None, false),
    };
    if gone {
        tx.prepare_cached(r#"DELETE FROM "headwater_handle" WHERE "did" = ?1"#)?.execute([did.as_str()])?;
        put_purge(tx, did, &PurgeScope::Everything)?;
    }
    if let Some(handle) = &now {
        let sql = r#"INSERT OR REPLACE INTO "headwater_handle" ("did", "handle") VALUES (?1, ?2)"#;
        tx.prepare_cached(sql)?.execute([did.as_str(), handle.as_str()])?;
    }
    let now = now.map(|handle| handle.as_str().to_owned()).filter(|now| Some(now) != before.as_ref());
    Ok(before.into_iter().chain(now).collect::<Vec<_>>().join(" "))
}

pub(super) fn put_purge(tx: &Transaction<'_>, did: &Did, scope: &PurgeScope) -> Result<(), DbError> {
    // It is far below what fits a message.
    let scope = encode(scope).map_err(|_| DbError::Abandoned)?;
    let sql = r#"INSERT INTO "headwater_purge" ("did", "scope") VALUES (?1, ?2)"#;
    tx.prepare_cached(sql)?.execute(params![did.as_str(), scope])?;
    Ok(())
}

pub(super) fn purges(connection: &Connection, limit: u32) -> Result<Vec<(i64, Purge)>, DbError> {
    let mut statement =
        connection.prepare_cached(r#"SELECT "id", "did", "scope" FROM "headwater_purge" ORDER BY "id" LIMIT ?1"#)?;
    let rows = statement
        .query_map([limit], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?)))?
        .collect::<Result<Vec<(i64, String, Vec<u8>)>, _>>()?;
    let purge = |(id, did, scope): (i64, String, Vec<u8>)| {
        Some((id, Purge { account: Did::parse(&did).ok()?, scope: decode(&scope).ok()? }))
    };
    Ok(rows.into_iter().filter_map(purge).collect())
}

pub(super) fn last_of(connection: &Connection, did: &Did) -> Result<Position, DbError> {
    let sql = r#"SELECT max("position") FROM "headwater_feed" WHERE "did" = ?1"#;
    let last: Option<i64> = connection.prepare_cached(sql)?.query_row([did.as_str()], |row| row.get(0))?;
    Ok(position_of(last.unwrap_or_default()))
}

pub(super) fn rows(connection: &Connection, did: &Did, after: Position, limit: u32) -> Result<Vec<Row>, DbError> {
    let mut statement = connection.prepare_cached(
        r#"SELECT "position", "previous", "kind", "repo_seq"."seq", "eventType", "event", "sequencedAt"
           FROM "headwater_feed" LEFT JOIN "repo_seq" ON "repo_seq"."seq" = "headwater_feed"."seq"
           WHERE "headwater_feed"."did" = ?1 AND "position" > ?2 ORDER BY "position" LIMIT ?3"#,
    )?;
    let rows = statement.query_map(params![did.as_str(), number(after), limit], |row| {
        let kind: String = row.get(2)?;
        let what = match kind.as_str() {
            "state" => What::State,
            "repository" => stored(row)?.map_or(What::Refill, What::Repository),
            _ => What::Refill,
        };
        Ok(Row { position: position_of(row.get(0)?), previous: position_of(row.get(1)?), what })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The event of a row; `None` if it is gone, as those of deleted accounts are.
pub(super) fn stored(row: &SqlRow<'_>) -> rusqlite::Result<Option<Stored>> {
    let Some(seq) = row.get::<_, Option<i64>>(3)? else { return Ok(None) };
    let (kind, time): (String, String) = (row.get(4)?, row.get(6)?);
    let event: Vec<u8> = row.get(5)?;
    let seq = u64::try_from(seq).ok().and_then(Seq::new);
    let known = (seq, Kind::of_stored_name(&kind), Datetime::parse(&time).ok());
    let (Some(seq), Some(kind), Some(time)) = known else { return Ok(None) };
    Ok(Some(Stored { seq, time, body: Body::from_stored(kind, event.into()) }))
}

pub(super) fn since(connection: &Connection, after: Position) -> Result<Since, DbError> {
    let position: Option<i64> =
        connection.query_row(r#"SELECT max("position") FROM "headwater_feed""#, [], |row| row.get(0))?;
    let position = position_of(position.unwrap_or_default());
    let floor: Option<i64> =
        connection.query_row(r#"SELECT "position" FROM "headwater_feed_floor""#, [], |row| row.get(0)).optional()?;
    let known = r#"SELECT EXISTS (SELECT 1 FROM "headwater_feed" WHERE "position" = ?1)"#;
    let known: bool = connection.prepare_cached(known)?.query_row([number(after)], |row| row.get(0))?;
    let nothing = Since { position, ..Since::default() };
    if !known || after < position_of(floor.unwrap_or_default()) {
        return Ok(nothing);
    }
    let mut statement = connection.prepare_cached(
        r#"SELECT "did", "position", "handles" FROM "headwater_feed" WHERE "position" > ?1 AND "did" != ''"#,
    )?;
    let mut rows = statement.query([number(after)])?;
    let (mut changed, mut handles, mut read) = (HashMap::new(), Vec::new(), 0_usize);
    while let Some(row) = rows.next()? {
        let (did, position, named): (String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        handles.extend(named.split(' ').filter_map(|handle| Handle::parse(handle).ok()));
        if let Ok(did) = Did::parse(&did) {
            let last = changed.entry(did).or_insert(Position(0));
            *last = (*last).max(position_of(position));
        }
        read += 1;
        if changed.len() > NAMED || handles.len() > NAMED || read > READ {
            return Ok(nothing);
        }
    }
    handles.sort();
    handles.dedup();
    let changed = changed.into_iter().map(|(account, position)| Changed { account, position }).collect();
    Ok(Since { position, complete: true, changed, handles })
}

pub(super) fn registered(connection: &Connection) -> Result<Vec<Registered>, DbError> {
    let mut statement = connection.prepare(
        r#"SELECT "did", "region", "position",
           (SELECT max("position") FROM "headwater_feed" WHERE "headwater_feed"."did" = "headwater_replica"."did")
           FROM "headwater_replica""#,
    )?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?, row.get::<_, Option<i64>>(3)?))
    })?;
    let mut replicas = Vec::new();
    for row in rows {
        let (did, region, acknowledged, last) = row?;
        let replica = Did::parse(&did).ok().zip(Region::parse(&region).ok());
        replicas.extend(replica.map(|(account, region)| Registered {
            replica: Replica { account, region },
            acknowledged: position_of(acknowledged),
            last: position_of(last.unwrap_or_default()),
        }));
    }
    Ok(replicas)
}

pub(super) fn prune(tx: &Transaction<'_>, before: i64) -> Result<(), DbError> {
    let cut = r#"SELECT max("position") FROM "headwater_feed" WHERE "at" < ?1"#;
    let Some(cut) = tx.query_row(cut, [before], |row| row.get::<_, Option<i64>>(0))? else { return Ok(()) };
    tx.execute(
        r#"DELETE FROM "headwater_feed" WHERE "position" <= ?1 AND "position" <
           (SELECT max("other"."position") FROM "headwater_feed" AS "other" WHERE "other"."did" = "headwater_feed"."did")"#,
        [cut],
    )?;
    tx.execute(
        r#"INSERT INTO "headwater_feed_floor" VALUES (1, ?1)
           ON CONFLICT ("id") DO UPDATE SET "position" = max("position", excluded."position")"#,
        [cut],
    )?;
    Ok(())
}

/// Positions are below 2^53, so both ways fit.
pub(super) fn number(position: Position) -> i64 {
    i64::try_from(position.0).unwrap_or(i64::MAX)
}

pub(super) fn position_of(number: i64) -> Position {
    Position(u64::try_from(number).unwrap_or_default())
}
