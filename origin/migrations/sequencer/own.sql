CREATE TABLE IF NOT EXISTS "headwater_head" ("did" varchar primary key, "rev" varchar not null, "seq" integer not null) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS "headwater_dirty" ("did" varchar primary key) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS "headwater_drained" ("source" varchar primary key, "id" integer not null) WITHOUT ROWID;
-- The feed: what the edge's replicas are told, in an order of its own. Every row names the account's row before it. A row
-- of kind `start` marks a start of the server and belongs to nobody.
CREATE TABLE IF NOT EXISTS "headwater_feed" ("position" integer primary key autoincrement, "did" varchar not null, "previous" integer not null, "kind" varchar not null, "seq" integer, "handles" varchar not null, "at" integer not null);
CREATE INDEX IF NOT EXISTS "headwater_feed_did_idx" ON "headwater_feed" ("did", "position");
-- Up to where rows of the feed may be gone.
CREATE TABLE IF NOT EXISTS "headwater_feed_floor" ("id" integer primary key check ("id" = 1), "position" integer not null);
-- The handle that was told of each account last.
CREATE TABLE IF NOT EXISTS "headwater_handle" ("did" varchar primary key, "handle" varchar not null) WITHOUT ROWID;
-- Replicas that are pushed to, and what each has acknowledged, or more.
CREATE TABLE IF NOT EXISTS "headwater_replica" ("did" varchar not null, "region" varchar not null, "position" integer not null, primary key ("did", "region")) WITHOUT ROWID;
-- Copies that the edge has still to drop.
CREATE TABLE IF NOT EXISTS "headwater_purge" ("id" integer primary key autoincrement, "did" varchar not null, "scope" blob not null);
