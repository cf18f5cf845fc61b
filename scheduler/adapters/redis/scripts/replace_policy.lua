-- Stores a policy. KEYS[1]: where it is kept. ARGV: the version that must stand, body.
-- Returns its version and time, or nothing when another version stands.
local call = redis.call
local version = ARGV[1]
if (call('HGET', KEYS[1], 'version') or '0') ~= version then
  return {}
end
local t = call('TIME')
local stamp = string.format('%.0f', t[1] * 1000 + (t[2] - t[2] % 1000) / 1000)
call('HSET', KEYS[1], 'version', version + 1, 'body', ARGV[2], 'time', stamp)
return { version + 1, tonumber(stamp) }
