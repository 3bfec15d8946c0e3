// Resolves each name with one of Node's resolvers: prints the first address, or `none`.
// Usage: resolve.mjs lookup|c-ares NAME…

import { promises } from "node:dns";

const resolvers = {
  lookup: async (name) => (await promises.lookup(name)).address,
  "c-ares": async (name) => (await promises.resolve4(name))[0],
};
const [resolver, ...names] = process.argv.slice(2);
for (const name of names) {
  console.log(await resolvers[resolver](name).catch(() => "none"));
}
