// How the scripts say what they do, and hold what is refused against what is expected.
import assert from 'node:assert/strict'

// Says what comes next.
export const step = (name) => console.log(name)

// That a call is refused with this status and error name.
export const refused = (promise, status, error) =>
  assert.rejects(promise, (thrown) => {
    assert.equal(thrown.status, status, thrown.message)
    assert.equal(thrown.error, error)
    return true
  })
