-- Ends attempts that a dead runner held. ARGV: retention, retention of dead letters in ms, error for those without an
-- attempt left, reason, attempts not charged from which on a suspect is charged in any case, then for each: id, attempt,
-- 1 if it is charged, isolation ('' for none).
-- Returns how many it ended. Nobody who called it publishes: the ticket is due at once.
local dead_ms, fault, reason, most_spared = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local freed = {}

for i = 6, #ARGV, 4 do
  local id, attempt, charged, isolation = ARGV[i], ARGV[i + 1], ARGV[i + 2] == '1', ARGV[i + 3]
  local key = key_of .. id
  local v = call('HGET', key, 'v')
  local held = '4,' .. attempt .. ','
  if v and sub(v, 1, #held) == held then
    local publication, returned, rest, most, queue =
      match(v, '^%d,%d+,(%d+),(%d+)(,%d+,(%d+),%d+,([^;]+).*)$')
    charged = charged or isolation ~= '' and tonumber(returned) >= most_spared
    if charged and attempt - returned >= tonumber(most) then
      conclude(id, key, v, '7', reason, fault, dead_ms)
      bury(id, key)
    else
      local why = reason
      if not charged then
        returned, why = returned + 1, 'RUNNER_DIED'
      end
      requeue(id, key, attempt, publication, ',' .. returned .. rest, why, '', isolation)
      run(queue, -1)
      if isolation ~= '' then
        call('HSET', key, 'g', isolation)
      else
        call('HDEL', key, 'g')
      end
    end
    freed[#freed + 1] = id
  end
end

if #freed > 0 then
  spread(freed, 'ZREM', base .. 'leases')
end
keep_ticket(0)
write_lines()
announce()
return #freed
