-- Sets the sentinel to long ago: nothing was sent lately.
--
-- Keys:
--   KEYS[1] backmarket:limiter:{all}:sentinel   hash: `since` (us), `run` (server's run_id), `by`; see acquire.lua
-- Arguments:
--   ARGV[1] only if this call wrote the sentinel, and Redis has lost nothing since; empty: the operator knows

local run = run_id()
local sentinel = redis.call('HMGET', KEYS[1], 'by', 'run')
if ARGV[1] == '' or (sentinel[1] == ARGV[1] and sentinel[2] == run) then
  redis.call('HSET', KEYS[1], 'since', '0', 'run', run)
end
return {}
