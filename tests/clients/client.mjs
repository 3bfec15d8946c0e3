// One request with Node's fetch: prints the body, then the status on a line of its own.
// Usage: node client.mjs METHOD URL BODY

const [method, url, body] = process.argv.slice(2);
const answer = await fetch(url, { method, body: body || undefined });
console.log(`${await answer.text()}\n${answer.status}`);
