-- Prepended to each script. The run_id reveals a restart or failover, after which the last writes may be missing. It is
-- empty for a user without permission for INFO; an emptied Redis is still noticed, by its missing sentinel.
local function run_id()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
end

