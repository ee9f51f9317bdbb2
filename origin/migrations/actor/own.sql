CREATE TABLE IF NOT EXISTS "headwater_pending" ("rev" varchar primary key, "kind" varchar not null, "event" blob not null) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS "headwater_released" ("cid" varchar primary key) WITHOUT ROWID;
-- Blobs that were public and are not: for the edge's replicas, which are told of them for as long as they may have missed it.
CREATE TABLE IF NOT EXISTS "headwater_withdrawn" ("cid" varchar primary key, "at" integer not null) WITHOUT ROWID;
