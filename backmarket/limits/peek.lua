-- State of one account's limits; changes nothing.
--
-- Keys (all on one hash tag): the six of acquire.lua, in its order
--   KEYS[1] backmarket:limiter:{all}:sentinel
--   KEYS[2] backmarket:limiter:{all}:blocked:<account>
--   KEYS[3] backmarket:limiter:{all}:egress-blocked:<egress>
--   KEYS[4] backmarket:limiter:{all}:slots:<account>
--   KEYS[5] backmarket:limiter:{all}:sensitive:<account>
--   KEYS[6] backmarket:limiter:{all}:egress-slots:<egress>
-- Arguments: ARGV[1] recovery in us
-- Returns {used of KEYS[4], of KEYS[5], of KEYS[6], us that the account, the address, and everything is blocked for}.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function recovering_for()
  local run = run_id()
  local sentinel = redis.call('HMGET', KEYS[1], 'since', 'run')
  local since = tonumber(sentinel[1] or nil)
  if not since or sentinel[2] ~= run or since > now then since = now end
  return math.max(since + tonumber(ARGV[1]) - now, 0)
end

local function used(key)
  return redis.call('ZCOUNT', key, string.format('%.0f', now), '+inf')
end

local function blocked_for(key)
  return math.max(redis.call('PTTL', key), 0) * 1000
end

return {used(KEYS[4]), used(KEYS[5]), used(KEYS[6]), blocked_for(KEYS[2]), blocked_for(KEYS[3]), recovering_for()}
