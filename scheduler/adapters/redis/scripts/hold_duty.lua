-- Takes or keeps a duty. KEYS[1]: the duty. ARGV: member, ttl ms. Returns 1 while this member has it, else 0.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
