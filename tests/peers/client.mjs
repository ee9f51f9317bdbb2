// Drives the server at URL with the official client, as applications do, and verifies with the official libraries what it
// exports. Ends with an error at the first thing that is not as it should be. Says which methods it has called with success.
import assert from 'node:assert/strict'
import { AtpAgent } from '@atproto/api'
import { IdResolver } from '@atproto/identity'
import { verifyProofs, verifyRecords, verifyRepoCar } from '@atproto/repo'
import { CID } from 'multiformats'
import { codeIn, mailbox } from './mailbox.mjs'
import { refused, step } from './steps.mjs'

const [url, plcUrl, adminPassword, mails, view] = process.argv.slice(2)
const mail = mailbox(mails)
const codeOf = async (subject, to) => codeIn(await mail(subject, to))
const called = new Set()
const plain = globalThis.fetch
globalThis.fetch = async (input, init) => {
  const answer = await plain(input, init)
  const { origin, pathname } = new URL(input.url ?? input)
  if (answer.ok && origin === url && pathname.startsWith('/xrpc/')) called.add(pathname.slice('/xrpc/'.length))
  return answer
}
const authorization = `Basic ${Buffer.from(`admin:${adminPassword}`).toString('base64')}`
const asAdmin = { headers: { authorization }, encoding: 'application/json' }
const idResolver = new IdResolver({ plcUrl, fetch: globalThis.fetch })
const post = 'app.bsky.feed.post'
const createdAt = '2026-01-02T03:04:05.678Z'

step('describe, invite, sign up')
const agent = new AtpAgent({ service: url })
const { server, repo, sync, identity } = agent.com.atproto
const described = (await server.describeServer()).data
assert.deepEqual(described.availableUserDomains, ['.test'])
assert.equal(described.inviteCodeRequired, true)
const { code } = (await server.createInviteCode({ useCount: 3 }, asAdmin)).data
const { codes } = (await server.createInviteCodes({ codeCount: 2, useCount: 1 }, asAdmin)).data
assert.equal(codes[0].codes.length, 2)
const carla = { handle: 'carla.test', email: 'carla@example.com', password: 'password of carla' }
await refused(agent.createAccount({ ...carla, inviteCode: 'localhost-aaaaa-aaaaa' }), 400, 'InvalidInviteCode')
await agent.createAccount({ ...carla, inviteCode: code })
const { did } = agent
assert.equal((await identity.resolveHandle({ handle: 'carla.test' })).data.did, did)
const { signingKey, handle } = await idResolver.did.resolveAtprotoData(did, true)
assert.equal(handle, 'carla.test')

step('sessions')
const session = (await server.getSession()).data
assert.equal(session.email, 'carla@example.com')
assert.equal(session.active, true)
const second = new AtpAgent({ service: url })
await second.login({ identifier: 'CARLA@example.com', password: carla.password })
await refused(second.login({ identifier: 'carla.test', password: 'wrong' }), 401, 'AuthenticationRequired')
await second.login({ identifier: did, password: carla.password })
const before = second.session.refreshJwt
await second.sessionManager.refreshSession()
assert.notEqual(second.session.refreshJwt, before)
const resumed = new AtpAgent({ service: url })
await resumed.resumeSession(second.session)
await resumed.logout()

step('app passwords')
const app = (await server.createAppPassword({ name: 'tablet', privileged: true })).data
assert.match(app.password, /^[a-z2-7]{4}(-[a-z2-7]{4}){3}$/)
await refused(server.createAppPassword({ name: 'tablet' }), 400, 'AppPasswordTaken')
assert.deepEqual((await server.listAppPasswords()).data.passwords.map(({ name }) => name), ['tablet'])
const limited = new AtpAgent({ service: url })
await limited.login({ identifier: did, password: app.password })
await refused(limited.com.atproto.server.createAppPassword({ name: 'more' }), 400, 'InvalidToken')
await limited.post({ text: 'from the tablet' })
await server.revokeAppPassword({ name: 'tablet' })
await refused(limited.sessionManager.refreshSession(), 400, 'ExpiredToken')

step('records')
const first = await agent.post({ text: 'hello', createdAt })
await agent.like(first.uri, first.cid)
await agent.repost(first.uri, first.cid)
const follow = await agent.follow(did)
await agent.upsertProfile((old) => ({ ...old, displayName: 'Carla' }))
await agent.upsertProfile((old) => ({ ...old, description: 'of Carthage' }))
const profile = (await repo.getRecord({ repo: did, collection: 'app.bsky.actor.profile', rkey: 'self' })).data
assert.equal(profile.value.displayName, 'Carla')
assert.equal(profile.value.description, 'of Carthage')
await agent.deleteFollow(follow.uri)
const rkey = first.uri.split('/').pop()
const record = { $type: post, text: 'hello, better', createdAt }
const wrongSwap = { repo: did, collection: post, rkey, record, swapRecord: profile.cid }
await refused(repo.putRecord(wrongSwap), 400, 'InvalidSwap')
const put = (await repo.putRecord({ repo: did, collection: post, rkey, record, swapRecord: first.cid })).data
assert.equal(put.validationStatus, 'valid')
const head = (await sync.getLatestCommit({ did })).data
assert.equal(head.cid, put.commit.cid)
const third = { repo: did, collection: post, record: { text: 'third', createdAt } }
await refused(repo.createRecord({ ...third, swapCommit: first.cid }), 400, 'InvalidSwap')
const created = (await repo.createRecord({ ...third, swapCommit: head.cid })).data
const batch = Array.from({ length: 30 }, (_, n) => ({
  $type: 'com.atproto.repo.applyWrites#create',
  collection: post,
  rkey: `batch-${String(n).padStart(2, '0')}`,
  value: { $type: post, text: `number ${n}`, createdAt },
}))
// The key of a post is a TID, so this batch is refused whole.
await refused(repo.applyWrites({ repo: did, writes: batch }), 400, 'InvalidRequest')
const writes = batch.map(({ rkey, ...write }) => write)
assert.equal((await repo.applyWrites({ repo: did, writes, validate: true })).data.results.length, 30)
await refused(agent.post({ text: 17 }), 400, 'InvalidRequest')
await repo.deleteRecord({ repo: did, collection: post, rkey: created.uri.split('/').pop() })
const all = []
for (let cursor; ; ) {
  const page = (await repo.listRecords({ repo: did, collection: post, limit: 7, cursor })).data
  all.push(...page.records)
  cursor = page.cursor
  if (!cursor) break
}
assert.equal(all.length, 32)
assert.deepEqual(all.map(({ uri }) => uri), all.map(({ uri }) => uri).toSorted().toReversed())
await refused(repo.getRecord({ repo: did, collection: post, rkey: 'missing' }), 400, 'RecordNotFound')
const about = (await repo.describeRepo({ repo: 'carla.test' })).data
assert.equal(about.handleIsCorrect, true)
assert.ok(about.collections.includes(post))

step('blobs')
const pixel = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64')
const { blob } = (await agent.uploadBlob(pixel, { encoding: 'image/png' })).data
const cid = blob.ref.toString()
await refused(sync.getBlob({ did, cid }), 400, 'InvalidRequest')
const pictured = await agent.post({
  text: 'a pixel', createdAt, embed: { $type: 'app.bsky.embed.images', images: [{ alt: '', image: blob }] },
})
const fetched = await sync.getBlob({ did, cid })
assert.deepEqual(Buffer.from(fetched.data), pixel)
assert.equal(fetched.headers['content-type'], 'image/png')
assert.deepEqual((await sync.listBlobs({ did })).data.cids, [cid])
assert.deepEqual((await repo.listMissingBlobs()).data.blobs, [])

step('exports and proofs')
const exported = (await sync.getRepo({ did })).data
const verified = await verifyRepoCar(exported, did, signingKey)
const latest = (await sync.getLatestCommit({ did })).data
assert.equal(verified.commit.rev, latest.rev)
assert.equal(verified.commit.cid.toString(), latest.cid)
assert.equal(verified.creates.filter(({ collection }) => collection === post).length, 33)
const since = (await sync.getRepo({ did, since: head.rev })).data
assert.ok(since.length < exported.length)
const picturedKey = pictured.uri.split('/').pop()
const proof = (await sync.getRecord({ did, collection: post, rkey: picturedKey })).data
const [claim] = await verifyRecords(proof, did, signingKey)
assert.equal(claim.rkey, picturedKey)
const present = { collection: post, rkey: picturedKey, cid: CID.parse(pictured.cid) }
const absent = { collection: post, rkey: '2222222222222', cid: null }
const nothing = (await sync.getRecord({ did, collection: post, rkey: absent.rkey })).data
assert.equal((await verifyProofs(proof, [present], did, signingKey)).verified.length, 1)
assert.equal((await verifyProofs(nothing, [absent], did, signingKey)).verified.length, 1)
assert.ok((await sync.getBlocks({ did, cids: [pictured.cid, latest.cid] })).data.length > 100)
assert.equal((await sync.getRepoStatus({ did })).data.rev, latest.rev)
assert.ok((await sync.listRepos()).data.repos.some((listed) => listed.did === did && listed.head === latest.cid))
assert.equal((await sync.getHead({ did })).data.root, latest.cid)

step('service tokens')
const aud = 'did:web:example.com'
const { token } = (await server.getServiceAuth({ aud, lxm: 'app.bsky.feed.getTimeline' })).data
const [, claims] = token.split('.').map((part) => Buffer.from(part, 'base64url').toString())
assert.equal(JSON.parse(claims).iss, did)
const past = { aud, exp: 1000 }
await refused(server.getServiceAuth(past), 400, 'BadExpiration')

step('handle, status, administration')
await agent.updateHandle({ handle: 'carla-two.test' })
assert.equal((await identity.resolveHandle({ handle: 'carla-two.test' })).data.did, did)
const status = (await server.checkAccountStatus()).data
assert.equal(status.validDid, true)
assert.equal(status.importedBlobs, 1)
assert.ok((await server.getAccountInviteCodes()).data.codes)
await server.deactivateAccount({})
const anyone = new AtpAgent({ service: url }).com.atproto.sync
await refused(anyone.getRepo({ did }), 400, 'RepoDeactivated')
await refused(agent.post({ text: 'too late' }), 401, 'AccountDeactivated')
await server.activateAccount()
await agent.post({ text: 'back', createdAt })
const info = await agent.com.atproto.admin.getAccountInfo({ did }, { headers: { authorization } })
assert.equal(info.data.handle, 'carla-two.test')
const subject = { $type: 'com.atproto.admin.defs#repoRef', did }
const takedown = (applied) =>
  agent.com.atproto.admin.updateSubjectStatus({ subject, takedown: { applied } }, asAdmin)
await takedown(true)
await refused(anyone.getRepo({ did }), 400, 'RepoTakendown')
await refused(second.login({ identifier: did, password: carla.password }), 401, 'AccountTakedown')
await takedown(false)
await second.login({ identifier: did, password: carla.password })
await second.post({ text: 'forgiven', createdAt })

const { admin, moderation, server: account, identity: own } = second.com.atproto

step('e-mail and passwords')
await account.requestEmailConfirmation()
const toConfirm = await codeOf('Email Confirmation', 'carla@example.com')
await refused(account.confirmEmail({ email: 'carla@example.org', token: toConfirm }), 400, 'InvalidEmail')
await refused(account.confirmEmail({ email: 'carla@example.com', token: 'AAAAA-AAAAA' }), 400, 'InvalidToken')
await account.confirmEmail({ email: 'carla@example.com', token: toConfirm })
assert.equal((await account.getSession()).data.emailConfirmed, true)
assert.equal((await account.requestEmailUpdate()).data.tokenRequired, true)
const toUpdate = await codeOf('Email Update Requested', 'carla@example.com')
const newAddress = { email: 'carla@example.org' }
await refused(account.updateEmail(newAddress), 400, 'TokenRequired')
await refused(account.updateEmail({ ...newAddress, token: toConfirm }), 400, 'InvalidToken')
await account.updateEmail({ ...newAddress, token: toUpdate })
assert.equal((await account.getSession()).data.emailConfirmed, false)
// Not confirmed: the next change needs no code, and none is mailed.
assert.equal((await account.requestEmailUpdate()).data.tokenRequired, false)
await account.requestEmailConfirmation()
await account.confirmEmail({ ...newAddress, token: await codeOf('Email Confirmation', 'carla@example.org') })
await account.requestPasswordReset({ email: 'nobody@example.org' })
await account.requestPasswordReset(newAddress)
const toReset = await codeOf('Password Reset Requested', 'carla@example.org')
await refused(account.resetPassword({ token: 'AAAAA-AAAAA', password: 'x' }), 400, 'InvalidToken')
await account.resetPassword({ token: toReset, password: 'a better password' })
await refused(account.resetPassword({ token: toReset, password: 'x' }), 400, 'InvalidToken')
await refused(second.sessionManager.refreshSession(), 400, 'ExpiredToken')
await refused(second.login({ identifier: did, password: carla.password }), 401, 'AuthenticationRequired')
await second.login({ identifier: 'carla@example.org', password: 'a better password' })

step('identity')
const recommended = (await own.getRecommendedDidCredentials()).data
assert.deepEqual(recommended.alsoKnownAs, ['at://carla-two.test'])
await own.requestPlcOperationSignature()
const toSign = await codeOf('PLC Update Operation Requested', 'carla@example.org')
const asked = { token: toSign, rotationKeys: [...recommended.rotationKeys, signingKey] }
await refused(own.signPlcOperation({ ...asked, token: 'AAAAA-AAAAA' }), 400, 'InvalidToken')
const { operation } = (await own.signPlcOperation(asked)).data
await refused(own.signPlcOperation(asked), 400, 'InvalidToken')
await own.submitPlcOperation({ operation })
const log = await (await plain(`${plcUrl}/${did}/log/last`)).json()
assert.deepEqual(log.rotationKeys, asked.rotationKeys)
const reserved = (await account.reserveSigningKey({ did: 'did:web:mover.test' })).data.signingKey
assert.equal((await account.reserveSigningKey({ did: 'did:web:mover.test' })).data.signingKey, reserved)
assert.equal((await second.com.atproto.temp.checkSignupQueue()).data.activated, true)

step('import')
const whole = (await sync.getRepo({ did })).data
assert.deepEqual((await sync.getCheckout({ did })).data.length, whole.length)
await second.post({ text: 'undone by the import', createdAt })
await second.com.atproto.repo.importRepo(whole, { encoding: 'application/vnd.ipld.car' })
const imported = await verifyRepoCar((await sync.getRepo({ did })).data, did, signingKey)
assert.equal(imported.creates.length, (await verifyRepoCar(whole, did, signingKey)).creates.length)

step('applications')
const withView = second.withProxy('bsky_appview', view)
assert.equal((await withView.app.bsky.actor.getProfile({ actor: did })).data.did, did)
assert.equal((await second.getProfiles({ actors: [did] })).data.profiles[0].did, did)
assert.deepEqual((await second.getTimeline({ limit: 3 })).data.feed, [])
assert.deepEqual((await second.getAuthorFeed({ actor: did })).data.feed, [])
assert.deepEqual((await second.getActorLikes({ actor: did })).data.feed, [])
const threadOf = 'at://did:web:view.test/app.bsky.feed.post/3jzfcijpj2z2a'
assert.equal((await second.getPostThread({ uri: threadOf })).data.thread.notFound, true)
await second.setAdultContentEnabled(true)
assert.equal((await second.getPreferences()).moderationPrefs.adultContentEnabled, true)
await second.app.bsky.feed.getFeed({ feed: 'at://did:web:view.test/app.bsky.feed.generator/one' })
const push = { serviceDid: view, token: 't', platform: 'ios', appId: 'app' }
await second.app.bsky.notification.registerPush(push)
await second.app.bsky.notification.unregisterPush(push)
const reason = { reasonType: 'com.atproto.moderation.defs#reasonSpam', subject }
assert.equal((await second.createModerationReport(reason)).data.reportedBy, did)

step('more administration')
const header = { headers: { authorization } }
await admin.updateAccountEmail({ account: did, email: 'carla@example.net' }, asAdmin)
await admin.updateAccountHandle({ did, handle: 'carla-three.test' }, asAdmin)
await admin.updateAccountPassword({ did, password: 'the last password' }, asAdmin)
const [{ email, handle: renamed }] = (await admin.getAccountInfos({ dids: [did] }, header)).data.infos
assert.deepEqual([email, renamed], ['carla@example.net', 'carla-three.test'])
assert.equal((await admin.getSubjectStatus({ did }, header)).data.takedown.applied, false)
const letter = { recipientDid: did, senderDid: did, subject: 'hello', content: '<p>hello</p>' }
assert.equal((await admin.sendEmail(letter, asAdmin)).data.sent, true)
assert.match((await mail('hello', 'carla@example.net')).html, /<p>hello<\/p>/)
await admin.disableAccountInvites({ account: did }, asAdmin)
await admin.enableAccountInvites({ account: did }, asAdmin)
await admin.disableInviteCodes({ codes: [codes[0].codes[0]] }, asAdmin)
const listed = (await admin.getInviteCodes({ sort: 'recent' }, header)).data.codes
assert.ok(listed.some((one) => one.code === codes[0].codes[0] && one.disabled))

step('departures')
const dana = new AtpAgent({ service: url })
const danas = { handle: 'dana.test', email: 'dana@example.com', password: 'password of dana' }
await dana.createAccount({ ...danas, inviteCode: code })
await dana.com.atproto.server.requestAccountDelete()
const toLeave = await codeOf('Account Deletion Requested', danas.email)
const leaving = { did: dana.did, password: danas.password }
await refused(account.deleteAccount({ ...leaving, token: 'AAAAA-AAAAA' }), 400, 'InvalidToken')
const guess = { ...leaving, password: 'wrong', token: toLeave }
await refused(account.deleteAccount(guess), 401, 'AuthenticationRequired')
await account.deleteAccount({ ...leaving, token: toLeave })
await refused(dana.login({ identifier: danas.handle, password: danas.password }), 401, 'AuthenticationRequired')
await refused(anyone.getRepo({ did: leaving.did }), 400, 'RepoNotFound')
await admin.deleteAccount({ did }, asAdmin)
await refused(anyone.getRepo({ did }), 400, 'RepoNotFound')

for (const nsid of [...called].sort()) console.log(`called ${nsid}`)
console.log('done')
