// Runs the built Worker on workerd, by miniflare, until standard input ends: a parent that dies takes it along.
//
//   node workerd.mjs NODE_MODULES WORKER_DIRECTORY PORT [DIRECTORY]
//
// NODE_MODULES is where miniflare is installed, WORKER_DIRECTORY what worker-build wrote, PORT the port on 127.0.0.1 or 0
// for any, DIRECTORY where objects and blobs are kept; without it nothing is kept. The Worker's variables are those of the
// environment that begin with `EDGE_`. Prints `listening on http://127.0.0.1:PORT` once it answers. Nothing is fetched from
// the network.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [nodeModules, worker, port, directory] = process.argv.slice(2);
const { Log, LogLevel, Miniflare } = createRequire(join(nodeModules, "/"))("miniflare");

const { date, flags } = compatibility();
const module = (type, name) => ({ type, path: join(worker, name) });

const miniflare = new Miniflare({
  host: "127.0.0.1",
  port: Number(port),
  cf: false,
  log: new Log(LogLevel.WARN),
  compatibilityDate: date,
  compatibilityFlags: flags,
  modulesRoot: worker,
  modules: [module("ESModule", "index.js"), module("CompiledWasm", "index_bg.wasm")],
  bindings: Object.fromEntries(Object.entries(process.env).filter(([name]) => name.startsWith("EDGE_"))),
  durableObjects: {
    REPLICAS: { className: "ReplicaObject", useSQLite: true },
    HOSTS: { className: "HostObject", useSQLite: true },
  },
  r2Buckets: ["BLOBS"],
  ...(directory && { defaultPersistRoot: directory }),
});

// Ending workerd is miniflare's: killed instead, this process would leave it behind.
process.stdin.on("end", () => miniflare.dispose().finally(() => process.exit(0))).resume();
const url = await miniflare.ready;
console.log(`listening on ${url.origin}`);

/** What wrangler.toml deploys with is what the tests run with. */
function compatibility() {
  const text = readFileSync(new URL("../../wrangler.toml", import.meta.url), "utf8");
  const [, date] = /^compatibility_date = "(.+)"$/m.exec(text);
  const [, flags = ""] = /^compatibility_flags = \[(.*)\]$/m.exec(text) ?? [];
  return { date, flags: [...flags.matchAll(/"([^"]+)"/g)].map(([, flag]) => flag) };
}
