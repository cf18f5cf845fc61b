-- Reads the oldest follow-ups. KEYS[1]: prefix of the partition. ARGV: limit. Returns for each its member and those of
-- its ids that others depend on.
local base, call = KEYS[1], redis.call
local found = {}
local members = call('ZRANGE', base .. 'after', 0, ARGV[1] - 1)
local kids = #members > 0 and call('EXISTS', base .. 'kids') == 1
for _, member in ipairs(members) do
  local parents = {}
  if kids then
    -- Ids are what has a '-'; the numbers before and between them have none.
    for id in string.gmatch(member, '[^:;,]+%-[^:;,]+') do
      if call('HEXISTS', base .. 'kids', id) == 1 then
        parents[#parents + 1] = id
      end
    end
  end
  found[#found + 1] = { member, parents }
end
return found
