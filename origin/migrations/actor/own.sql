CREATE TABLE IF NOT EXISTS "headwater_pending" ("rev" varchar primary key, "kind" varchar not null, "event" blob not null) WITHOUT ROWID;
