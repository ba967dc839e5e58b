// The panel's page: listens to /live, shows what it says, fetches pictures as fast as they are shown and no faster.
// What an operator asks is in operator.js, drawings in drawing.js. No framework, nothing from elsewhere.

import { element, joints, number, pose, waterfall } from "./drawing.js";
import { Operator } from "./operator.js";

const $ = (id) => document.getElementById(id);

// A word and a shape for each mode, so that none is told by its colour alone.
const SHAPES = { boot: "\u25cb", ready: "\u25c7", policy: "\u25b6", goto: "\u279c", align: "\u21c4", teleop: "\u270e", hold: "\u275a\u275a", stopped: "\u25a0", unknown: "?" };
const WORDS = { boot: "BOOT", ready: "READY", policy: "POLICY", goto: "TO A POSE", align: "ALIGN", teleop: "BY HAND", hold: "HOLD", stopped: "STOPPED", unknown: "NO LINK" };
// A report that is older than this, s, says nothing about now.
const SILENT = 2;
// Between two pictures of one camera, ms.
const PICTURE = 66;

let socket = null, page = null, newest = null, drawn = null, heard = 0;

const operator = new Operator({
  page: () => page,
  say: (text, ok) => { $("said").textContent = text; $("said").className = ok ? "" : "no"; },
  send: (text) => socket?.readyState === WebSocket.OPEN && socket.send(text),
});

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
  socket.onmessage = (event) => {
    const said = JSON.parse(event.data);
    heard = performance.now();
    if (said.page) page = said.page;
    else newest = said;
  };
  socket.onclose = () => { page = null; newest = null; setTimeout(connect, 500); };
}

function text(id, value) { if ($(id).textContent !== value) $(id).textContent = value; }

function show() {
  requestAnimationFrame(show);
  const silent = performance.now() - heard > 1000 * SILENT;
  text("link", silent || !newest ? "\u25cb none" : "\u25cf live");
  if (!newest || newest === drawn) { if (silent) head(null); return; }
  drawn = newest;
  const { mode, latency, arm } = newest;
  head(mode);
  text("cell", newest.cell);
  const holder = newest.hand ? (newest.hand.by === page ? "this page" : "another page") : mode?.lease ? `${mode.lease.holder}` : "nobody";
  text("holder", holder);
  const { begun, successes, failures } = newest.tally;
  text("tally", begun ? `${successes}\u2713 ${failures}\u2717 of ${begun}` : "-");
  RUNGS[2][3] = newest.resumes ? "brakes, then resumes by itself" : "brakes, and waits for enable";
  ladder(mode);
  $("roles").replaceChildren(...newest.roles.map((r) => element("li", { class: r.here ? "" : "gone" }, `${r.here ? "\u25cf" : "\u2715"} ${r.role === r.name ? r.role : `${r.role} ${r.name}`}${r.here ? "" : " gone"}`)));
  if (latency) { waterfall($("waterfall"), latency); figures(latency, mode); }
  if (arm) {
    text("arm-model", `${arm.model}${arm.torque === false ? ", no torque" : ""}${arm.age_s > 1 ? `, silent for ${number(arm.age_s, 0)} s` : ""}`);
    pose($("pose"), arm); joints($("joints"), arm);
  }
  $("words").hidden = !newest.reasoning;
  if (newest.reasoning) {
    const { text, finish, age_s } = newest.reasoning;
    $("words-text").textContent = text || "...";
    $("words-about").textContent = finish ? `${age_s} s ago` : "...";
  }
  $("news").replaceChildren(...newest.news.slice().reverse().map((n) => element("li", {}, element("small", {}, `${n.ago_s} s`), n.text)));
  cameras(newest);
  operator.see(newest);
}

function head(mode) {
  const word = !mode || mode.age_s > SILENT ? "unknown" : mode.word;
  $("top").dataset.mode = word;
  text("mode-shape", SHAPES[word]);
  text("mode-word", WORDS[word]);
  const fault = mode?.fault ? `${mode.fault.name}: ` : "";
  text("reason", word === "unknown" ? (mode ? "the arm host does not report any more" : "nothing is heard of the cell") : `${fault}${mode.reason}`);
  text("instruction-now", word !== "unknown" && mode.instruction ? `\u201c${mode.instruction}\u201d` : "");
}

const RUNGS = [
  [["policy", "goto", "align", "teleop"], "\u25b6", "moves", "policy, or a human"],
  [["tail"], "\u25d0", "tail", "chunk in force, 150 ms at most"],
  [["hold"], "\u275a\u275a", "hold", "brakes, and waits for enable"],
  [["stopped"], "\u25a0", "stopped", "until the arm host restarts"],
  [["boot", "ready"], "\u25c7", "at rest", "waits for an operator"],
];

function ladder(mode) {
  const word = mode?.word;
  // A tail is over before it could be reported; a hold says that it came through one.
  const through = word === "hold" && mode.fault?.rung.startsWith("tail");
  $("ladder").replaceChildren(...RUNGS.map(([words, sign, name, what]) => {
    const now = words.includes(word);
    const said = name === "tail" && through ? `came through it: ${mode.fault.name}` : now ? `${word === name ? "" : `${word}, `}for ${number(mode.for_s, mode.for_s < 10 ? 1 : 0)} s` : what;
    return element("li", now ? { "aria-current": "step" } : {}, element("i", {}, sign), name, element("em", {}, said));
  }));
}

function figures(latency, mode) {
  text("sum", latency.sum_ms == null ? "none yet" : `${number(latency.sum_ms)} of ${number(latency.budget_ms)} ms${latency.guilty ? `, ${latency.guilty} over` : ""}`);
  const [late, p99, most] = latency.late_us.map((us) => us / 1000);
  const missed = latency.misses.chunks + latency.misses.host + latency.misses.unanswered;
  const figure = (name, value, more) => element("div", {}, element("small", {}, name), element("b", {}, value), element("span", { class: "sub" }, more));
  $("figures").replaceChildren(
    figure("control late p99", `${number(p99, 2)} ms`, `p50 ${number(late, 2)}, most ${number(most, 1)}`),
    figure("age at command", `${number(latency.observation_ms[0], 0)} ms`, `p50; p99 ${number(latency.observation_ms[1], 0)}`),
    figure("inference", `${number(latency.inference_ms, 0)} ms`, `overhead ${number(latency.overhead_ms)}`),
    figure("missed", `${missed}`, `holds ${mode?.holds ?? "-"}, starved ${mode?.starved_ticks ?? "-"}`),
  );
}

// Cameras: each is a loop that asks for a picture newer than the one it shows, so that a slow link skips.
const views = new Map();

function cameras(now) {
  for (const camera of now.cameras) {
    let view = views.get(camera.name);
    if (!view) views.set(camera.name, (view = new View(camera.name)));
    view.see(camera, now.eval);
  }
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

class View {
  constructor(name) {
    this.name = name;
    this.n = 0;
    this.of = null;
    this.image = element("img", { alt: `camera ${name}` });
    this.reference = element("img", { alt: "reference", class: "reference", hidden: "" });
    this.state = element("span", { class: "state" }, name);
    this.stale = element("div", { class: "stale", hidden: "" });
    this.frame = element("div", { class: "frame" }, this.image, this.reference, this.state, this.stale);
    this.blend = element("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": `reference over ${name}` });
    this.keep = element("button", { type: "button" }, "Keep as reference");
    this.differ = element("button", { type: "button", "aria-pressed": "false", hidden: "" }, "Difference");
    this.clear = element("button", { type: "button", hidden: "" }, "Live only");
    const tools = element("div", { class: "tools" }, this.keep, this.differ, this.clear, this.blend);
    this.blend.hidden = true;
    this.blend.oninput = () => this.mix();
    this.keep.onclick = () => this.blob && this.over(URL.createObjectURL(this.blob), true);
    this.clear.onclick = () => this.over(null);
    this.differ.onclick = () => { this.differ.ariaPressed = this.differ.ariaPressed === "true" ? "false" : "true"; this.mix(); };
    $("cameras").append(element("div", { class: "camera" }, this.frame, tools));
    this.fetch();
  }

  mix() {
    const differ = this.differ.ariaPressed === "true";
    this.reference.style.opacity = this.blend.value / 100;
    this.reference.style.mixBlendMode = differ ? "difference" : "normal";
  }

  over(source, own = false) {
    if (this.own) URL.revokeObjectURL(this.reference.src);
    this.own = own;
    this.reference.hidden = !source;
    for (const tool of [this.differ, this.clear, this.blend]) tool.hidden = !source;
    if (source) this.reference.src = source; else this.reference.removeAttribute("src");
    this.mix();
  }

  see(camera, trial) {
    const stale = camera.age_s == null ? "no picture yet" : camera.age_s > 1 ? `no picture for ${number(camera.age_s, 0)} s` : "";
    this.stale.hidden = !stale;
    this.stale.textContent = stale;
    // The plan's picture of the scene goes over the first camera, until the trial begins.
    const wanted = trial?.picture && trial.phase === "setup" && views.keys().next().value === this.name ? trial.trial : null;
    if (wanted !== this.of) { this.of = wanted; this.over(wanted == null ? null : `reference?trial=${wanted}`); }
  }

  async fetch() {
    for (;;) {
      const begun = performance.now();
      try {
        const answer = await fetch(`camera/${this.name}?after=${this.n}`);
        if (answer.status === 200) {
          this.n = answer.headers.get("x-picture");
          this.blob = await answer.blob();
          const url = URL.createObjectURL(this.blob);
          const old = this.image.src;
          this.image.src = url;
          this.image.onload = () => {
            if (old) URL.revokeObjectURL(old);
            this.frame.style.setProperty("--aspect", this.image.naturalWidth / this.image.naturalHeight);
          };
        } else if (answer.status !== 204) await sleep(1000);
      } catch { await sleep(1000); }
      // A page that nobody sees takes one picture a second.
      await sleep(Math.max(0, (document.hidden ? 1000 : PICTURE) - (performance.now() - begun)));
    }
  }
}

connect();
requestAnimationFrame(show);
