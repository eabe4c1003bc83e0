// Receivers in JavaScript, as their developers would write them: by Helicone's documentation, by
// the Standard Webhooks library, and by that specification for ed25519, which the library lacks (1.1.1).
//
// Reads a JSON list of {"read", "secret", "headers", "body"}, bodies in base64, and prints the list of
// events that the receivers accepted, or null. Knows nothing of the gateway but the secret.

const { createHmac, createPublicKey, timingSafeEqual, verify } = require("node:crypto");
const { readFileSync } = require("node:fs");
const { Webhook, WebhookVerificationError } = require("standardwebhooks");

const TOLERANCE_S = 300;
// What stands before the 32 bytes of an ed25519 key in DER (RFC 8410).
const SPKI = Buffer.from("302a300506032b6570032100", "hex");

// The body is what Express's `json()` leaves of it: parsed, its bytes gone.
function helicone(header) {
  return (secret, headers, bytes) => {
    const body = JSON.parse(bytes.toString());
    const ours = createHmac("sha256", secret).update(JSON.stringify(body)).digest();
    const theirs = Buffer.from(headers[header] ?? "", "hex");
    return ours.length === theirs.length && timingSafeEqual(ours, theirs) ? body : null;
  };
}

function library(secret, headers, bytes, options) {
  const webhook = secret.startsWith("whsec_") ? new Webhook(secret) : new Webhook(secret, { format: "raw" });
  try {
    return webhook.verify(bytes, headers, options);
  } catch (error) {
    if (error instanceof WebhookVerificationError) return null;
    throw error;
  }
}

// Of a body that need not be one JSON text, whether the library accepts it.
const passes = (...post) => library(...post, { jsonParse: false }) === undefined;

function ed25519(secret, headers, bytes) {
  const { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signatures } = headers;
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_S) return null;
  const raw = Buffer.from(secret.slice("whpk_".length), "base64");
  const key = createPublicKey({ key: Buffer.concat([SPKI, raw]), format: "der", type: "spki" });
  const message = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), bytes]);
  const fits = (one) => one.startsWith("v1a,") && verify(null, message, key, Buffer.from(one.slice(4), "base64"));
  return signatures.split(" ").some(fits) ? JSON.parse(bytes.toString()) : null;
}

const READERS = {
  helicone: helicone("helicone-signature"),
  documented: helicone("x-helicone-signature"),
  library,
  passes,
  ed25519,
};

const posts = JSON.parse(readFileSync(0, "utf8"));
const seen = posts.map(({ read, secret, headers, body }) => READERS[read](secret, headers, Buffer.from(body, "base64")));
console.log(JSON.stringify(seen));
