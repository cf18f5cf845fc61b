-- Writes endings of attempts. ARGV: retention ms, chunks kept, then for each ending either
-- id, attempt, result (it succeeded, nothing else to write), or
-- id, '!<state digit>,<attempt>,<reason>', result or error, last output ('' for none).
-- Returns for each: 1 written, 2 written before by the same attempt, 3 fenced.
local retention, chunks = ARGV[1], ARGV[2]
local stamp = string.format('%.0f', clock())
local verdicts, freed = {}, {}
local success = ';6' .. stamp
local i, last = 3, #ARGV

while i <= last do
  local id, attempt, body = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local key = key_of .. id
  local state, reason, closing = '6', '', ''
  i = i + 3
  if sub(attempt, 1, 1) == '!' then
    state, attempt, reason = match(attempt, '^!(%d),(%d+),(.*)$')
    closing = ARGV[i]
    i = i + 1
  end
  local v = call('HGET', key, 'v')
  local held = '4,' .. attempt .. ','
  local verdict = 3
  if v and sub(v, 1, #held) == held then
    count(match(v, ',([^,;]+);'), 0, -1)
    if closing ~= '' then
      local before, sequence, rest = match(v, '^(%d,%d+,%d+,%d+,)(%d+)(,.*)$')
      v = before .. (sequence + 1) .. rest
      local stream = base .. 's:' .. id
      call('XADD', stream, 'MAXLEN', '~', chunks, '0-' .. (sequence + 1), 'd', closing)
      call('PEXPIRE', stream, retention)
    end
    if state == '6' and reason == '' and #v < 400 then
      v = '6' .. sub(v, 2) .. success
    else
      v = push(state .. sub(v, 2), state .. stamp .. reason)
    end
    call('HSET', key, 'v', v, state == '6' and 'o' or 'x', body)
    call('PEXPIRE', key, retention)
    freed[#freed + 1] = id
    note(state .. attempt, id)
    verdict = 1
  elseif v then
    -- What a runner wrote, it may write again; a lease that ran out, or met a deadline, was written by others.
    local ended, of = match(v, '^([679]),(%d+),')
    if of == attempt and (ended ~= '9' or state == '9') and not match(v, 'RUNNER_LOST$') then
      verdict = 2
    end
  end
  verdicts[#verdicts + 1] = verdict
end

if #freed > 0 then
  spread(freed, 'ZREM', base .. 'leases')
  write_counts()
  announce()
end
return verdicts
