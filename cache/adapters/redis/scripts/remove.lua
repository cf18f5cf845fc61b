-- Removes entries. ARGV: digests. Returns how many there were.
local sizes, removed = {}, 0
for i = 1, #ARGV do
  local known = call('HGET', index, ARGV[i])
  if known then
    sizes[ARGV[i]] = struct.unpack('<d', known)
  end
  removed = removed + call('UNLINK', base .. 'e:' .. ARGV[i])
end
forget(held(), sizes)
return removed
