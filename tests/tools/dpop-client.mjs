// A client with keys of its own (npm's `dpop`, whose path is the first argument). Each line of standard
// input is a command in JSON, each line of standard output its answer.
import { createInterface } from 'node:readline'

globalThis.crypto ??= (await import('node:crypto')).webcrypto
const dpop = await import(process.argv[2])

const keys = new Map()

async function keysOf(name, alg = 'ES256') {
  if (!keys.has(name)) keys.set(name, await dpop.generateKeyPair(alg))
  return keys.get(name)
}

const commands = {
  // A proof for a request, of a token where there is one.
  async proof({ key, alg, htu, htm, token }) {
    return await dpop.generateProof(await keysOf(key, alg), htu, htm, undefined, token)
  },
  // A request with a token and its proof, or for a token.
  async ask({ key, alg, url, method = 'GET', token, form }) {
    const htu = url.split(/[?#]/)[0]
    const headers = {
      DPoP: await dpop.generateProof(await keysOf(key, alg), htu, method, undefined, token),
    }
    if (token) headers.Authorization = `DPoP ${token}`
    const body = form && new URLSearchParams(form)
    const answer = await fetch(url, { method, headers, body })
    return {
      status: answer.status,
      challenge: answer.headers.get('www-authenticate'),
      body: await answer.text(),
    }
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  console.log(JSON.stringify(await commands[command.op](command)))
}
