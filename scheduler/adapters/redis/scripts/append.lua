-- Appends output of running attempts. ARGV: retention ms, chunks kept, then id, attempt, payload of each.
-- Returns the sequence number of each, 0 where it was fenced.
local retention, chunks = ARGV[1], ARGV[2]
local numbers, noted = {}, {}

for i = 3, #ARGV, 3 do
  local id, attempt = ARGV[i], ARGV[i + 1]
  local key = key_of .. id
  local v = call('HGET', key, 'v')
  local held = '4,' .. attempt .. ','
  local number = 0
  if v and sub(v, 1, #held) == held then
    local before, sequence, rest = match(v, '^(%d,%d+,%d+,%d+,)(%d+)(,.*)$')
    local stream = base .. 's:' .. id
    number = sequence + 1
    call('HSET', key, 'v', before .. number .. rest)
    call('XADD', stream, 'MAXLEN', '~', chunks, '0-' .. number, 'd', ARGV[i + 2])
    call('PEXPIRE', stream, retention)
    if not noted[id] then
      noted[id] = true
      note('4' .. attempt .. '+', id)
    end
  end
  numbers[#numbers + 1] = number
end

announce()
return numbers
