CREATE TABLE IF NOT EXISTS "headwater_head" ("did" varchar primary key, "rev" varchar not null, "seq" integer not null) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS "headwater_dirty" ("did" varchar primary key) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS "headwater_drained" ("source" varchar primary key, "id" integer not null) WITHOUT ROWID;
