-- The triggers count every change in rev, whoever makes it, and stamp the row or its
-- tombstone with it. A transaction that has changed rev locks its row until it ends:
-- the order of the revs is the order of the commits.
CREATE FUNCTION svctoken_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE svctoken_meta SET rev = rev + 1;
  RETURN NULL;
END $$
--
CREATE FUNCTION svctoken_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  SELECT rev INTO STRICT NEW.rev FROM svctoken_meta;
  RETURN NEW;
END $$
--
-- Where the key has changed, the old one gets a tombstone.
CREATE FUNCTION svctoken_tombstone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' OR (OLD.namespace, OLD.service, OLD.name) <> (NEW.namespace, NEW.service, NEW.name) THEN
    INSERT INTO svctoken_tombstones AS t (namespace, service, name, rev)
      SELECT OLD.namespace, OLD.service, OLD.name, rev FROM svctoken_meta
      ON CONFLICT (namespace, service, name) DO UPDATE SET rev = EXCLUDED.rev;
  END IF;
  RETURN NULL;
END $$
--
-- TRUNCATE leaves no tombstones.
CREATE FUNCTION svctoken_truncated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE svctoken_meta SET rev = rev + 1, swept = rev + 1;
  RETURN NULL;
END $$
--
-- Tombstones and marks of the last 100 000 revs are kept. Who listens is told.
CREATE FUNCTION svctoken_rev() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM svctoken_revs WHERE rev >= NEW.rev;
  INSERT INTO svctoken_revs (rev, mark) VALUES (NEW.rev, gen_random_uuid()::TEXT);
  IF NEW.rev % 1024 = 0 AND NEW.rev > 100000 THEN
    DELETE FROM svctoken_revs WHERE rev < NEW.rev - 100000;
    DELETE FROM svctoken_tombstones WHERE rev <= NEW.rev - 100000;
    UPDATE svctoken_meta SET swept = GREATEST(swept, NEW.rev - 100000);
  END IF;
  PERFORM pg_notify('svctoken', NEW.rev::TEXT);
  RETURN NULL;
END $$
--
-- The functions mean these tables, whatever the search_path of a writer.
DO $$
DECLARE f TEXT;
BEGIN
  FOREACH f IN ARRAY ARRAY['svctoken_count', 'svctoken_stamp', 'svctoken_tombstone', 'svctoken_truncated', 'svctoken_rev'] LOOP
    EXECUTE format('ALTER FUNCTION %I() SET search_path = %I, pg_temp', f, current_schema());
  END LOOP;
END $$
--
CREATE TRIGGER svctoken_meta_rev AFTER UPDATE OF rev ON svctoken_meta FOR EACH ROW EXECUTE FUNCTION svctoken_rev()
--
CREATE TRIGGER svctoken_tokens_count BEFORE INSERT OR UPDATE OR DELETE ON svctoken_tokens FOR EACH STATEMENT EXECUTE FUNCTION svctoken_count()
--
CREATE TRIGGER svctoken_tokens_stamp BEFORE INSERT OR UPDATE ON svctoken_tokens FOR EACH ROW EXECUTE FUNCTION svctoken_stamp()
--
CREATE TRIGGER svctoken_tokens_tombstone AFTER UPDATE OR DELETE ON svctoken_tokens FOR EACH ROW EXECUTE FUNCTION svctoken_tombstone()
--
CREATE TRIGGER svctoken_tokens_truncate AFTER TRUNCATE ON svctoken_tokens FOR EACH STATEMENT EXECUTE FUNCTION svctoken_truncated()
--
-- In force for replication's workers too.
ALTER TABLE svctoken_meta ENABLE ALWAYS TRIGGER svctoken_meta_rev
--
ALTER TABLE svctoken_tokens
  ENABLE ALWAYS TRIGGER svctoken_tokens_count, ENABLE ALWAYS TRIGGER svctoken_tokens_stamp,
  ENABLE ALWAYS TRIGGER svctoken_tokens_tombstone, ENABLE ALWAYS TRIGGER svctoken_tokens_truncate
--
UPDATE svctoken_meta SET format = 2
