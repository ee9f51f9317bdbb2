// A mail server, by smtp-server, until standard input ends. Mails are taken apart by mailparser.
//
//   node smtp.mjs NODE_MODULES OPTIONS
//
// OPTIONS is JSON: `secure` (TLS at once), `key` and `cert` (PEM; without them no STARTTLS), `user` and `pass` (log-in is
// asked for), `refuse` (`sender`, `recipient` or `content`: refused with 550), `silent` (never answers the content),
// `closes` (hangs up at the content). Prints `listening on PORT`, then each mail as a line of JSON.

import { createRequire } from "node:module";
import { join } from "node:path";

const [nodeModules, json] = process.argv.slice(2);
const require = createRequire(join(nodeModules, "/"));
const { SMTPServer } = require("smtp-server");
const { simpleParser } = require("mailparser");

const options = JSON.parse(json);
const refusal = (what) => Object.assign(new Error(`${what} refused by the test`), { responseCode: 550 });
const unless = (stage, callback) => callback(options.refuse === stage ? refusal(stage) : null);
let connections = 0;

const server = new SMTPServer({
  secure: options.secure ?? false,
  key: options.key,
  cert: options.cert,
  disabledCommands: [...(options.cert ? [] : ["STARTTLS"]), ...(options.user ? [] : ["AUTH"])],
  authOptional: !options.user,
  onConnect: (_, callback) => callback(null, void connections++),
  onAuth: ({ username, password }, _, callback) =>
    username === options.user && password === options.pass
      ? callback(null, { user: username })
      : callback(Object.assign(new Error("wrong name or password"), { responseCode: 535 })),
  onMailFrom: (_, __, callback) => unless("sender", callback),
  onRcptTo: (_, __, callback) => unless("recipient", callback),
  async onData(stream, session, callback) {
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    if (options.silent) return;
    if (options.closes) return server.connections.forEach((connection) => connection.close());
    if (options.refuse === "content") return callback(refusal("content"));
    const raw = Buffer.concat(chunks);
    const mail = await simpleParser(raw, { skipTextToHtml: true });
    const { from, to, subject, text, html, messageId, date } = mail;
    const envelope = { from: session.envelope.mailFrom.address, to: session.envelope.rcptTo.map((to) => to.address) };
    const seen = { connections, secure: session.secure, hello: session.hostNameAppearsAs, user: session.user ?? null };
    const headers = mail.headerLines.map(({ key }) => key);
    const shown = { from: from.text, to: to.text, subject, text, html, messageId, date, headers, raw: raw.toString() };
    console.log(JSON.stringify({ ...shown, envelope, ...seen }));
    callback();
  },
});
server.on("error", (error) => console.log(`# ${error.message}`));
server.listen(0, "127.0.0.1", () => console.log(`listening on ${server.server.address().port}`));
process.stdin.on("end", () => process.exit(0)).resume();
