-- Reads tickets that are at least so old. ARGV: age ms, limit, bytes of envelopes that are enough. Returns for each the
-- ticket and id, publication, envelope, isolation, '1' for the express lane, flat, of those of its tasks that are still
-- QUEUED under that number; 0 stands for those that wait.
local before = string.format('%.0f', now - ARGV[1])
local enough, bytes = tonumber(ARGV[3]), 0
local found = {}

for _, ticket in ipairs(call('ZRANGEBYSCORE', base .. 'unpublished', '-inf', before, 'LIMIT', 0, ARGV[2])) do
  local tasks = {}
  for publication, ids in string.gmatch(ticket, '(%d+):([^;]+)') do
    for id in string.gmatch(ids, '[^,]+') do
      local record = call('HMGET', key_of .. id, 'v', 'e', 'g')
      local v = record[1] or ''
      if publication == '0' and match(v, '^[125],') or match(v, '^3,%d+,(%d+),') == publication then
        tasks[#tasks + 1] = id
        tasks[#tasks + 1] = publication
        tasks[#tasks + 1] = record[2]
        bytes = bytes + #record[2]
        tasks[#tasks + 1] = record[3] or ''
        tasks[#tasks + 1] = match(v, '^3.*PROMOTED$') and '1' or ''
      end
    end
  end
  found[#found + 1] = { ticket, tasks }
  if bytes >= enough then
    break
  end
end
return found
