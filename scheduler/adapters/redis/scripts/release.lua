-- Strikes parents that ended off the lists of BLOCKED children. ARGV: retention, then for each: child, parent,
-- '<verdict digit><1 to hold>', error or envelope ('' for none), reason, or SHA-1 of the envelope that is replaced.
-- Returns the ticket ('' for none), what must be published (with 0: parked), and for each 1 it waits for others,
-- 2 queued, 3 scheduled, 4 ready, 5 ended, 6 not BLOCKED.
local verdicts, parked = {}, false

-- Lets a task go whose last parent ended.
local function begin(id, key, v)
  local record = call('HMGET', key, 'e', 'g', 'b')
  local attempt, publication, after, queue = match(v, '^%d,(%d+),(%d+)(,%d+,%d+,%d+,%d+,([^;]+).*)$')
  rest(queue, -1)
  if tonumber(record[3] or 0) <= now then
    requeue(id, key, attempt, publication, after, 'PARENTS_ENDED', record[1], record[2])
    return 2
  end
  rest(queue, 1)
  call('HSET', key, 'v', push('1' .. sub(v, 2), '1' .. stamp .. 'PARENTS_ENDED'))
  call('ZADD', base .. 'timers', record[3], id)
  note('1' .. attempt, id)
  hand_out(id, 0, record[1], record[2])
  parked = true
  return 3
end

for i = 2, #ARGV, 5 do
  local id, parent, order, blob, reason = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local key, waits = key_of .. id, base .. 'p:' .. id
  local v = call('HGET', key, 'v')
  local verdict = 6
  if v and sub(v, 1, 1) == '2' then
    local kind = sub(order, 1, 1)
    if kind == '2' then
      conclude(id, key, v, '7', reason, blob, kept_ms(key))
      verdict = 5
    elseif kind == '3' then
      conclude(id, key, v, '8', reason, blob, kept_ms(key))
      verdict = 5
    else
      call('SREM', waits, parent)
      local moved = blob ~= '' and reason ~= '' and redis.sha1hex(call('HGET', key, 'e')) ~= reason
      if blob ~= '' and not moved then
        call('HSET', key, 'e', blob)
      end
      if moved then
        verdict = 4
      elseif call('EXISTS', waits) == 1 then
        verdict = 1
      elseif order == '11' then
        verdict = 4
      else
        verdict = begin(id, key, v)
      end
    end
  end
  verdicts[#verdicts + 1] = verdict
end

local member = keep_ticket(stamp, parked)
write_lines()
announce()
return { member, back, verdicts }
