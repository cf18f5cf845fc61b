-- Drops listing entries whose records are gone. KEYS[1]: prefix of the partition. ARGV: the list, ids.
local gone = 0
for i = 2, #ARGV do
  if redis.call('EXISTS', KEYS[1] .. 't:' .. ARGV[i]) == 0 then
    gone = gone + redis.call('ZREM', KEYS[1] .. ARGV[1], ARGV[i])
  end
end
return gone
