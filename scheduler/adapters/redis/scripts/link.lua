-- Makes children known to their parents. KEYS[1]: prefix of the parents' partition. ARGV: tenant, then parent and child.
-- Returns the state of each parent, 0 for one that this tenant does not have. A parent that ended keeps no list.
local base, call = KEYS[1], redis.call
local states = {}
for i = 2, #ARGV, 2 do
  local parent = ARGV[i]
  local record = call('HMGET', base .. 't:' .. parent, 'v', 't')
  local state = 0
  if record[1] and record[2] == ARGV[1] then
    state = tonumber(string.sub(record[1], 1, 1))
    if state < 6 then
      call('HSET', base .. 'kids', parent, '1')
      call('SADD', base .. 'c:' .. parent, ARGV[i + 1])
    end
  end
  states[#states + 1] = state
end
return states
