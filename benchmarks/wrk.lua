-- Asks for the paths of a file in turn and says in one line of JSON what came of it.
-- Arguments: the file of paths, then headers as name=value; "in-new-words" makes each request one that was never made.
local paths, place, words = {}, 0, nil

function init(arguments)
  for line in io.lines(arguments[1]) do
    paths[#paths + 1] = line
  end
  for index = 2, #arguments do
    local name, value = arguments[index]:match("^([^=]+)=(.*)$")
    if name then wrk.headers[name] = value else words = os.time() * 1000000 end
  end
  for index, path in ipairs(paths) do
    if words then
      -- Split where the new word goes: to put a request together takes as long as the server takes for a small answer.
      local before, behind = wrk.format("GET", path .. "?words=@"):match("^(.-)@(.*)$")
      paths[index] = {before, behind}
    else
      paths[index] = wrk.format("GET", path)
    end
  end
end

function request()
  place = place % #paths + 1
  if words then
    words = words + 1
    return paths[place][1] .. string.format("%d", words) .. paths[place][2]
  end
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
