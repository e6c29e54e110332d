-- The triggers count every change in rev, whoever makes it, and stamp the row or its
-- tombstone with it.
--
-- Tombstones and marks of the last 100 000 revs are kept.
CREATE TRIGGER svctoken_meta_rev AFTER UPDATE OF rev ON svctoken_meta BEGIN
  DELETE FROM svctoken_revs WHERE rev >= NEW.rev;
  INSERT INTO svctoken_revs (rev, mark) VALUES (NEW.rev, lower(hex(randomblob(16))));
END
--
CREATE TRIGGER svctoken_meta_sweep AFTER UPDATE OF rev ON svctoken_meta WHEN NEW.rev % 1024 = 0 AND NEW.rev > 100000 BEGIN
  DELETE FROM svctoken_revs WHERE rev < NEW.rev - 100000;
  DELETE FROM svctoken_tombstones WHERE rev <= NEW.rev - 100000;
  UPDATE svctoken_meta SET swept = NEW.rev - 100000;
END
--
CREATE TRIGGER svctoken_tokens_insert AFTER INSERT ON svctoken_tokens BEGIN
  UPDATE svctoken_meta SET rev = rev + 1;
  UPDATE svctoken_tokens SET rev = (SELECT rev FROM svctoken_meta)
    WHERE namespace = NEW.namespace AND service = NEW.service AND name = NEW.name;
END
--
-- Where the key has changed, the old one gets a tombstone.
CREATE TRIGGER svctoken_tokens_update AFTER UPDATE OF namespace, service, name, created, creator, enabled, hash ON svctoken_tokens BEGIN
  UPDATE svctoken_meta SET rev = rev + 1;
  UPDATE svctoken_tokens SET rev = (SELECT rev FROM svctoken_meta)
    WHERE namespace = NEW.namespace AND service = NEW.service AND name = NEW.name;
  DELETE FROM svctoken_tombstones WHERE namespace = OLD.namespace AND service = OLD.service AND name = OLD.name;
  INSERT INTO svctoken_tombstones (namespace, service, name, rev)
    SELECT OLD.namespace, OLD.service, OLD.name, rev FROM svctoken_meta
    WHERE (OLD.namespace, OLD.service, OLD.name) IS NOT (NEW.namespace, NEW.service, NEW.name);
END
--
-- Nobody but the triggers says at which rev a row has changed.
CREATE TRIGGER svctoken_tokens_stamp AFTER UPDATE OF rev ON svctoken_tokens WHEN NEW.rev <> (SELECT rev FROM svctoken_meta) BEGIN
  UPDATE svctoken_meta SET rev = rev + 1;
  UPDATE svctoken_tokens SET rev = (SELECT rev FROM svctoken_meta)
    WHERE namespace = NEW.namespace AND service = NEW.service AND name = NEW.name;
END
--
CREATE TRIGGER svctoken_tokens_delete AFTER DELETE ON svctoken_tokens BEGIN
  UPDATE svctoken_meta SET rev = rev + 1;
  DELETE FROM svctoken_tombstones WHERE namespace = OLD.namespace AND service = OLD.service AND name = OLD.name;
  INSERT INTO svctoken_tombstones (namespace, service, name, rev)
    SELECT OLD.namespace, OLD.service, OLD.name, rev FROM svctoken_meta;
END
--
UPDATE svctoken_meta SET format = 2
