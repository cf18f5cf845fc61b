-- Adds chunks to the stream of a flight. KEYS[1]: the flight. ARGV: fence, most chunks, most bytes, keep ms, channel,
-- then place and body of each. The stream lies beside the flight: its name, a colon, the fence.
-- Returns 1, or 0 when the flight is no longer the caller's, has landed, or brought as many bytes as it may.
local flight = redis.call('HMGET', KEYS[1], 'f', 'o', 'b')
if flight[1] ~= ARGV[1] or flight[2] then
  return 0
end
local bytes = tonumber(flight[3] or 0)
for i = 7, #ARGV, 2 do
  bytes = bytes + #ARGV[i]
end
if bytes > tonumber(ARGV[3]) then
  return 0
end
redis.call('HSET', KEYS[1], 'b', bytes)
local stream = KEYS[1] .. ':' .. ARGV[1]
for i = 6, #ARGV, 2 do
  redis.call('XADD', stream, 'MAXLEN', ARGV[2], '*', 'p', ARGV[i], 'd', ARGV[i + 1])
end
redis.call('PEXPIRE', stream, ARGV[4])
redis.call('PUBLISH', ARGV[5], KEYS[1])
return 1
