// js-libp2p gossipsub, TCP + noise + yamux, every message signed (the default), Ed25519 keys. The commands of common.py.
import { createLibp2p } from 'libp2p'
import { tcp } from '@libp2p/tcp'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { identify } from '@libp2p/identify'
import { gossipsub } from '@libp2p/gossipsub'
import { multiaddr } from '@multiformats/multiaddr'
import { createInterface } from 'node:readline'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { readFileSync } from 'node:fs'

const now = () => (performance.timeOrigin + performance.now()) / 1000
const emit = (event, more = {}) => process.stdout.write(JSON.stringify({ event, ...more }) + '\n')
const version = name => JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url))).version
const runs = new Map()

function got (data) {
  const at = now()
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  const sent = view.getFloat64(0); const run = view.getUint32(8); const seq = view.getUint32(12)
  let heard = runs.get(run)
  if (!heard) runs.set(run, heard = { seen: new Set(), repeated: 0, first: sent, last: at, delays: [] })
  if (heard.seen.has(seq)) { heard.repeated++; return }
  heard.seen.add(seq)
  heard.first = Math.min(heard.first, sent)
  heard.last = at
  heard.delays.push(at - sent)
}

function report (run) {
  const heard = runs.get(run)
  if (!heard) return { count: 0 }
  const delays = heard.delays.slice().sort((a, b) => a - b)
  const at = share => delays[Math.min(delays.length - 1, Math.floor(share * delays.length))]
  return {
    count: heard.seen.size, repeated: heard.repeated, seconds: heard.last - heard.first, p50: at(0.5), p99: at(0.99)
  }
}

function payload (run, seq, size) {
  const bytes = new Uint8Array(Math.max(16, size)); const view = new DataView(bytes.buffer)
  view.setFloat64(0, now()); view.setUint32(8, run); view.setUint32(12, seq)
  return bytes
}

const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify(), pubsub: gossipsub({ allowPublishToZeroTopicPeers: true }) }
})
const pubsub = node.services.pubsub
pubsub.addEventListener('message', event => { if (event.detail.topic === 't') got(event.detail.data) })
pubsub.subscribe('t')
emit('ready', {
  address: node.getMultiaddrs()[0].toString(),
  version: `libp2p ${version('libp2p')}, gossipsub ${version('@libp2p/gossipsub')}, node ${process.version}`
})

async function publish ({ run, count, size, rate }) {
  const begun = now(); let errors = 0; let error = null
  for (let seq = 0; seq < count; seq++) {
    if (rate) { const wait = begun + seq / rate - now(); if (wait > 0.0005) await sleep(wait * 1000) }
    try { await pubsub.publish('t', payload(run, seq, size)) } catch (e) { errors++; error ??= String(e).slice(0, 200) }
    if (!rate) await turn()
  }
  emit('published', { seconds: now() - begun, errors, error })
}

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line)
  if (asked.ask === 'connect') {
    for (const address of asked.addresses) await node.dial(multiaddr(address))
    emit('connected')
  } else if (asked.ask === 'peers') emit('peers', { count: pubsub.getMeshPeers('t').length })
  else if (asked.ask === 'publish') publish(asked)
  else if (asked.ask === 'count') emit('count', { count: runs.get(asked.run)?.seen.size ?? 0 })
  else if (asked.ask === 'report') emit('report', report(asked.run))
  else if (asked.ask === 'quit') process.exit(0)
}
process.exit(0)
