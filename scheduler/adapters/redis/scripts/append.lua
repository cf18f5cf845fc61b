-- Appends output of running attempts. ARGV: retention, chunks kept, then id, attempt, after, payload of each.
-- Returns the sequence number of each, 0 where it was fenced. A stream that is past `after` has the chunk already: only
-- the present attempt writes, so the call is a repetition, however late. With -1, the first chunk of a later attempt, the
-- field `a` tells: the latest attempt that began so, and the number of its first chunk.
local chunks = ARGV[2]
local numbers, noted = {}, {}

for i = 3, #ARGV, 4 do
  local id, attempt = ARGV[i], ARGV[i + 1]
  local key = key_of .. id
  local v = call('HGET', key, 'v')
  local held = '4,' .. attempt .. ','
  local number = 0
  if v and sub(v, 1, #held) == held then
    local before, sequence, rest = match(v, '^(%d,%d+,%d+,%d+,)(%d+)(,.*)$')
    local stream = base .. 's:' .. id
    local after = tonumber(ARGV[i + 2])
    if after >= 0 and after < tonumber(sequence) then
      number = after + 1
    elseif after < 0 then
      number = tonumber(match(call('HGET', key, 'a') or '', '^' .. attempt .. ':(%d+)$') or 0)
    end
    if number == 0 then
      number = sequence + 1
      call('HSET', key, 'v', before .. number .. rest)
      if after < 0 then
        call('HSET', key, 'a', attempt .. ':' .. number)
      end
      call('XADD', stream, 'MAXLEN', '~', chunks, '0-' .. number, 'd', ARGV[i + 3])
      call('PEXPIRE', stream, kept_ms(key))
      if not noted[id] then
        noted[id] = true
        note('4' .. attempt .. '+', id)
      end
    end
  end
  numbers[#numbers + 1] = number
end

announce()
return numbers
