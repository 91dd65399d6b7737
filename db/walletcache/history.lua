-- The beginning of the scripts that look at the generation's history. A replication id is the name that
-- a Redis server gives to a history of writes. It is another one after a restart, and after a promotion
-- of any kind (by Sentinel, in a cluster, by hand): these are the times at which writes that were
-- confirmed can be gone. A generation begins with half of the one that it belongs to.
if redis.replicate_commands then
  redis.replicate_commands() -- before Redis 7, or INFO and TIME would allow no write after them
end
local info = redis.pcall('INFO', 'replication')
if type(info) == 'table' then
  if not string.find(info.err, 'not supported', 1, true) then
    return info
  end
  info = 'master_replid:' .. string.rep('0', 40) -- a stand-in for Redis, which keeps nothing over a restart
end
