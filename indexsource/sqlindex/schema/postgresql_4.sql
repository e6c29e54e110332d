-- Version 4: tokens expire and are rotated, each change has a line in svctoken_history,
-- and what has changed stands in svctoken_changes. Other columns of svctoken_tokens, the
-- host's own, are no business of the triggers.
DROP FUNCTION svctoken_count() CASCADE
--
DROP FUNCTION svctoken_stamp() CASCADE
--
DROP FUNCTION svctoken_tombstone() CASCADE
--
DROP FUNCTION svctoken_truncated() CASCADE
--
DROP FUNCTION svctoken_rev() CASCADE
--
DROP FUNCTION svctoken_tell() CASCADE
--
DROP TABLE svctoken_tombstones
--
ALTER TABLE svctoken_meta
  ADD COLUMN readable_by INTEGER NOT NULL DEFAULT 4, -- the oldest version whose programs may read this schema
  ADD COLUMN actor       TEXT    NOT NULL DEFAULT '' -- who makes the changes of this transaction; empty when it commits
--
ALTER TABLE svctoken_tokens
  DROP COLUMN rev,
  ADD COLUMN expires          BIGINT,                  -- from then on it is refused; NULL: never. Times are milliseconds since 1970
  ADD COLUMN rotated          BIGINT,                  -- when the secret was last replaced
  ADD COLUMN rotated_by       TEXT NOT NULL DEFAULT '',
  ADD COLUMN previous         TEXT NOT NULL DEFAULT '', -- hash of the secret before
  ADD COLUMN previous_expires BIGINT                   -- until then the secret before is good too
--
-- What was done at which rev. Kind token: the token has changed. Kind evict: somebody asked
-- for an eviction, and name is a list of names with commas, or *. A program that does not know
-- a kind forgets everything. Of one statement, 4097 are enough to say so, too.
CREATE TABLE svctoken_changes (
  rev       BIGINT NOT NULL,
  kind      TEXT   NOT NULL,
  namespace TEXT   COLLATE "C" NOT NULL,
  service   TEXT   COLLATE "C" NOT NULL,
  name      TEXT   COLLATE "C" NOT NULL,
  PRIMARY KEY (rev, kind, namespace, service, name)
)
--
-- Who did what to a token, kept for 400 days at least.
CREATE TABLE svctoken_history (
  at        BIGINT NOT NULL,
  rev       BIGINT NOT NULL,
  namespace TEXT   COLLATE "C" NOT NULL,
  service   TEXT   COLLATE "C" NOT NULL,
  name      TEXT   COLLATE "C" NOT NULL,
  what      TEXT   NOT NULL,
  actor     TEXT   NOT NULL -- sql: and the role, if the library's caller did not say
)
--
CREATE INDEX svctoken_history_token ON svctoken_history (namespace, service, name, rev)
--
CREATE INDEX svctoken_history_at ON svctoken_history (at)
--
-- When a token was last used. It has no triggers: a use is no change.
CREATE TABLE svctoken_used (
  namespace TEXT   COLLATE "C" NOT NULL,
  service   TEXT   COLLATE "C" NOT NULL,
  name      TEXT   COLLATE "C" NOT NULL,
  used      BIGINT NOT NULL,
  PRIMARY KEY (namespace, service, name)
)
--
-- Marks and changes of the last 100 000 revs are kept. A listener is told once for each
-- statement: here of what changes no token by name.
CREATE FUNCTION svctoken_rev() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM svctoken_revs WHERE rev >= NEW.rev;
  IF NEW.rev <= OLD.rev THEN -- somebody has set it back
    DELETE FROM svctoken_changes WHERE rev > NEW.rev;
  END IF;
  INSERT INTO svctoken_revs (rev, mark) VALUES (NEW.rev, gen_random_uuid()::TEXT);
  IF NEW.rev % 1024 = 0 THEN
    DELETE FROM svctoken_history WHERE at < (extract(epoch FROM now()) * 1000)::BIGINT - 400::BIGINT * 86400000;
    IF NEW.rev > 100000 THEN
      DELETE FROM svctoken_revs WHERE rev < NEW.rev - 100000;
      DELETE FROM svctoken_changes WHERE rev <= NEW.rev - 100000;
      UPDATE svctoken_meta SET swept = GREATEST(swept, NEW.rev - 100000);
    END IF;
  END IF;
  IF pg_trigger_depth() = 1 OR current_setting('session_replication_role') = 'replica' THEN
    PERFORM pg_notify('svctoken', NEW.rev::TEXT);
  END IF;
  RETURN NULL;
END $$
--
-- The changes of a statement are the tokens of which one of our columns is another one
-- afterwards, by the rows as they are stored: a BEFORE trigger of the host's may have
-- set them. If there are any, rev goes up, and its row is locked until the commit: the
-- order of the revs is the order of the commits. The three functions have one body, as an
-- insertion has no old rows, and a deletion no new ones.
DO $do$
DECLARE
  columns TEXT := 'created, creator, enabled, hash, expires, rotated, rotated_by, previous, previous_expires';
  nothing TEXT := '%s AS (SELECT * FROM svctoken_tokens WHERE FALSE), ';
  changed TEXT := $changed$changed AS (
    SELECT namespace, service, name, CASE
        WHEN o.created IS NULL THEN 'created'
        WHEN n.created IS NULL THEN 'deleted'
        ELSE COALESCE(NULLIF(concat_ws(', ',
          CASE WHEN o.hash <> n.hash THEN 'rotated' END,
          CASE WHEN o.enabled <> n.enabled THEN CASE WHEN n.enabled THEN 'enabled' ELSE 'disabled' END END,
          CASE WHEN o.expires IS DISTINCT FROM n.expires THEN 'expiry set' END), ''), 'changed')
      END AS what
    FROM old_rows o FULL JOIN new_rows n USING (namespace, service, name)
    WHERE (%s) IS DISTINCT FROM (%s))$changed$;
  body TEXT := $body$
DECLARE
  at    BIGINT;
  who   TEXT;
  names TEXT;
BEGIN
  IF NOT EXISTS (WITH %1$s SELECT FROM changed) THEN
    RETURN NULL;
  END IF;
  UPDATE svctoken_meta SET rev = rev + 1 RETURNING rev, COALESCE(NULLIF(actor, ''), 'sql:' || session_user) INTO STRICT at, who;
  WITH %1$s, noted AS (
    INSERT INTO svctoken_history (at, rev, namespace, service, name, what, actor)
      SELECT (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT, at, namespace, service, name, what, who FROM changed
  ), told AS (
    INSERT INTO svctoken_changes (rev, kind, namespace, service, name)
      SELECT at, 'token', namespace, service, name FROM changed LIMIT 4097
      ON CONFLICT DO NOTHING
  )
  SELECT CASE WHEN count(*) <= 16 THEN string_agg(' ' || namespace || '/' || service || '/' || name, '') END INTO names
    FROM (SELECT namespace, service, name FROM changed LIMIT 17) c;
  IF octet_length(names) > 7000 THEN -- PostgreSQL refuses a notification of 8000 bytes, and with it the change
    names := '';
  END IF;
  PERFORM pg_notify('svctoken', at || COALESCE(names, ''));
  RETURN NULL;
END $body$;
BEGIN
  changed := format(changed, 'o.' || replace(columns, ', ', ', o.'), 'n.' || replace(columns, ', ', ', n.'));
  EXECUTE format('CREATE FUNCTION svctoken_inserted() RETURNS trigger LANGUAGE plpgsql AS %L', format(body, format(nothing, 'old_rows') || changed));
  EXECUTE format('CREATE FUNCTION svctoken_updated() RETURNS trigger LANGUAGE plpgsql AS %L', format(body, changed));
  EXECUTE format('CREATE FUNCTION svctoken_deleted() RETURNS trigger LANGUAGE plpgsql AS %L', format(body, format(nothing, 'new_rows') || changed));
END $do$
--
-- Replication's workers fire no triggers for statements. In their transactions the
-- first row counts for all: the row of svctoken_meta is the transaction's own then.
CREATE FUNCTION svctoken_replicated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (OLD.namespace, OLD.service, OLD.name, OLD.created, OLD.creator, OLD.enabled, OLD.hash, OLD.expires, OLD.rotated, OLD.rotated_by, OLD.previous, OLD.previous_expires)
      IS NOT DISTINCT FROM
     (NEW.namespace, NEW.service, NEW.name, NEW.created, NEW.creator, NEW.enabled, NEW.hash, NEW.expires, NEW.rotated, NEW.rotated_by, NEW.previous, NEW.previous_expires) THEN
    RETURN NULL;
  END IF;
  UPDATE svctoken_meta SET rev = rev + 1 WHERE xmin <> pg_current_xact_id()::xid;
  INSERT INTO svctoken_changes (rev, kind, namespace, service, name)
    SELECT rev, 'token', c.namespace, c.service, c.name
    FROM svctoken_meta, (VALUES (OLD.namespace, OLD.service, OLD.name), (NEW.namespace, NEW.service, NEW.name)) AS c (namespace, service, name)
    WHERE c.name IS NOT NULL
    ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$
--
-- TRUNCATE says not which rows it removes.
CREATE FUNCTION svctoken_truncated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE svctoken_meta SET rev = rev + 1, swept = rev + 1;
  PERFORM pg_notify('svctoken', rev::TEXT) FROM svctoken_meta;
  RETURN NULL;
END $$
--
-- The functions mean these tables, whatever the search_path of a writer, and write to
-- them, whatever the writer may do.
DO $$
DECLARE f TEXT;
BEGIN
  FOREACH f IN ARRAY ARRAY['svctoken_rev', 'svctoken_inserted', 'svctoken_updated', 'svctoken_deleted', 'svctoken_replicated', 'svctoken_truncated'] LOOP
    EXECUTE format('ALTER FUNCTION %I() SECURITY DEFINER SET search_path = %I, pg_temp', f, current_schema());
  END LOOP;
END $$
--
CREATE TRIGGER svctoken_meta_rev AFTER UPDATE OF rev ON svctoken_meta FOR EACH ROW EXECUTE FUNCTION svctoken_rev()
--
CREATE TRIGGER svctoken_tokens_insert AFTER INSERT ON svctoken_tokens REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION svctoken_inserted()
--
CREATE TRIGGER svctoken_tokens_update AFTER UPDATE ON svctoken_tokens REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION svctoken_updated()
--
CREATE TRIGGER svctoken_tokens_delete AFTER DELETE ON svctoken_tokens REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION svctoken_deleted()
--
CREATE TRIGGER svctoken_tokens_replicate AFTER INSERT OR UPDATE OR DELETE ON svctoken_tokens FOR EACH ROW EXECUTE FUNCTION svctoken_replicated()
--
CREATE TRIGGER svctoken_tokens_truncate AFTER TRUNCATE ON svctoken_tokens FOR EACH STATEMENT EXECUTE FUNCTION svctoken_truncated()
--
-- In force for replication's workers: those for rows there, those for statements
-- elsewhere, the others always.
ALTER TABLE svctoken_meta ENABLE ALWAYS TRIGGER svctoken_meta_rev
--
ALTER TABLE svctoken_tokens ENABLE ALWAYS TRIGGER svctoken_tokens_truncate, ENABLE REPLICA TRIGGER svctoken_tokens_replicate
--
UPDATE svctoken_meta SET format = 4, rev = rev + 1
