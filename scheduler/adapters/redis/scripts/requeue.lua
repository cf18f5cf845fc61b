-- Stands before the scripts that make tasks QUEUED again, after lines.lua.
-- `back` is what must be published: id, publication, envelope, isolation, '1' for the express lane of each, flat;
-- `ticket` says so for the sweeper.
local back, ticket = {}, {}
local function hand_out(id, publication, envelope, isolation, express)
  ticket[#ticket + 1] = publication .. ':' .. id
  back[#back + 1] = id
  back[#back + 1] = publication
  back[#back + 1] = envelope
  back[#back + 1] = isolation or ''
  back[#back + 1] = express or ''
end

-- Puts a QUEUED task, or one that becomes so, under the next publication. `after` is v from the comma before `returned`
-- on.
local function republish(id, key, attempt, publication, after, reason, envelope, isolation, express)
  publication = publication + 1
  call('HSET', key, 'v', push('3,' .. attempt .. ',' .. publication .. after, '3' .. stamp .. reason))
  note('3' .. attempt, id)
  hand_out(id, publication, envelope, isolation, express)
end

-- Makes a task QUEUED under the next publication, at the end of its line.
local function requeue(id, key, attempt, publication, after, reason, envelope, isolation)
  local deadline, queue = match(after, '^,%d+,%d+,%d+,(%d+),([^;]+)')
  enter(queue, id, deadline)
  republish(id, key, attempt, publication, after, reason, envelope, isolation)
end

-- Keeps the ticket, due after the usual time, or at once with the score 0; returns it, '' for none. With `parked` it has
-- tasks with the number 0, which says nothing of which change is parked: the stamp keeps it apart from an earlier one.
local function keep_ticket(score, parked)
  if parked then
    ticket[#ticket + 1] = stamp
  end
  local member = concat(ticket, ';')
  if member ~= '' then
    call('ZADD', base .. 'unpublished', score, member)
  end
  return member
end
