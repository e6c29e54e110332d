# A token's life with elasticsearch-ruby as Debian has it: its transport, as the part with
# methods for tokens is not packaged. Arguments: the server's URL.
require 'elasticsearch'

URL = ARGV[0]
ROUTE = '_security/service/elastic/fleet-server/credential'.freeze
OPERATOR = Elasticsearch::Client.new(url: URL, user: 'admin', password: 'admin-password')

def expect(what, want)
  abort("got #{what.inspect}, want #{want.inspect}") unless what == want
end

def refused(status)
  got = yield
  abort("got #{got.inspect}, want status #{status}")
rescue Elasticsearch::Transport::Transport::ServerError => e
  expect(e.message[0, 6], "[#{status}] ")
end

def send_to(client, method, path)
  client.perform_request(method, path).body
end

def operate(method, path)
  send_to(OPERATOR, method, "#{ROUTE}#{path}")
end

expect(OPERATOR.info['tagline'], 'You Know, for Search')
expect(OPERATOR.cluster.health['status'], 'green')
created = operate('POST', '/token/rb')
expect(created['created'], true)
refused(409) { operate('PUT', '/token/rb') }

bearer = { 'Authorization' => "Bearer #{created['token']['value']}" }
service = Elasticsearch::Client.new(url: URL, transport_options: { headers: bearer })
who = -> { send_to(service, 'GET', '_security/_authenticate') }
expect(who.call['username'], 'elastic/fleet-server')
refused(403) { send_to(service, 'POST', "#{ROUTE}/token/*/_clear_cache") }

['rb', 'rb,other', 'rb%2Cother', '*', '%2A', '_all'].each do |names|
  expect(who.call['token']['name'], 'rb')
  expect(operate('POST', "/token/#{names}/_clear_cache")['_nodes']['successful'], 1)
end
expect(operate('GET', '')['tokens'].key?('rb'), true)
expect(operate('DELETE', '/token/rb')['found'], true)
refused(404) { operate('DELETE', '/token/rb') }
refused(400) { operate('DELETE', '/token/*') }
refused(401) { who.call }
puts 'done'
