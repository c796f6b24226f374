// Compiles counter.mo to counter.wasm, and writes its interface to counter.did.
// `node build.mjs --wasm32` makes a 32-bit module, which keeps only stable variables on an upgrade.
import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";

const require = createRequire(import.meta.url);
const motoko = require("motoko").default;

motoko.loadPackage(require("motoko/packages/latest/core.json"));
if (process.argv.includes("--wasm32")) motoko.compiler.gcFlags("classicOP");
motoko.setPublicMetadata(["candid:service"]);
motoko.write("counter.mo", readFileSync("counter.mo", "utf8"));
try {
  const { wasm, candid } = motoko.wasm("counter.mo", "ic");
  writeFileSync("counter.wasm", wasm);
  writeFileSync("counter.did", candid);
} catch (error) {
  for (const { source, range, message } of error.diagnostics ?? []) {
    console.error(`${source}:${range?.start.line + 1}: ${message}`);
  }
  // The compiler's own text is megabytes long.
  if (!error.diagnostics) console.error(String(error.message ?? error).slice(0, 1000));
  process.exit(1);
}
