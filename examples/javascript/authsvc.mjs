// Calls an app of the network from JavaScript: docs/wire.md, as far as one live call needs it.
//
//   const answer = await call(connection, "carol@example.com", "alice@example.com", "pingpong", "/ping", { n: 1 });

import { randomBytes } from "node:crypto";
import { createInbox } from "@nats-io/transport-node";

const VERSION = "AUTHSVC/1";

/** One NATS token for a name: bytes other than a-z A-Z 0-9 _ - @ + become %XX. */
export function token(name) {
  const plain = /[a-zA-Z0-9_\-@+]/;
  return [...Buffer.from(name, "utf8")]
    .map((byte) => String.fromCharCode(byte))
    .map((char) => plain.test(char) ? char : `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`)
    .join("");
}

/** Where nats-server's own answers to this user arrive. */
export const inboxPrefix = (name) => `_INBOX.${token(name)}`;

function request(id, timeout, target, body) {
  const now = Date.now();
  const head = [
    `${VERSION} request ${id} ${now} ${now + timeout} POST ${target}`,
    "content-type: application/json",
    "",
    JSON.stringify(body),
  ];
  return Buffer.from(head.join("\r\n"), "utf8");
}

/** Status, headers and body of a response; null for anything that is none, or another one's. */
export function parse(id, payload) {
  const bytes = Buffer.from(payload);
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0) return null;
  const [first, ...lines] = bytes.subarray(0, end).toString("latin1").split("\r\n");
  const found = /^AUTHSVC\/1 response ([0-9a-f]{32}) ([2-5]\d\d)$/.exec(first);
  if (!found || found[1] !== id) return null;
  const headers = lines.map((line) => line.split(/: (.*)/s).slice(0, 2));
  return { status: Number(found[2]), headers, body: bytes.subarray(end + 4).toString("utf8") };
}

/** Call an app. Rejects at once where nobody listens for it, and after `timeout` milliseconds. */
export async function call(connection, me, responder, app, target, body, timeout = 5000) {
  const id = randomBytes(16).toString("hex");
  const names = [token(me), token(responder), token(app)].join(".");
  const inbox = createInbox(`${inboxPrefix(me)}.${names.split(".").slice(1).join(".")}`);
  return await new Promise((resolve, reject) => {
    // The responder answers here; its name stands in the subject, and nobody else may publish there.
    const answers = connection.subscribe(`responses.${names}.${id}`, {
      callback: (error, message) => {
        const answer = error ? null : parse(id, message.data);
        if (error) done(reject, error);
        else if (answer) done(resolve, answer);
      },
    });
    // Only nats-server answers here, and only that nobody listens.
    const nobody = connection.subscribe(inbox, {
      callback: (_error, message) => {
        if (message?.headers?.code === 503) done(reject, new Error("nobody listens"));
      },
    });
    const timer = setTimeout(() => done(reject, new Error("no answer in time")), timeout);
    function done(end, value) {
      clearTimeout(timer);
      answers.unsubscribe();
      nobody.unsubscribe();
      end(value);
    }
    connection.publish(`requests.${names}`, request(id, timeout, target, body), { reply: inbox });
  });
}
