-- Asks for the paths of a file in turn and says in one line of JSON what came of it.
-- Arguments: the file of paths, then headers as name=value.
local paths, place = {}, 0

function init(arguments)
  for line in io.lines(arguments[1]) do
    paths[#paths + 1] = line
  end
  for index = 2, #arguments do
    local name, value = arguments[index]:match("^([^=]+)=(.*)$")
    wrk.headers[name] = value
  end
  for index, path in ipairs(paths) do
    paths[index] = wrk.format("GET", path)
  end
end

function request()
  place = place % #paths + 1
  return paths[place]
end

function done(summary, latency, requests)
  io.write(string.format(
    '{"requests": %d, "bytes": %d, "seconds": %.6f, "errors": %d, "read": %d, "timeouts": %d, "p50": %.4f, "p95": %.4f, "p99": %.4f}\n',
    summary.requests, summary.bytes, summary.duration / 1e6,
    summary.errors.connect + summary.errors.write + summary.errors.status,
    summary.errors.read,
    summary.errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(95) / 1000, latency:percentile(99) / 1000))
end
