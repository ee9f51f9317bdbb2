// Moves an account from one server to another with the official client, as its guide has it: the account at the new one,
// repository, blobs, preferences, identity, activation. Ends with an error at the first thing that is not as it should be.
import assert from 'node:assert/strict'
import { AtpAgent } from '@atproto/api'
import { codeIn, mailbox } from './mailbox.mjs'
import { refused, step } from './steps.mjs'

const [oldUrl, newUrl, mails, did, handle, oldPassword, newPassword, inviteCode] = process.argv.slice(2)
const mail = mailbox(mails)

step('an account at the new server')
const before = new AtpAgent({ service: oldUrl })
await before.login({ identifier: did, password: oldPassword })
const after = new AtpAgent({ service: newUrl })
const aud = (await after.com.atproto.server.describeServer()).data.did
const lxm = 'com.atproto.server.createAccount'
const { token: proof } = (await before.com.atproto.server.getServiceAuth({ aud, lxm })).data
const wanted = { did, handle, email: 'mover@example.com', password: newPassword, inviteCode }
await refused(after.com.atproto.server.createAccount(wanted), 401, 'AuthenticationRequired')
const asOwner = { headers: { authorization: `Bearer ${proof}` }, encoding: 'application/json' }
assert.equal((await after.com.atproto.server.createAccount(wanted, asOwner)).data.did, did)
await after.login({ identifier: did, password: newPassword })
assert.equal(after.session.active, false)
const post = { $type: 'app.bsky.feed.post', text: 'too early', createdAt: new Date().toISOString() }
const early = { repo: did, collection: post.$type, record: post }
await refused(after.com.atproto.repo.createRecord(early), 401, 'AccountDeactivated')

step('its repository')
const whole = (await before.com.atproto.sync.getRepo({ did })).data
await after.com.atproto.repo.importRepo(whole, { encoding: 'application/vnd.ipld.car' })

step('its blobs')
const status = async (agent) => (await agent.com.atproto.server.checkAccountStatus()).data
const missing = await status(after)
assert.ok(missing.expectedBlobs > 0 && missing.importedBlobs === 0)
let moved = 0
for (let cursor; ; ) {
  const page = (await after.com.atproto.repo.listMissingBlobs({ cursor, limit: 1 })).data
  for (const { cid } of page.blobs) {
    const { data, headers } = await before.com.atproto.sync.getBlob({ did, cid })
    await after.uploadBlob(data, { encoding: headers['content-type'] })
    moved += 1
  }
  cursor = page.cursor
  if (!cursor) break
}
assert.equal(moved, missing.expectedBlobs)
assert.deepEqual((await after.com.atproto.repo.listMissingBlobs()).data.blobs, [])

step('its preferences')
const { preferences } = (await before.app.bsky.actor.getPreferences()).data
assert.ok(preferences.length > 0)
await after.app.bsky.actor.putPreferences({ preferences })

step('all is there')
const [old, moving] = [await status(before), await status(after)]
assert.equal(moving.indexedRecords, old.indexedRecords)
assert.equal(moving.importedBlobs, moving.expectedBlobs)
assert.equal(moving.activated, false)
assert.equal(moving.validDid, false)
await refused(after.com.atproto.server.activateAccount(), 400, 'InvalidRequest')

step('its identity')
const recommended = (await after.com.atproto.identity.getRecommendedDidCredentials()).data
await before.com.atproto.identity.requestPlcOperationSignature()
const token = codeIn(await mail('PLC Update Operation Requested', 'carla@example.com'))
const signed = (await before.com.atproto.identity.signPlcOperation({ token, ...recommended })).data
await after.com.atproto.identity.submitPlcOperation({ operation: signed.operation })
assert.equal((await status(after)).validDid, true)

step('the move')
await after.com.atproto.server.activateAccount()
await before.com.atproto.server.deactivateAccount({})
assert.equal((await status(after)).activated, true)
assert.equal((await status(before)).activated, false)
console.log('done')
