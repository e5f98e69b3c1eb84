// Pictures and styles as files of their own, by a plugin of a few lines; names as Rollup's guide gives them.
import { basename } from "node:path";
import { readFile } from "node:fs/promises";

const files = {
  name: "files",
  async load(id) {
    if (!/\.(css|svg)$/.test(id)) return null;
    const file = this.emitFile({ type: "asset", name: basename(id), source: await readFile(id) });
    return `export default import.meta.ROLLUP_FILE_URL_${file};`;
  },
};

export default {
  input: "common/main.js",
  plugins: [files],
  output: { dir: "dist", entryFileNames: "[name]-[hash].js", chunkFileNames: "chunks/[name].[hash].js" },
};
