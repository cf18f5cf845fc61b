-- Keeps a word on a model. KEYS[1]: the hash of all. ARGV: model, 1 to load it and 0 to unload it.
-- Returns its number: the time, or one more than the last number where that is higher.
local call = redis.call
local t = call('TIME')
local now = t[1] * 1000 + (t[2] - t[2] % 1000) / 1000
local number = math.max(now, tonumber(call('HGET', KEYS[1], '') or '0') + 1)
local text = string.format('%.0f', number)
call('HSET', KEYS[1], '', text, ARGV[1], text .. ';' .. ARGV[2])
return number
