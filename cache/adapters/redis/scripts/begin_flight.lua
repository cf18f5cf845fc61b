-- Takes the lead of flights, or joins them. KEYS[1]: how their names begin. ARGV: who, lease ms, linger ms, when that began
-- by the caller's clock (ms), the number up to which flights are not joined, channel, then the end of the name and the
-- level of each.
-- Returns for each {1, fence, whether to look again, 0} to who leads, {0, fence, leader, when it began} to who follows.
-- A flight is a hash: f fence, w who leads, u until when (ms), t when it began by its leader's clock (ms), v highest level
-- that follows, o how it ended, b bytes of its chunks.
local t = redis.call('TIME')
local now = t[1] * 1000 + (t[2] - t[2] % 1000) / 1000
local lease_until, kept_ms = string.format('%.0f', now + ARGV[2]), ARGV[2] + ARGV[3]
local turns = {}
for i = 7, #ARGV, 2 do
  local name = KEYS[1] .. ARGV[i]
  local flight = redis.call('HMGET', name, 'f', 'w', 'u', 'v', 'o', 't')
  local fence, leader, landing = flight[1], flight[2], flight[5]
  local stands = fence and not landing and tonumber(flight[3]) > now
  if stands and leader ~= ARGV[1] and tonumber(fence) > tonumber(ARGV[5]) then
    local level = tonumber(flight[4])
    if not level or tonumber(ARGV[i + 1]) < level then
      redis.call('HSET', name, 'v', ARGV[i + 1])
    end
    turns[#turns + 1] = {0, fence, leader, flight[6] or '0'}
  else
    -- The time makes the number: no counter has to outlive an eviction or a restart of the store.
    local next_fence = t[1] * 1000000 + t[2]
    if fence then
      if tonumber(fence) >= next_fence then
        next_fence = tonumber(fence) + 1
      end
      redis.call('DEL', name)
      if stands and flight[4] then
        -- Who follows it waits in vain.
        redis.call('PUBLISH', ARGV[6], name)
      end
    end
    next_fence = string.format('%.0f', next_fence)
    redis.call('HSET', name, 'f', next_fence, 'w', ARGV[1], 'u', lease_until, 't', ARGV[4])
    redis.call('PEXPIRE', name, kept_ms)
    turns[#turns + 1] = {1, next_fence, landing and string.sub(landing, 1, 1) == 's' and 1 or 0, 0}
  end
end
return turns
