CREATE TABLE IF NOT EXISTS "headwater_pending" ("rev" varchar primary key, "kind" varchar not null, "event" blob not null) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS "headwater_released" ("cid" varchar primary key) WITHOUT ROWID;
