-- Sets a wallet unless the entry is of the present generation and not older.
-- KEYS: the generation, the wallet's entry.
-- ARGV: version, balance, currency, created_at, reference, time to live in ms, channel, wallet id.
-- An empty currency means that only version and balance are known; an empty channel, no message.
local generation = redis.call('GET', KEYS[1]) or ''
local entry = redis.call('HMGET', KEYS[2], 'generation', 'version')
if entry[1] ~= generation then
  redis.call('DEL', KEYS[2])
  entry[2] = false
end
if not entry[2] or tonumber(ARGV[1]) > tonumber(entry[2]) then
  redis.call('HSET', KEYS[2], 'generation', generation, 'version', ARGV[1], 'balance', ARGV[2])
end
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[2], 'currency', ARGV[3], 'created_at', ARGV[4], 'reference', ARGV[5])
end
redis.call('PEXPIRE', KEYS[2], ARGV[6])
if ARGV[7] ~= '' then
  redis.call('PUBLISH', ARGV[7], ARGV[8] .. ':' .. ARGV[1])
end
return 1
