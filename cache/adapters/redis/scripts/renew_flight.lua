-- Keeps the lead of a flight. KEYS[1]: the flight. ARGV: fence, lease ms, linger ms.
-- Returns {1, highest level that follows or 0}, or {0, 0} when the flight is no longer the caller's.
local flight = redis.call('HMGET', KEYS[1], 'f', 'v', 'o')
if flight[1] ~= ARGV[1] or flight[3] then
  return {0, 0}
end
local t = redis.call('TIME')
local now = t[1] * 1000 + (t[2] - t[2] % 1000) / 1000
redis.call('HSET', KEYS[1], 'u', string.format('%.0f', now + ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[2] + ARGV[3])
return {1, tonumber(flight[2] or 0)}
