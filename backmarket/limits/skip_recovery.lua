-- Sets the sentinel to long ago: the operator knows that nothing was sent lately.
--
-- Keys:
--   KEYS[1] backmarket:limiter:{all}:sentinel   hash: `since` (us), `run` (server's run_id); never expires

local run = run_id()
redis.call('HSET', KEYS[1], 'since', '0', 'run', run)
