// The mails that a server has sent, read where they arrived.
import assert from 'node:assert/strict'

// A function that fetches the next mail, which must have this subject and go to this address.
export const mailbox = (url) => async (subject, to) => {
  const mail = await (await fetch(url)).json()
  assert.equal(mail.subject, subject)
  assert.deepEqual(mail.envelope.to, [to])
  return mail
}

// The code in a mail.
export const codeIn = ({ text }) => {
  const code = text.match(/\b[A-Z2-7]{5}-[A-Z2-7]{5}\b/)
  assert.ok(code, text)
  return code[0]
}
