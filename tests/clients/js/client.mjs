// Runs the transactions of one JSON job, read from standard input, with the dicomweb-client of dcmjs-org. Answers with JSON:
// for each transaction its result, byte arrays as {sha256, size}, or {error} with the status of the answer.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import dicomweb from 'dicomweb-client'
import xhr2 from 'xhr2'

globalThis.XMLHttpRequest = xhr2

const job = JSON.parse(readFileSync(0, 'utf8'))
const client = new dicomweb.api.DICOMwebClient({
  url: job.url,
  verbose: false,
  singlepart: job.singlepart ?? '',
})

const fileData = name => {
  const data = readFileSync(name)
  return data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength)
}

const described = value => {
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) {
    const data = Buffer.from(value instanceof ArrayBuffer ? value : value.buffer)
    return { sha256: createHash('sha256').update(data).digest('hex'), size: data.length }
  }
  return Array.isArray(value) ? value.map(described) : value
}

const results = []
for (const [method, options] of job.calls) {
  try {
    if (options.files) options.datasets = options.files.map(fileData)
    let result = await client[method](options)
    if (method === 'storeInstances') result = JSON.parse(result)
    results.push(described(result))
  } catch (error) {
    results.push({ error: String(error.message ?? error), status: error.status ?? null })
  }
}
process.stdout.write(JSON.stringify(results))
