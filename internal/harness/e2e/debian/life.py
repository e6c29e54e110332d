"""A token's life with elasticsearch-py as Debian has it. Arguments: the server's URL."""

import sys

from elasticsearch import Elasticsearch, exceptions

url = sys.argv[1]
names = {"namespace": "elastic", "service": "fleet-server"}
operator = Elasticsearch([url], http_auth=("admin", "admin-password"))


def expect(what, want):
    if what != want:
        sys.exit("got %r, want %r" % (what, want))


def refused(call, status):
    try:
        got = call()
    except exceptions.TransportError as error:
        expect(error.status_code, status)
        return
    sys.exit("got %r, want status %d" % (got, status))


expect(operator.info()["tagline"], "You Know, for Search")
expect(operator.cluster.health()["status"], "green")
created = operator.security.create_service_token(name="py", **names)
expect(created["created"], True)
refused(lambda: operator.security.create_service_token(name="py", **names), 409)

bearer = {"authorization": "Bearer " + created["token"]["value"]}
service = Elasticsearch([url], headers=bearer)
expect(service.security.authenticate()["username"], "elastic/fleet-server")
refused(lambda: service.security.clear_cached_service_tokens(name="*", **names), 403)

for name in ["py", ["py", "other"], "py,other", "*", "_all"]:
    expect(service.security.authenticate()["token"]["name"], "py")
    cleared = operator.security.clear_cached_service_tokens(name=name, **names)
    expect(cleared["_nodes"]["successful"], 1)
expect("py" in operator.security.get_service_credentials(**names)["tokens"], True)
expect("elastic/fleet-server" in operator.security.get_service_accounts(), True)
expect(operator.security.delete_service_token(name="py", **names)["found"], True)
refused(lambda: operator.security.delete_service_token(name="py", **names), 404)
refused(lambda: operator.security.delete_service_token(name="*", **names), 400)
refused(lambda: service.security.authenticate(), 401)
print("done")
