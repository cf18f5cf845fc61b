-- Looks what a partition has to do. KEYS[1]: its prefix. ARGV: age of tickets in ms. Returns the sum of 1 for leases,
-- 2 timers, 4 deadlines, 8 tickets, 16 follow-ups, 32 schedules; and the ms until the next of 2, 4 and 32, -1 for none.
local base, call = KEYS[1], redis.call
local names = { 'leases', 'timers', 'deadlines', 'unpublished', 'after', 'schedules' }
for i = 1, 6 do
  names[i] = base .. names[i]
end
if call('EXISTS', unpack(names)) == 0 then
  return { 0, -1 }
end

local t = call('TIME')
local now = t[1] * 1000 + (t[2] - t[2] % 1000) / 1000
local sum, value, soonest = 0, 1, nil
for i = 1, 6 do
  local first = call('ZRANGE', names[i], 0, 0, 'WITHSCORES')[2]
  if first then
    local score = tonumber(first)
    -- Follow-ups have numbers for scores, and are due as soon as they are there.
    if i == 5 or score <= (i == 4 and now - ARGV[1] or now) then
      sum = sum + value
    end
    if (i == 2 or i == 3 or i == 6) and (not soonest or score < soonest) then
      soonest = score
    end
  end
  value = value * 2
end
return { sum, soonest and math.max(soonest - now, 0) or -1 }
