-- Tries every kind of write that the other scripts make, and then writes the generation.
-- KEYS: the generation, an entry that is nobody's.
-- ARGV: what to do, an id that was never used before, the lease in ms, the time to settle in ms. "keep"
-- renews the lease of the present generation, "renew" begins another one, "probe" does neither.
redis.call('HSET', KEYS[2], 'ticket', ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('DEL', KEYS[2])
if ARGV[1] == 'probe' then
  return 1
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local past = string.match(info, 'master_replid:(%w+)')
past = string.sub(past, 1, 20)
local generation = redis.call('GET', KEYS[1]) or ''
if #past < 20 or string.sub(generation, 1, 20) ~= past then
  -- It is gone, or of another history. Not every process has found this server yet: until they have,
  -- nothing is cached.
  generation = past .. '?' .. string.format('%.0f', now + ARGV[4]) .. ':' .. ARGV[2]
else
  local settled = tonumber(string.match(generation, '^%w+%?(%d+)') or 0) <= now
  if settled and (ARGV[1] == 'renew' or string.sub(generation, 21, 21) == '?') then
    generation = past .. ':' .. ARGV[2]
  end
end
redis.call('SET', KEYS[1], generation, 'PX', ARGV[3])
return 1
