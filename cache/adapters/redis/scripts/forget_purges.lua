-- Removes purge markers whose time is over. KEYS[1]: the markers. ARGV: of each the selector, the marker as it was read,
-- and the number of its namespace's markers ('#' and the namespace): one that was renewed since stays. Returns how many
-- were removed.
local removed = 0
for i = 1, #ARGV, 3 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    removed = removed + redis.call('HDEL', KEYS[1], ARGV[i])
    if redis.call('HINCRBY', KEYS[1], ARGV[i + 2], -1) <= 0 then
      redis.call('HDEL', KEYS[1], ARGV[i + 2])
    end
  end
end
return removed
