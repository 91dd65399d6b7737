-- Returns what read.lua would, and changes nothing: without an entry it returns an empty text.
-- KEYS: the generation, the wallet's entry.
local generation = redis.call('GET', KEYS[1])
local entry = redis.call('HMGET', KEYS[2], 'version', 'rest', 'metadata', 'balance', 'held', 'state', 'currency', 'created_at', 'reference', 'tenant', 'generation')
if generation and entry[11] == generation and entry[3] and entry[1] == entry[2] and string.find(info, 'master_replid:' .. string.sub(generation, 1, 20), 1, true) then
  return entry
end
return ''
