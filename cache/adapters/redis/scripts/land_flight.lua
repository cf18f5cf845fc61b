-- Ends flights. KEYS[1]: how their names begin. ARGV: linger ms, channel, then the end of the name, fence, and how it ended
-- (a letter and what is told of it) of each.
-- Returns for each 1, or 0 when it is no longer the caller's. Only of those that are followed it is told.
local landed = {}
for i = 3, #ARGV, 3 do
  local name = KEYS[1] .. ARGV[i]
  local flight = redis.call('HMGET', name, 'f', 'v', 'o')
  local own = flight[1] == ARGV[i + 1] and not flight[3]
  if own then
    redis.call('HSET', name, 'o', ARGV[i + 2])
    redis.call('PEXPIRE', name, ARGV[1])
    if flight[2] then
      redis.call('PUBLISH', ARGV[2], name)
    end
  end
  landed[#landed + 1] = own and 1 or 0
end
return landed
