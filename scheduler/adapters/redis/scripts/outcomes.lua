-- Reads what attempts came to. ARGV: most bytes of each, bytes from which on no more is read, then id and attempt of each.
-- Returns for each {state digit, result or error, chunk…}: state 3 for nothing that others could be given, and '' for a
-- result that is too large; {} for what was not looked at.
local most, enough = tonumber(ARGV[1]), tonumber(ARGV[2])
local found, read = {}, 0

for i = 3, #ARGV, 2 do
  local id, answer = ARGV[i], { '3', '' }
  local key = key_of .. id
  if i > 3 and read >= enough then
    answer = {}
  else
    local v = call('HGET', key, 'v')
    local state, attempt = match(v or '', '^(%d),(%d+),')
    if attempt == ARGV[i + 1] and state == '7' then
      answer = { state, call('HGET', key, 'x') or '' }
    elseif attempt == ARGV[i + 1] and state == '6' then
      answer = { state, '' }
      if call('HSTRLEN', key, 'o') <= most then
        answer[2] = call('HGET', key, 'o') or ''
        read = read + #answer[2]
        local size, chunks = 0, {}
        for _, entry in ipairs(call('XRANGE', base .. 's:' .. id, '-', '+')) do
          chunks[#chunks + 1] = entry[2][2]
          size = size + #entry[2][2]
        end
        read = read + size
        if size <= most then
          for place = 1, #chunks do
            answer[place + 2] = chunks[place]
          end
        end
      end
    end
  end
  found[#found + 1] = answer
end
return found
