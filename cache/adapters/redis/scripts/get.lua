-- Reads entries. ARGV: now ms, bytes from which on no more is read, whether their use is noted (1 or 0), then digests.
-- Returns each entry's stored form, or nil; fewer where there is no more to be read.
-- What it writes may fail, on a server at maxmemory or a replica; what it reads is given all the same.
local now, enough, noted = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
local found, lost, read = {}, {}, 0
for i = 4, #ARGV do
  if i > 4 and read >= enough then break end
  local digest = ARGV[i]
  local stored = call('GET', base .. 'e:' .. digest)
  local known = call('HGET', index, digest)
  found[i - 3] = stored
  if stored then
    read = read + #stored
  end
  if known then
    local size, came, used, uses, ends = struct.unpack(NUMBERS, known)
    if not stored then
      lost[digest] = size
    elseif ends <= now then
      found[i - 3] = false
    elseif noted then
      try('HSET', index, digest,
        struct.pack(NUMBERS, size, came, now, uses + 1, ends) .. string.sub(known, LENGTH + 1))
    end
  elseif stored and noted then
    -- The server evicted the index: it begins anew with what is used.
    local size = #stored + OVERHEAD
    local ends = now + math.max(0, call('PTTL', base .. 'e:' .. digest))
    local added = try('HSET', index, digest, struct.pack(NUMBERS, size, now, now, 1, ends),
      'b', string.format('%.0f', held() + size))
    if not (type(added) == 'table' and added.err) then
      call('PEXPIRE', index, math.max(1, ends - now, call('PTTL', index)))
    end
  end
end
if next(lost) then
  forget(held(), lost)
end
return found
