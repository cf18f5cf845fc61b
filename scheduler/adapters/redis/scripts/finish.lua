-- Writes endings of attempts. ARGV: retention, chunks kept, retention of dead letters in ms, then for each either
-- id, attempt, result (it succeeded, nothing else to write), or
-- id, '!<state digit>,<attempt>,<retry in ms>,<reason>', result or error, last output ('' for none).
-- Returns for each: 1 written, 2 written before by the same attempt, 3 fenced.
-- No functions of its own: at ten tasks a call, making them costs more than the call's work for one task.
local chunks, dead_ms = ARGV[2], ARGV[3]
local verdicts, freed, timely = {}, {}, {}
local success = ';6' .. stamp
local i, last = 4, #ARGV

while i <= last do
  local id, attempt, body = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local key = key_of .. id
  local state, reason, closing, retry_ms = '6', '', '', nil
  i = i + 3
  if sub(attempt, 1, 1) == '!' then
    state, attempt, retry_ms, reason = match(attempt, '^!(%d),(%d+),(-?%d+),(.*)$')
    retry_ms = tonumber(retry_ms)
    closing = ARGV[i]
    i = i + 1
  end
  local v = call('HGET', key, 'v')
  local held = '4,' .. attempt .. ','
  local verdict = 3
  if v and sub(v, 1, #held) == held then
    local deadline, queue = match(v, ',(%d+),([^,;]+);')
    local ms = by_tenant and kept_ms(key) or retention
    verdict = 1
    freed[#freed + 1] = id
    run(queue, -1)
    if retry_ms and retry_ms >= 0 then
      local returned, most = match(v, '^%d,%d+,%d+,(%d+),%d+,(%d+),')
      if attempt - returned < tonumber(most) then
        state = '5'
        rest(queue, 1)
        call('ZADD', base .. 'timers', string.format('%.0f', now + retry_ms), id)
      else
        ms = dead_ms
        bury(id, key)
        call('PEXPIRE', base .. 's:' .. id, ms)
      end
    end
    if state == '5' then
      v = push('5' .. sub(v, 2), '5' .. stamp .. reason)
    else
      if deadline ~= '0' then
        timely[#timely + 1] = id
      end
      if closing ~= '' then
        local before, sequence, after = match(v, '^(%d,%d+,%d+,%d+,)(%d+)(,.*)$')
        v = before .. (sequence + 1) .. after
        local stream = base .. 's:' .. id
        call('XADD', stream, 'MAXLEN', '~', chunks, '0-' .. (sequence + 1), 'd', closing)
        call('PEXPIRE', stream, ms)
      end
      if state == '6' and reason == '' and #v < 400 then
        v = '6' .. sub(v, 2) .. success
      else
        v = push(state .. sub(v, 2), state .. stamp .. reason)
      end
      call('PEXPIRE', key, ms)
    end
    call('HSET', key, 'v', v, state == '6' and 'o' or 'x', body)
    if state == '6' and attempt ~= '1' then
      -- The error of an earlier attempt.
      call('HDEL', key, 'x')
    end
    note(state .. attempt, id)
  elseif v then
    -- What a runner wrote, it may write again. The step that followed the last lease tells who ended the attempt: a
    -- lease that ran out, a runner that died, or a deadline met by the sweeper, which keeps no error.
    local of, ended, why = match(v, '^%d,(%d+),.*;4%d+[^;]*;(%d)%d*([^;]*)')
    if of == attempt
      and (ended == '5' or ended == '6'
        or ended == '7' and not match(why, '^RUNNER_')
        or ended == '9' and call('HEXISTS', key, 'x') == 1)
    then
      verdict = 2
    end
  end
  verdicts[#verdicts + 1] = verdict
end

if #freed > 0 then
  spread(freed, 'ZREM', base .. 'leases')
  if #timely > 0 then
    spread(timely, 'ZREM', base .. 'deadlines')
  end
  write_counts()
  announce()
end
return verdicts
