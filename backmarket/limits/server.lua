-- Comes before each script. The run_id tells a restart or a failover, after which the last writes may be missing. A user
-- without permission for INFO does without: an emptied Redis is still noticed, by its missing sentinel.
local function run_id()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
end

