-- Reads schedules whose time has come. KEYS[1]: prefix of the partition. ARGV: limit. Returns the fields of each, flat.
local base, call = KEYS[1], redis.call
local t = call('TIME')
local now = string.format('%.0f', t[1] * 1000 + (t[2] - t[2] % 1000) / 1000)
local found = {}
for _, member in ipairs(call('ZRANGEBYSCORE', base .. 'schedules', '-inf', now, 'LIMIT', 0, ARGV[1])) do
  found[#found + 1] = call('HGETALL', base .. 'sc:' .. member)
end
return found
