-- Counts the lines of a pool. KEYS[1]: prefix of the partition. ARGV: pool, time in ms.
-- Returns for each counter its field, its number, and for QUEUED tasks how many of them came at that time or later; those
-- that were QUEUED before there were lines are counted and in no line, and so they count as earlier.
local base, call = KEYS[1], redis.call
local sub = string.sub
local head, time = ARGV[1] .. '.', ARGV[2]
local counters, found = call('HGETALL', base .. 'q'), {}
for i = 1, #counters, 2 do
  local field = counters[i]
  if sub(field, 1, #head) == head then
    found[#found + 1] = field
    found[#found + 1] = counters[i + 1]
    local queued = sub(field, -7) == '.queued'
    found[#found + 1] = queued and call('ZCOUNT', base .. 'w:' .. sub(field, 1, -8), time, '+inf') or 0
  end
end
return found
