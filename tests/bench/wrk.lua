-- For service.py: JSON instead of a table; with IDS (a file of ids, one a line) each request asks for the page after
-- one of them, in a fixed pseudo-random order; with PACE_MS each connection waits that long between its requests.

local ids, pace = {}, tonumber(os.getenv("PACE_MS") or "0")

if os.getenv("IDS") then
   for line in io.lines(os.getenv("IDS")) do ids[#ids + 1] = line end
end

function init()
   math.randomseed(1)
   if #ids > 0 then
      request = function()
         return wrk.format("GET", wrk.path .. "&after=" .. ids[math.random(#ids)])
      end
   end
   if pace > 0 then
      delay = function() return pace end
   end
end

function done(summary, latency)
   local errors = summary.errors
   print(string.format('{"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, "errors": %d}',
      summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
      latency.max / 1e3, errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
