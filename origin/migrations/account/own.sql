-- Beside the reference's tables; every start runs this.
--
-- Events of accounts that no repository write carries (#identity, #account), and those that must come with them. A row is
-- written by the transaction that makes it true, and goes once the sequencer has it.
create table if not exists "headwater_outbox" (
    "id" integer primary key autoincrement,
    "did" varchar not null,
    "kind" varchar not null,
    "event" blob not null,
    "createdAt" varchar not null
);
-- Work of more than one step, of which at least one is outside this database. Noted before the first step that cannot be
-- taken back, cleared by the last, and found by a start after a process that died in between.
create table if not exists "headwater_unfinished" (
    "did" varchar not null,
    "work" varchar not null,
    "detail" varchar,
    primary key ("did", "work")
) without rowid;
-- Sign-ups that came with an Idempotency-Key: which key, with which body, and whose account was being made. Both are MACs
-- under the server's own secret: the body holds a password. There from before the account is till a day later.
create table if not exists "headwater_attempt" (
    "key" blob primary key,
    "body" blob not null,
    "did" varchar not null,
    "at" integer not null
) without rowid;
create index if not exists "headwater_attempt_did_idx" on "headwater_attempt" ("did");
