-- Version 4: tokens expire and are rotated, each change has a line in svctoken_history,
-- and what has changed stands in svctoken_changes. Other columns of svctoken_tokens, the
-- host's own, are no business of the triggers. (There was no version 3 for SQLite.)
DROP TRIGGER svctoken_meta_rev
--
DROP TRIGGER svctoken_meta_sweep
--
DROP TRIGGER svctoken_tokens_insert
--
DROP TRIGGER svctoken_tokens_update
--
DROP TRIGGER svctoken_tokens_stamp
--
DROP TRIGGER svctoken_tokens_delete
--
DROP TABLE svctoken_tombstones
--
DROP INDEX svctoken_tokens_rev
--
ALTER TABLE svctoken_tokens DROP COLUMN rev
--
-- The oldest version whose programs may read this schema.
ALTER TABLE svctoken_meta ADD COLUMN readable_by INTEGER NOT NULL DEFAULT 4
--
-- Who makes the changes of this transaction; empty when it commits.
ALTER TABLE svctoken_meta ADD COLUMN actor TEXT NOT NULL DEFAULT ''
--
-- From then on the token is refused; NULL: never. Times are milliseconds since 1970.
ALTER TABLE svctoken_tokens ADD COLUMN expires INTEGER
--
-- When the secret was last replaced, and by whom.
ALTER TABLE svctoken_tokens ADD COLUMN rotated INTEGER
--
ALTER TABLE svctoken_tokens ADD COLUMN rotated_by TEXT NOT NULL DEFAULT ''
--
-- The hash of the secret before, and until when that is good too.
ALTER TABLE svctoken_tokens ADD COLUMN previous TEXT NOT NULL DEFAULT ''
--
ALTER TABLE svctoken_tokens ADD COLUMN previous_expires INTEGER
--
-- What was done at which rev. Kind token: the token has changed. Kind evict: somebody asked
-- for an eviction, and name is a list of names with commas, or *. A program that does not know
-- a kind forgets everything.
CREATE TABLE svctoken_changes (
  rev       INTEGER NOT NULL,
  kind      TEXT    NOT NULL,
  namespace TEXT    NOT NULL,
  service   TEXT    NOT NULL,
  name      TEXT    NOT NULL,
  PRIMARY KEY (rev, kind, namespace, service, name)
) WITHOUT ROWID
--
-- Who did what to a token, kept for 400 days at least.
CREATE TABLE svctoken_history (
  at        INTEGER NOT NULL,
  rev       INTEGER NOT NULL,
  namespace TEXT    NOT NULL,
  service   TEXT    NOT NULL,
  name      TEXT    NOT NULL,
  what      TEXT    NOT NULL,
  actor     TEXT    NOT NULL -- sql: if the library's caller did not say
)
--
CREATE INDEX svctoken_history_token ON svctoken_history (namespace, service, name, rev)
--
CREATE INDEX svctoken_history_at ON svctoken_history (at)
--
-- When a token was last used. It has no triggers: a use is no change.
CREATE TABLE svctoken_used (
  namespace TEXT    NOT NULL,
  service   TEXT    NOT NULL,
  name      TEXT    NOT NULL,
  used      INTEGER NOT NULL,
  PRIMARY KEY (namespace, service, name)
) WITHOUT ROWID
--
-- Marks and changes of the last 100 000 revs are kept.
CREATE TRIGGER svctoken_meta_rev AFTER UPDATE OF rev ON svctoken_meta BEGIN
  DELETE FROM svctoken_revs WHERE rev >= NEW.rev;
  DELETE FROM svctoken_changes WHERE rev >= NEW.rev;
  INSERT INTO svctoken_revs (rev, mark) VALUES (NEW.rev, lower(hex(randomblob(16))));
END
--
CREATE TRIGGER svctoken_meta_sweep AFTER UPDATE OF rev ON svctoken_meta WHEN NEW.rev % 1024 = 0 BEGIN
  DELETE FROM svctoken_history WHERE at < (strftime('%s', 'now') - 400 * 86400) * 1000;
  DELETE FROM svctoken_revs WHERE rev < NEW.rev - 100000;
  DELETE FROM svctoken_changes WHERE rev <= NEW.rev - 100000;
  UPDATE svctoken_meta SET swept = max(swept, NEW.rev - 100000);
END
--
-- Each row that changes is a rev of its own. Its change is noted by the values: an update
-- that leaves our columns as they were is none.
CREATE TRIGGER svctoken_tokens_insert AFTER INSERT ON svctoken_tokens BEGIN
  UPDATE svctoken_meta SET rev = rev + 1;
  INSERT OR IGNORE INTO svctoken_changes (rev, kind, namespace, service, name) SELECT rev, 'token', NEW.namespace, NEW.service, NEW.name FROM svctoken_meta;
  INSERT INTO svctoken_history (at, rev, namespace, service, name, what, actor)
    SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER), rev, NEW.namespace, NEW.service, NEW.name, 'created', COALESCE(NULLIF(actor, ''), 'sql:') FROM svctoken_meta;
END
--
CREATE TRIGGER svctoken_tokens_update AFTER UPDATE ON svctoken_tokens WHEN
  (OLD.namespace, OLD.service, OLD.name, OLD.created, OLD.creator, OLD.enabled, OLD.hash, OLD.expires, OLD.rotated, OLD.rotated_by, OLD.previous, OLD.previous_expires)
  IS NOT
  (NEW.namespace, NEW.service, NEW.name, NEW.created, NEW.creator, NEW.enabled, NEW.hash, NEW.expires, NEW.rotated, NEW.rotated_by, NEW.previous, NEW.previous_expires)
BEGIN
  UPDATE svctoken_meta SET rev = rev + 1;
  INSERT OR IGNORE INTO svctoken_changes (rev, kind, namespace, service, name) SELECT rev, 'token', NEW.namespace, NEW.service, NEW.name FROM svctoken_meta;
  INSERT OR IGNORE INTO svctoken_changes (rev, kind, namespace, service, name) SELECT rev, 'token', OLD.namespace, OLD.service, OLD.name FROM svctoken_meta
    WHERE (OLD.namespace, OLD.service, OLD.name) IS NOT (NEW.namespace, NEW.service, NEW.name);
  INSERT INTO svctoken_history (at, rev, namespace, service, name, what, actor)
    SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER), rev, OLD.namespace, OLD.service, OLD.name, 'deleted', COALESCE(NULLIF(actor, ''), 'sql:') FROM svctoken_meta
    WHERE (OLD.namespace, OLD.service, OLD.name) IS NOT (NEW.namespace, NEW.service, NEW.name);
  INSERT INTO svctoken_history (at, rev, namespace, service, name, what, actor)
    SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER), rev, NEW.namespace, NEW.service, NEW.name,
      CASE WHEN (OLD.namespace, OLD.service, OLD.name) IS NOT (NEW.namespace, NEW.service, NEW.name) THEN 'created'
      ELSE COALESCE(NULLIF(rtrim(
        CASE WHEN OLD.hash IS NOT NEW.hash THEN 'rotated, ' ELSE '' END ||
        CASE WHEN OLD.enabled IS NEW.enabled THEN '' WHEN NEW.enabled THEN 'enabled, ' ELSE 'disabled, ' END ||
        CASE WHEN OLD.expires IS NOT NEW.expires THEN 'expiry set, ' ELSE '' END, ', '), ''), 'changed') END,
      COALESCE(NULLIF(actor, ''), 'sql:') FROM svctoken_meta;
END
--
CREATE TRIGGER svctoken_tokens_delete AFTER DELETE ON svctoken_tokens BEGIN
  UPDATE svctoken_meta SET rev = rev + 1;
  INSERT OR IGNORE INTO svctoken_changes (rev, kind, namespace, service, name) SELECT rev, 'token', OLD.namespace, OLD.service, OLD.name FROM svctoken_meta;
  INSERT INTO svctoken_history (at, rev, namespace, service, name, what, actor)
    SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER), rev, OLD.namespace, OLD.service, OLD.name, 'deleted', COALESCE(NULLIF(actor, ''), 'sql:') FROM svctoken_meta;
END
--
UPDATE svctoken_meta SET format = 4, rev = rev + 1
