-- Answers arrived: each slot comes free one window from now, and counts again if it had expired. The account counts as
-- answered (see block.lua).
--
-- Keys (all on one hash tag):
--   KEYS[1] backmarket:limiter:{all}:slots:<account>         sorted set: slot -> us at which it comes free
--   KEYS[2] backmarket:limiter:{all}:sensitive:<account>     the same, sensitive endpoints only
--   KEYS[3] backmarket:limiter:{all}:egress-slots:<egress>   the same, all accounts of one address
--   KEYS[4] backmarket:limiter:{all}:egress-answers:<egress> sorted set: account -> us of its last answer
-- Arguments:
--   ARGV[1] window in us   ARGV[2] 1 if the address has a limit, else 0
--   ARGV[3] account   ARGV[4..] a slot's id, then 1 if it is sensitive, else 0; and so on

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local free_at = now + tonumber(ARGV[1])

local function complete(key, slot)
  redis.call('ZADD', key, free_at, slot)
  local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]
  redis.call('PEXPIREAT', key, math.ceil(last / 1000) + 1)
end

redis.call('ZADD', KEYS[4], now, ARGV[3])
redis.call('PEXPIRE', KEYS[4], math.ceil(tonumber(ARGV[1]) / 1000))
for i = 4, #ARGV, 2 do
  complete(KEYS[1], ARGV[i])
  if ARGV[i + 1] == '1' then complete(KEYS[2], ARGV[i]) end
  if ARGV[2] == '1' then complete(KEYS[3], ARGV[i]) end
end
