-- Leases tasks to a runner. ARGV: retention, runner, lease ms, number of words for each task, then for each id,
-- publication and, with three words, what it needs in ms before its deadline.
-- Returns stamp and for each task 4 * attempt + verdict: 1 granted, 2 stale, 3 held, 0 expired.
local runner, words = ARGV[2], tonumber(ARGV[4])
local until_ms = string.format('%.0f', now + ARGV[3])
local tail = ';4' .. stamp
local codes, leases, answered, granted = {}, {}, 0, 0
-- Most of a call are of one queue and in their first attempt: what belongs to both is looked up once.
local here, line, began, group

for i = 5, #ARGV, words do
  local id = ARGV[i]
  local key = key_of .. id
  local v = call('HGET', key, 'v')
  local code = 2
  if v then
    local state, attempt, publication, rest, deadline, queue =
      match(v, '^(%d),(%d+),(%d+)(,%d+,%d+,%d+,(%d+),([^;]+).*)$')
    if publication == ARGV[i + 1] then
      if state == '3' and deadline ~= '0' and tonumber(deadline) <= now + (words == 3 and ARGV[i + 2] or 0) then
        local late = tonumber(deadline) <= now
        conclude(id, key, v, '9', late and 'WHILE_QUEUED' or 'CANNOT_FINISH', nil, kept_ms(key))
        code = 0
      elseif state == '3' then
        attempt = attempt + 1
        v = '4,' .. attempt .. ',' .. publication .. rest
        call('HSET', key, 'v', #v < 400 and v .. tail or push(v, '4' .. stamp), 'w', runner)
        leases[granted + 1] = until_ms
        granted = granted + 2
        leases[granted] = id
        if queue ~= here then
          here, line = queue, listed(left, queue)
        end
        line[#line + 1] = id
        if deadline ~= '0' then
          ease(queue, id)
        end
        run(queue, 1)
        if attempt ~= began then
          began, group = attempt, noted('4' .. attempt)
        end
        group[#group + 1] = id
        code = attempt * 4 + 1
      elseif state == '4' then
        code = attempt * 4 + 3
      elseif state == '9' then
        code = 0
      end
    end
  end
  answered = answered + 1
  codes[answered] = code
end

if granted > 0 then
  spread(leases, 'ZADD', base .. 'leases')
end
write_lines()
announce()
return { now, codes }
