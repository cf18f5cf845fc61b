-- Forgets a follow-up and the lists of its parents' children. KEYS[1]: prefix of the partition. ARGV: member, parents.
local base, call = KEYS[1], redis.call
for i = 2, #ARGV do
  call('HDEL', base .. 'kids', ARGV[i])
  call('DEL', base .. 'c:' .. ARGV[i])
end
return call('ZREM', base .. 'after', ARGV[1])
