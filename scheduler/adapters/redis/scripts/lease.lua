-- Leases tasks to a runner. ARGV: retention, runner, lease ms, then id and publication of each task.
-- Returns stamp and for each task 4 * attempt + verdict: 1 granted, 2 stale, 3 held, 0 expired.
local runner = ARGV[2]
local until_ms = string.format('%.0f', now + ARGV[3])
local tail = ';4' .. stamp
local codes, leases = {}, {}

for i = 4, #ARGV, 2 do
  local id = ARGV[i]
  local key = key_of .. id
  local v = call('HGET', key, 'v')
  local code = 2
  if v then
    local state, attempt, publication, rest, deadline, queue =
      match(v, '^(%d),(%d+),(%d+)(,%d+,%d+,%d+,(%d+),([^;]+).*)$')
    if publication == ARGV[i + 1] then
      if state == '3' and deadline ~= '0' and tonumber(deadline) <= now then
        conclude(id, key, v, '9', 'WHILE_QUEUED', nil, kept_ms(key))
        code = 0
      elseif state == '3' then
        attempt = attempt + 1
        v = '4,' .. attempt .. ',' .. publication .. rest
        call('HSET', key, 'v', #v < 400 and v .. tail or push(v, '4' .. stamp), 'w', runner)
        leases[#leases + 1] = until_ms
        leases[#leases + 1] = id
        count(queue, -1, 1)
        note('4' .. attempt, id)
        code = attempt * 4 + 1
      elseif state == '4' then
        code = attempt * 4 + 3
      elseif state == '9' then
        code = 0
      end
    end
  end
  codes[#codes + 1] = code
end

if #leases > 0 then
  spread(leases, 'ZADD', base .. 'leases')
end
write_counts()
announce()
return { now, codes }
