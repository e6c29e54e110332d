// The life of tokens, with the official client for JavaScript that CLIENT names,
// against the server at AUTHSERVER_URL.
import assert from "node:assert/strict";
import { test } from "node:test";

const { Client, errors } = await import(process.env.CLIENT).then((module) => module.default ?? module);

const node = process.env.AUTHSERVER_URL;
const account = { namespace: "elastic", service: "fleet-server" };
const admin = new Client({ node, auth: { username: "admin", password: process.env.ADMIN_PASSWORD } });
const reader = new Client({ node, auth: { username: "reader", password: process.env.READER_PASSWORD } });

const service = (bearer) => new Client({ node, auth: { bearer } });

// Version 7 answers with more than the body.
const old = process.env.CLIENT.endsWith("7");
const bodyOf = async (answer) => (old ? (await answer).body : await answer);

async function entries() {
  const { caches } = await bodyOf(admin.transport.request({ method: "GET", path: "/_stats" }));
  return caches.file.entries + caches.index.entries;
}

// refused checks that a request is answered with the status and the error.
async function refused(request, status, type) {
  await assert.rejects(request, (error) => {
    assert(error instanceof errors.ResponseError, String(error));
    assert.equal(error.statusCode, status);
    if (type) assert.equal(error.body.error.type, type);
    return true;
  });
}

test("create, authenticate, clear, delete, refused", async () => {
  assert.equal((await bodyOf(admin.info())).cluster_name, "svctoken");

  const bearers = new Map();
  for (const name of ["one", "two", "three"]) {
    const { created, token } = await bodyOf(admin.security.createServiceToken({ ...account, name }));
    assert.equal(created, true);
    assert.equal(token.name, name);
    bearers.set(name, token.value);
  }
  await refused(admin.security.createServiceToken({ ...account, name: "one" }), 409, "version_conflict_engine_exception");
  const unnamed = await bodyOf(admin.security.createServiceToken(account));
  assert.match(unnamed.token.name, /^token_/);
  bearers.set(unnamed.token.name, unnamed.token.value);

  for (const [name, left] of [["one", 3], [["one", "three"], 2], ["*", 0]]) {
    for (const [token, bearer] of bearers) {
      const who = await bodyOf(service(bearer).security.authenticate());
      assert.equal(who.username, "elastic/fleet-server");
      assert.deepEqual(who.token, { name: token, type: "_service_account_index", managed_by: "elasticsearch" });
    }
    assert.equal(await entries(), 4);
    const cleared = await bodyOf(admin.security.clearCachedServiceTokens({ ...account, name }));
    assert.deepEqual(cleared._nodes, { total: 1, successful: 1, failed: 0 });
    assert.equal(Object.keys(cleared.nodes).length, 1);
    assert.equal(await entries(), left, `after clearing ${name}`);
  }
  assert.equal((await bodyOf(service(unnamed.token.value).info())).version.number, "9.5.2");
  await refused(service(unnamed.token.value).security.clearCachedServiceTokens({ ...account, name: "*" }), 403, "security_exception");
  await refused(admin.security.clearCachedServiceTokens({ ...account, name: "tok*" }), 400, "illegal_argument_exception");
  await refused(reader.security.clearCachedServiceTokens({ ...account, name: "*" }), 403, "security_exception");

  assert("elastic/fleet-server" in (await bodyOf(admin.security.getServiceAccounts())));
  const credentials = await bodyOf(admin.security.getServiceCredentials(account));
  assert.deepEqual(Object.keys(credentials.tokens).sort(), [...bearers.keys()].sort());
  assert.deepEqual(credentials.nodes_credentials.file_tokens.token1, { nodes: ["authserver"] });

  for (const [name, bearer] of bearers) {
    assert.deepEqual(await bodyOf(admin.security.deleteServiceToken({ ...account, name })), { found: true });
    await refused(admin.security.deleteServiceToken({ ...account, name }), 404);
    await refused(service(bearer).security.authenticate(), 401, "security_exception");
  }
});
