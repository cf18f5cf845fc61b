-- Changes tasks that wait. ARGV: tenant, then for each: id, publication, level, deadline ms, not before ms, envelope,
-- SHA-1 of the envelope that is replaced ('' for any).
-- Returns the ticket ('' for none), what must be published (with 0: parked), and for each 1 updated, 2 not waiting,
-- 3 moved, 4 not found.
local tenant = ARGV[1]
local verdicts, parked = {}, false

-- Returns the state that a waiting task is in from now on, and sets its timer.
local function place(id, key, state, not_before)
  local due = string.format('%.0f', not_before)
  if state == '2' then
    call('HSET', key, 'b', due)
  elseif state == '1' then
    call('ZADD', base .. 'timers', due, id)
  elseif state == '3' and not_before > now then
    call('ZADD', base .. 'timers', due, id)
    return '1'
  elseif state == '5' and not_before > tonumber(call('ZSCORE', base .. 'timers', id) or 0) then
    call('ZADD', base .. 'timers', due, id)
    return '1'
  end
  return state
end

-- Takes a waiting task off its queue.
local function take_off(queue, id, state, deadline)
  if state == '3' then
    leave(queue, id, deadline)
  else
    rest(queue, -1)
  end
end

for i = 2, #ARGV, 7 do
  local id, expected, level, deadline = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local not_before, envelope, replaced = tonumber(ARGV[i + 4]), ARGV[i + 5], ARGV[i + 6]
  local key = key_of .. id
  local record = call('HMGET', key, 'v', 't', 'g')
  local verdict = 4
  if record[1] and record[2] == tenant then
    local state, attempt, publication, middle, standing, queue, history =
      match(record[1], '^(%d),(%d+),(%d+)(,%d+,%d+,%d+),(%d+),([^;]*)(;.*)$')
    if state == '4' or state >= '6' then
      verdict = 2
    elseif publication ~= expected or replaced ~= '' and redis.sha1hex(call('HGET', key, 'e')) ~= replaced then
      verdict = 3
    else
      verdict = 1
      local moved = string.gsub(queue, '^([^.]*%.)%d+', '%1' .. level)
      local after = middle .. ',' .. deadline .. ',' .. moved .. history
      local to = place(id, key, state, not_before)
      take_off(queue, id, state, standing)
      if to == '3' then
        requeue(id, key, attempt, publication, after, 'UPDATED', envelope, record[3])
      else
        local v = to .. ',' .. attempt .. ',' .. publication .. after
        call('HSET', key, 'v', push(v, to .. stamp .. 'UPDATED'))
        note(to .. attempt, id)
        hand_out(id, 0, envelope, record[3])
        rest(moved, 1)
        parked = true
      end
      call('HSET', key, 'e', envelope)
      if deadline ~= '0' then
        call('ZADD', base .. 'deadlines', deadline, id)
      else
        call('ZREM', base .. 'deadlines', id)
      end
      -- Another update of this task may follow: what is gathered for it must not be written in another order.
      write_lines()
      entered, left, resting, urged, eased = {}, {}, {}, {}, {}
    end
  end
  verdicts[#verdicts + 1] = verdict
end

local member = keep_ticket(stamp, parked)
announce()
return { member, back, verdicts }
