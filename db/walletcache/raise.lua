-- Raises a wallet's entry to a version, if there is an entry and it is older.
-- KEYS: the generation, the wallet's entry.
-- ARGV: version, balance, held, state, time to live in ms, ticket, channel, wallet id, and with a ticket also
-- metadata, currency, created_at, reference, tenant.
-- Only the ticket that read.lua noted in this entry makes it readable. An empty channel: no message.
redis.call('PEXPIRE', KEYS[2], ARGV[5]) -- refused where a write is, also if there is no entry
local generation = redis.call('GET', KEYS[1])
local entry = redis.call('HMGET', KEYS[2], 'generation', 'version', 'rest', 'ticket')
if generation and entry[1] == generation then
  -- rest is the version that held and state belong to. Programs that do not know these raise version and
  -- balance alone: the same version, with what they left out, makes the entry readable again.
  if not entry[2] or tonumber(ARGV[1]) > tonumber(entry[2]) or ARGV[1] == entry[2] and ARGV[1] ~= entry[3] then
    redis.call('HSET', KEYS[2], 'version', ARGV[1], 'balance', ARGV[2], 'held', ARGV[3], 'state', ARGV[4], 'rest', ARGV[1])
  end
  if ARGV[6] ~= '' and ARGV[6] == entry[4] then
    redis.call('HSET', KEYS[2], 'metadata', ARGV[9], 'currency', ARGV[10], 'created_at', ARGV[11], 'reference', ARGV[12], 'tenant', ARGV[13])
  end
end
if ARGV[7] ~= '' then
  redis.call('PUBLISH', ARGV[7], ARGV[8] .. ':' .. ARGV[1])
end
return 1
