// A web app's side: log in at authsvc with a key made here, connect to nats-server by wss.

import { jwtAuthenticator, nkeys, wsconnect } from "@nats-io/nats-core";

const text = new TextEncoder();

const base64url = (bytes) =>
  btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

// An nkey is a prefix byte, 32 bytes and a checksum of two, in base32 (RFC 4648).
function rawPublicKey(nkey) {
  const bits = [...nkey].map((c) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(c)
    .toString(2).padStart(5, "0")).join("");
  const bytes = bits.match(/.{8}/g).map((octet) => parseInt(octet, 2));
  return Uint8Array.from(bytes.slice(1, 33));
}

// RFC 9449, by the nkey itself.
async function proof(user, method, url, token) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", text.encode(token)));
  const parts = [
    {
      typ: "dpop+jwt",
      alg: "EdDSA",
      jwk: { kty: "OKP", crv: "Ed25519", x: base64url(rawPublicKey(user.getPublicKey())) },
    },
    {
      jti: crypto.randomUUID(),
      htm: method,
      htu: url,
      iat: Math.floor(Date.now() / 1000),
      ath: base64url(digest),
    },
  ];
  const input = parts.map((part) => base64url(text.encode(JSON.stringify(part)))).join(".");
  return `${input}.${base64url(user.sign(text.encode(input)))}`;
}

async function login(token) {
  const user = nkeys.createUser();
  const url = `${location.origin}/v1/credentials`;
  const response = await fetch(url, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, DPoP: await proof(user, "POST", url, token) },
  });
  const credential = await response.json();
  if (!response.ok) throw new Error(credential.detail);
  return { credential, user };
}

const connect = ({ credential, user }, servers) =>
  wsconnect({
    servers,
    authenticator: jwtAuthenticator(credential.jwt, user.getSeed()),
    inboxPrefix: credential.inbox_prefix,
    reconnect: false,
    timeout: 10000,
  });

// What the test calls: one person logs in and hears what another sends, both by wss.
globalThis.authsvc = {
  async talk(tokens, app, body) {
    const [alice, bob] = await Promise.all(tokens.map(login));
    const servers = alice.credential.servers.filter((url) => url.startsWith("wss://"));
    const [from, to] = await Promise.all([connect(alice, servers), connect(bob, servers)]);
    const [a, b] = [alice, bob].map((it) => it.credential.subject_token);
    const heard = to.subscribe(`requests.*.${b}.${app}`, { max: 1 });
    await to.flush();
    from.publish(`requests.${a}.${b}.${app}`, body);
    let found;
    for await (const message of heard) found = [message.subject, message.string()];
    await Promise.all([from.close(), to.close()]);
    return found;
  },
  async refused(token, url) {
    const person = await login(token);
    try {
      await (await connect(person, [url])).close();
      return "connected";
    } catch (error) {
      return error.message;
    }
  },
};
