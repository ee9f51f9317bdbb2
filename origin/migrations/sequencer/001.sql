CREATE TABLE "repo_seq" ("seq" integer primary key autoincrement, "did" varchar not null, "eventType" varchar not null, "event" blob not null, "invalidated" int2 default 0 not null, "sequencedAt" varchar not null);
CREATE INDEX "repo_seq_did_idx" on "repo_seq" ("did");
CREATE INDEX "repo_seq_event_type_idx" on "repo_seq" ("eventType");
CREATE INDEX "repo_seq_sequenced_at_index" on "repo_seq" ("sequencedAt");
