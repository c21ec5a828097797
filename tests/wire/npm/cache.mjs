// Keeps the cache of a pool by events, and prints it as JSON once the pool's other_config has the
// marker. Usage: node cache.mjs URL USER PASSWORD MARKER
import { createClient } from 'xen-api'

const [url, user, password, marker] = process.argv.slice(2)
const client = createClient({ url, auth: { user, password }, allowUnauthorized: true, transport: 'json-rpc' })

const fields = record =>
  Object.fromEntries(Object.getOwnPropertyNames(record).filter(name => name[0] !== '$').map(name => [name, record[name]]))

await client.connect()
await client.objectsFetched
console.log('ready')
while (client.pool.other_config[marker] === undefined) {
  await new Promise(resolve => setTimeout(resolve, 20))
}
const cache = {}
for (const record of Object.values(client.objects.all)) {
  cache[record.$ref] = [record.$type, fields(record)]
}
await new Promise(written => process.stdout.write(JSON.stringify(cache) + '\n', written))
await client.disconnect()
process.exit(0)
