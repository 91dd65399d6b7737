-- Reads a wallet, or notes that a reader goes to Postgres for it.
-- KEYS: the generation, the wallet's entry.
-- ARGV: an id that was never used before, the time to live of a note in ms.
-- Returns version, balance, currency, created_at and reference; or the ticket alone, which is empty while
-- nothing may be cached.

-- This changes nothing if there is a generation. It is a write all the same: Redis refuses it, and with
-- it the reading, as a replica, with its memory full, and wherever else it would refuse a write.
redis.call('SETNX', KEYS[1], '-')
local generation = redis.call('GET', KEYS[1])
-- Only touch.lua begins a generation; one that has not settled yet has another character there.
if string.sub(generation, 21, 21) ~= ':' or not string.find(info, 'master_replid:' .. string.sub(generation, 1, 20), 1, true) then
  return ''
end
local entry = redis.call('HMGET', KEYS[2], 'version', 'balance', 'currency', 'created_at', 'reference', 'generation')
if entry[6] == generation then
  if entry[3] then
    return entry
  end
  local ticket = redis.call('HGET', KEYS[2], 'ticket')
  if ticket then
    return ticket
  end
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'generation', generation, 'ticket', ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return ARGV[1]
