-- Reads tickets that are at least so old. ARGV: age ms, limit. Returns for each the ticket and
-- id, publication, envelope, flat, of those of its tasks that are still QUEUED under that number.
local before = string.format('%.0f', clock() - ARGV[1])
local found = {}

for _, ticket in ipairs(call('ZRANGEBYSCORE', base .. 'unpublished', '-inf', before, 'LIMIT', 0, ARGV[2])) do
  local tasks = {}
  for publication, ids in string.gmatch(ticket, '(%d+):([^;]+)') do
    for id in string.gmatch(ids, '[^,]+') do
      local record = call('HMGET', key_of .. id, 'v', 'e')
      if record[1] and match(record[1], '^3,%d+,(%d+),') == publication then
        tasks[#tasks + 1] = id
        tasks[#tasks + 1] = publication
        tasks[#tasks + 1] = record[2]
      end
    end
  end
  found[#found + 1] = { ticket, tasks }
end
return found
