-- Ends QUEUED tasks whose answer is known. ARGV: retention, chunks kept, number of answers, for each of them state digit,
-- reason, result or error, chunk that voids what came before, number of chunks, chunks; then for each task id, publication
-- and the number of its answer.
-- Returns for each: 1 ended, 2 stale, 3 held, 4 expired.
local chunks, answers, at = ARGV[2], {}, 4
for number = 1, ARGV[3] do
  answers[number] = at
  at = at + 5 + ARGV[at + 4]
end

local verdicts = {}
for i = at, #ARGV, 3 do
  local id, answer = ARGV[i], answers[tonumber(ARGV[i + 2])]
  local key = key_of .. id
  local v = call('HGET', key, 'v')
  local state, attempt, publication, returned, sequence, rest = match(v or '', '^(%d),(%d+),(%d+),(%d+),(%d+)(,.*)$')
  local deadline = match(rest or '', '^,%d+,(%d+)')
  local verdict = 2
  if publication == ARGV[i + 1] and state == '4' then
    verdict = 3
  elseif publication == ARGV[i + 1] and state == '9' then
    verdict = 4
  elseif publication == ARGV[i + 1] and state == '3' and deadline ~= '0' and tonumber(deadline) <= now then
    -- As when it is leased: what comes of a task must not hang on who looks first, this or the sweep.
    conclude(id, key, v, '9', 'WHILE_QUEUED', nil, kept_ms(key))
    verdict = 4
  elseif publication == ARGV[i + 1] and state == '3' then
    verdict = 1
    local to, count = ARGV[answer], tonumber(ARGV[answer + 4])
    if count > 0 then
      local stream, number = base .. 's:' .. id, tonumber(sequence)
      -- The chunk that voids comes right before the others.
      for place = number > 0 and answer + 3 or answer + 5, answer + 4 + count do
        if place ~= answer + 4 then
          number = number + 1
          call('XADD', stream, 'MAXLEN', '~', chunks, '0-' .. number, 'd', ARGV[place])
        end
      end
      v = '3,' .. attempt .. ',' .. publication .. ',' .. returned .. ',' .. number .. rest
    end
    conclude(id, key, v, to, ARGV[answer + 1], to == '7' and ARGV[answer + 2] or nil, kept_ms(key))
    if to == '6' then
      call('HSET', key, 'o', ARGV[answer + 2])
    end
  end
  verdicts[#verdicts + 1] = verdict
end

write_lines()
announce()
return verdicts
