// Thousands of JSON texts, written by this engine's own JSON.stringify and by ours: byte for byte.
//
// usage: node stringify.mjs path/to/target/debug/examples/stringify [cases] [seed]

import { spawnSync } from "node:child_process";

const [binary, cases = "12000", seed = "1"] = process.argv.slice(2);

// Mulberry32: the same seed gives the same texts.
let state = Number(seed) >>> 0;
function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = state;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}
const below = (n) => Math.floor(random() * n);
const pick = (list) => list[below(list.length)];
const repeat = (n, make) => Array.from({ length: n }, make);
const digits = (n) => repeat(n, () => below(10)).join("");

// Any bit pattern is a number, so each exponent comes up.
const view = new DataView(new ArrayBuffer(8));
function anyDouble() {
  view.setUint32(0, below(2 ** 32));
  view.setUint32(4, below(2 ** 32));
  const value = view.getFloat64(0);
  return Number.isFinite(value) ? value : 0.1;
}

function number() {
  const value = anyDouble();
  const sign = pick(["", "-"]);
  return pick([
    () => String(below(2000)),
    () => String(value),
    () => value.toExponential(below(21)),
    () => (value < 1e21 && value > -1e21 ? value.toFixed(below(21)) : "1"),
    () => sign + pick(["0", "1", "9"]) + pick(["", ".0", ".50", "." + digits(25)]),
    () => sign + pick(["1", "9"]) + digits(below(30)) + pick(["", "e" + pick(["", "+", "-"]) + below(330)]),
    () => pick(["1", "9", "4.9", "1.7976931348623157", "2.2250738585072014"]) + "E" + (below(660) - 330),
    () => pick(["9007199254740991", "9007199254740993", "-9007199254740995", "1e999", "-1e999", "-0", "-0.0", "0e9"]),
  ])();
}

const NASTY = ['\\"', "\\\\", "\\/", "/", "\\b", "\\f", "\\n", "\\r", "\\t", "\u2028", "\u2029", "\\u2028",
  "\x7f", "\x80", "é", "😀", "\ufeff", "\uffff", "\\ufffe", "<", "&", "\\u0000", "\\u001F", "\\u0022",
  "\\u005c", "\\u00e9", "\\uD83D\\uDE00", "\\ud83d", "\\uDE00", "\\uDBFF\\uD83D\\uDE00", "\\ud800\\n", "\\uD800\\u0041"];

function string() {
  const piece = () => pick([
    () => pick(NASTY),
    () => String.fromCharCode(97 + below(26)),
    () => "\\u" + below(65536).toString(16).padStart(4, "0"),
    () => {
      const point = 0x20 + below(0x10ffe0);
      return point === 0x22 || point === 0x5c || (point >= 0xd800 && point < 0xe000) ? "_" : String.fromCodePoint(point);
    },
  ])();
  return '"' + repeat(below(8), piece).join("") + '"';
}

const name = () => pick([
  () => '"' + below(12) + '"',
  () => pick(['"__proto__"', '"constructor"', '"toString"', '"length"', '""', '"a"', '"\\u0061"', '"01"', '"-1"', '"1.5"',
    '"1e3"', '"4294967293"', '"4294967294"', '"4294967295"', '"4294967296"', '"9007199254740993"', '"\\u0035"', '" 1"']),
  string,
])();

const space = () => (random() < 0.1 ? pick([" ", "\n", "\r\n", "\t", "  "]) : "");

function text(depth) {
  if (depth === 0 || random() < 0.3) {
    return space() + pick([number, number, string, () => pick(["true", "false", "null"])])() + space();
  }
  if (random() < 0.4) {
    return "[" + (repeat(below(5), () => text(depth - 1)).join(",") || space()) + "]";
  }
  const most = depth > 3 ? pick([3, 10, 40]) : 4;
  const members = repeat(below(most), () => name() + space() + ":" + text(depth - 1));
  return "{" + (members.join(",") || space()) + "}";
}

// A byte taken out, put in or changed: mostly no JSON any more, and both must see that.
function damaged(json) {
  const at = below(json.length + 1);
  const other = pick(["", ",", '"', "\\", "{", "]", "0", ".", "e", "-", "\n", "\x01", "\\u12", "\ufeff", "'"]);
  return json.slice(0, at) + other + json.slice(at + below(2));
}

const fixed = ["", " ", "{}", "[]", '""', "01", "+1", ".5", "5.", "1e", "NaN", "Infinity", "undefined", "[1,]", "{,}",
  "'a'", '{"a":1,}', "1 2", "\ufeff1", "1\u00a0", "// a", '"\x7f"', '"\t"', "[".repeat(128) + "]".repeat(128),
  '{"a":'.repeat(128) + "1" + "}".repeat(128), `{${repeat(3000, (_, i) => `"${(i * 7919) % 5000}":0,"k${i % 900}":1`).join(",")}}`];
const texts = [...fixed];
while (texts.length < Number(cases)) {
  const json = text(5);
  texts.push(json);
  if (random() < 0.2) texts.push(damaged(json));
}

const frame = (json) => {
  const bytes = Buffer.from(json);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
};
const run = spawnSync(binary, { input: Buffer.concat(texts.map(frame)), maxBuffer: 1 << 30 });
if (run.error || run.status !== 0) throw run.error ?? new Error(`the example ended with ${run.status}: ${run.stderr}`);

let at = 0;
let [equal, refused] = [0, 0];
const differences = [];
for (const json of texts) {
  const length = run.stdout.readUInt32BE(at);
  const answer = run.stdout.subarray(at + 4, at + 4 + length);
  at += 4 + length;
  const ours = answer[0] === 0x31 ? answer.subarray(1).toString() : null;
  let theirs = null;
  try {
    // Through bytes, as the text went to the example.
    theirs = JSON.stringify(JSON.parse(Buffer.from(json).toString()));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  if (ours !== theirs) differences.push({ json, ours: ours ?? answer.toString(), theirs });
  else if (theirs === null) refused += 1;
  else equal += 1;
}
for (const difference of differences.slice(0, 5)) console.log("differs:", difference);
console.log(`${equal} texts written alike and ${refused} refused by both, by Node ${process.version} (seed ${seed})`);
if (at !== run.stdout.length || differences.length > 0 || equal < texts.length / 2 || refused === 0) {
  console.log(`FAILED: ${differences.length} differences`);
  process.exit(1);
}
