// Gives the functions of an AssemblyScript module the names by which a canister's are known, which
// the language itself can't write.
import { Transform } from "assemblyscript/transform";
import { readFileSync } from "node:fs";

const KINDS = { increment: "canister_update", get: "canister_query", fail: "canister_update" };

export default class extends Transform {
  afterCompile(module) {
    for (const [name, kind] of Object.entries(KINDS)) {
      const inner = module.getExport(name);
      if (!inner) throw new Error(`there is no ${name}`);
      module.removeExport(name);
      module.addFunctionExport(`counter/${name}`, `${kind} ${name}`);
    }
    module.removeExport("abort");
    const text = readFileSync(new URL("counter.did", import.meta.url));
    module.addCustomSection("icp:public candid:service", text);
  }
}
