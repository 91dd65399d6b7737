-- Raises a wallet's entry to a version, if there is an entry and it is older.
-- KEYS: the generation, the wallet's entry.
-- ARGV: version, balance, time to live in ms, ticket, currency, created_at, reference, channel, wallet id.
-- Only the ticket that read.lua noted in this entry makes it readable. An empty channel: no message.
redis.call('PEXPIRE', KEYS[2], ARGV[3]) -- refused where a write is, also if there is no entry
local generation = redis.call('GET', KEYS[1])
local entry = redis.call('HMGET', KEYS[2], 'generation', 'version', 'ticket')
if generation and entry[1] == generation then
  if not entry[2] or tonumber(ARGV[1]) > tonumber(entry[2]) then
    redis.call('HSET', KEYS[2], 'version', ARGV[1], 'balance', ARGV[2])
  end
  if ARGV[4] ~= '' and ARGV[4] == entry[3] then
    redis.call('HSET', KEYS[2], 'currency', ARGV[5], 'created_at', ARGV[6], 'reference', ARGV[7])
  end
end
if ARGV[8] ~= '' then
  redis.call('PUBLISH', ARGV[8], ARGV[9] .. ':' .. ARGV[1])
end
return 1
