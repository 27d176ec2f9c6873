// Carol calls alice's app, and one that is not there.

import { readFile } from "node:fs/promises";
import { connect, credsAuthenticator } from "@nats-io/transport-node";
import { call, inboxPrefix } from "./authsvc.mjs";

const me = "carol@example.com";
const connection = await connect({
  servers: "nats://127.0.0.1:4222",
  authenticator: credsAuthenticator(await readFile("carol.creds")),
  inboxPrefix: inboxPrefix(me),
});
try {
  const answer = await call(connection, me, "alice@example.com", "pingpong", "/ping", { n: 1 });
  console.log(answer.status, answer.body);
  await call(connection, me, "alice@example.com", "nothing", "/ping", {}).catch((error) => {
    console.log(error.message);
  });
} finally {
  await connection.close();
}
