-- Replication's workers fire no triggers for statements. In their transactions the
-- first row counts for all: the row of svctoken_meta is the transaction's own then.
CREATE OR REPLACE FUNCTION svctoken_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('session_replication_role') = 'replica' THEN
    UPDATE svctoken_meta SET rev = rev + 1 WHERE xmin <> pg_current_xact_id()::xid;
  END IF;
  SELECT rev INTO STRICT NEW.rev FROM svctoken_meta;
  RETURN NEW;
END $$
--
CREATE OR REPLACE FUNCTION svctoken_tombstone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('session_replication_role') = 'replica' THEN
    UPDATE svctoken_meta SET rev = rev + 1 WHERE xmin <> pg_current_xact_id()::xid;
  END IF;
  IF TG_OP = 'DELETE' OR (OLD.namespace, OLD.service, OLD.name) <> (NEW.namespace, NEW.service, NEW.name) THEN
    INSERT INTO svctoken_tombstones AS t (namespace, service, name, rev)
      SELECT OLD.namespace, OLD.service, OLD.name, rev FROM svctoken_meta
      ON CONFLICT (namespace, service, name) DO UPDATE SET rev = EXCLUDED.rev;
  END IF;
  RETURN NULL;
END $$
--
-- Who listens is told once for each statement: here of what changes no token by name.
CREATE OR REPLACE FUNCTION svctoken_rev() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM svctoken_revs WHERE rev >= NEW.rev;
  INSERT INTO svctoken_revs (rev, mark) VALUES (NEW.rev, gen_random_uuid()::TEXT);
  IF NEW.rev % 1024 = 0 AND NEW.rev > 100000 THEN
    DELETE FROM svctoken_revs WHERE rev < NEW.rev - 100000;
    DELETE FROM svctoken_tombstones WHERE rev <= NEW.rev - 100000;
    UPDATE svctoken_meta SET swept = GREATEST(swept, NEW.rev - 100000);
  END IF;
  IF pg_trigger_depth() = 1 OR current_setting('session_replication_role') = 'replica' THEN
    PERFORM pg_notify('svctoken', NEW.rev::TEXT);
  END IF;
  RETURN NULL;
END $$
--
CREATE OR REPLACE FUNCTION svctoken_truncated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE svctoken_meta SET rev = rev + 1, swept = rev + 1;
  PERFORM pg_notify('svctoken', rev::TEXT) FROM svctoken_meta;
  RETURN NULL;
END $$
--
-- What a statement has changed has its rev, and none is greater. Who listens is told the
-- names, if they are few. The order makes the database use its indexes on rev.
CREATE FUNCTION svctoken_tell() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  at    BIGINT;
  names TEXT;
BEGIN
  SELECT rev INTO STRICT at FROM svctoken_meta;
  SELECT CASE WHEN count(*) <= 16 THEN string_agg(' ' || namespace || '/' || service || '/' || name, '') END INTO names FROM (
    SELECT * FROM (SELECT namespace, service, name FROM svctoken_tokens WHERE rev >= at ORDER BY rev LIMIT 17) t
    UNION ALL
    SELECT * FROM (SELECT namespace, service, name FROM svctoken_tombstones WHERE rev >= at ORDER BY rev LIMIT 17) d
  ) c;
  IF octet_length(names) > 7000 THEN -- PostgreSQL refuses a notification of 8000 bytes, and with it the change
    names := '';
  END IF;
  PERFORM pg_notify('svctoken', at || COALESCE(names, ''));
  RETURN NULL;
END $$
--
DO $$
DECLARE f TEXT;
BEGIN
  FOREACH f IN ARRAY ARRAY['svctoken_stamp', 'svctoken_tombstone', 'svctoken_rev', 'svctoken_truncated', 'svctoken_tell'] LOOP
    EXECUTE format('ALTER FUNCTION %I() SET search_path = %I, pg_temp', f, current_schema());
  END LOOP;
END $$
--
CREATE TRIGGER svctoken_tokens_tell AFTER INSERT OR UPDATE OR DELETE ON svctoken_tokens FOR EACH STATEMENT EXECUTE FUNCTION svctoken_tell()
--
ALTER TABLE svctoken_tokens ENABLE ALWAYS TRIGGER svctoken_tokens_tell
--
UPDATE svctoken_meta SET format = 3
