-- Reads the shelves of a partition that hold something. KEYS[1]: its prefix. Returns name and number of each, flat.
local base, found = KEYS[1], {}
for _, name in ipairs(redis.call('SMEMBERS', base .. 'shelves')) do
  found[#found + 1] = name
  found[#found + 1] = redis.call('ZCARD', base .. 'shelf:' .. name)
end
return found
