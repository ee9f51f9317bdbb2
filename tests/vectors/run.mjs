// Runs the vectors of a wasm build on Node: `node run.mjs PATH`. Prints the report, and ends with a line `N passed, M failed`.
//
// Fails for any failed case, for a trap, and with CI=true for anything skipped. The module's one door is `report`, which
// returns where in its memory the report lies; it imports nothing.
import { readFile } from "node:fs/promises";

const [path] = process.argv.slice(2);
if (path === undefined) {
    console.error("usage: node run.mjs PATH_OF_VECTORS_WASM");
    process.exit(2);
}
const { instance } = await WebAssembly.instantiate(await readFile(path), {});
const place = instance.exports.report();
const [address, length] = [Number(place >> 32n) >>> 0, Number(place & 0xffffffffn)];
const report = new TextDecoder().decode(new Uint8Array(instance.exports.memory.buffer, address, length));
process.stdout.write(report);

const [, ran, failed] = report.match(/^vectors: (\d+) ran, (\d+) failed$/m).map(Number);
const skipped = report.split("\n").filter((line) => line.startsWith("SKIPPED "));
const unallowed = process.env.CI === "true" ? skipped.length : 0;
console.log(`${ran - failed} passed, ${failed + unallowed} failed`);
process.exitCode = failed + unallowed === 0 && ran > 0 ? 0 : 1;
