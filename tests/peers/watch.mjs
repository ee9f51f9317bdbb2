// Follows the firehose of the server at URL from CURSOR on, verifies every event with the official libraries, and prints a
// line of JSON for each: `{seq, t, did, ...}`, or `{error}`. Comes again, from where it was, when the server is away.
import { setTimeout as sleep } from 'node:timers/promises'
import { IdResolver } from '@atproto/identity'
import { decode } from '@atproto/lex-cbor'
import { readCarWithRoot, verifyCommitSig } from '@atproto/repo'
import { parseAccount, parseCommitAuthenticated, parseIdentity, parseSync } from '@atproto/sync'
import { Frame } from '@atproto/xrpc-server'

const [url, plcUrl, start] = process.argv.slice(2)
const idResolver = new IdResolver({ plcUrl, fetch: globalThis.fetch })
const heads = new Map()
let cursor = Number(start)

const print = (line) => console.log(JSON.stringify(line))
const fail = (seq, error) => print({ error, seq })

const handlers = {
  async '#commit'(event) {
    const { seq, repo, rev, since, ops } = event
    const verified = await parseCommitAuthenticated(idResolver, event)
    if (verified.length !== ops.length) fail(seq, `${verified.length} of ${ops.length} operations verified`)
    const car = await readCarWithRoot(event.blocks)
    if (!car.root.equals(event.commit)) fail(seq, 'the root is not the commit')
    const head = heads.get(repo)
    const commit = decode(car.blocks.get(car.root))
    if (commit.rev !== rev || commit.did !== repo) fail(seq, 'not the commit of this event')
    if (head && since !== head.rev) fail(seq, `since ${since}, but the last was ${head.rev}`)
    if (head && rev <= head.rev) fail(seq, `rev ${rev} after ${head.rev}`)
    if (head && event.prevData && !event.prevData.equals(head.data)) fail(seq, 'prevData is not the last tree')
    if (since && !event.prevData) fail(seq, 'no prevData')
    heads.set(repo, { rev, data: commit.data })
    return { did: repo, rev, ops: ops.map((op) => `${op.action} ${op.path}`) }
  },
  async '#sync'(event) {
    const { did, rev, cid, blocks, seq } = await parseSync(event)
    const commit = decode(blocks.get(cid))
    if (commit.rev !== rev || commit.did !== did) fail(seq, 'not the commit of this event')
    const key = await idResolver.did.resolveAtprotoKey(did, true)
    if (!(await verifyCommitSig(commit, key))) fail(seq, 'not signed by the key of the account')
    heads.set(did, { rev, data: commit.data })
    return { did, rev }
  },
  async '#identity'(event) {
    const { did } = await parseIdentity(idResolver, event, true)
    return { did, handle: event.handle }
  },
  async '#account'(event) {
    const parsed = parseAccount(event)
    if (!parsed) fail(event.seq, 'a status that nobody knows')
    return { did: event.did, active: event.active, status: event.status }
  },
}

async function take(bytes) {
  const frame = Frame.fromBytes(bytes)
  if (frame.isError()) return fail(cursor, `${frame.body.error}: ${frame.body.message}`)
  const { type: t, body } = frame
  if (t === '#info') return print({ t, ...body })
  if (body.seq <= cursor) fail(body.seq, `seq ${body.seq} after ${cursor}`)
  cursor = body.seq
  if (Number.isNaN(Date.parse(body.time))) fail(body.seq, `time ${body.time}`)
  try {
    print({ seq: body.seq, t, ...(await handlers[t](body)) })
  } catch (error) {
    fail(body.seq, `${error.stack} ${error.cause?.stack ?? ''}`)
  }
}

for (;;) {
  await new Promise((closed) => {
    let queue = Promise.resolve()
    const socket = new WebSocket(`${url.replace('http', 'ws')}/xrpc/com.atproto.sync.subscribeRepos?cursor=${cursor}`)
    socket.binaryType = 'arraybuffer'
    socket.onmessage = ({ data }) => (queue = queue.then(() => take(new Uint8Array(data))))
    socket.onerror = () => {}
    socket.onclose = () => queue.then(closed)
  })
  await sleep(100)
}
