// What an operator asks: orders, keys that move the arm, scores of episodes and trials. Every ask is a POST to /act; keys and
// signs of life go over /live while this page commands.

import { element } from "./drawing.js";

const $ = (id) => document.getElementById(id);
// Keys that move the arm, as `tactus teleop` has them: forward, left, up, roll, pitch, yaw; o and l move the gripper.
const JOGS = [["q", "forward"], ["w", "left"], ["e", "up"], ["o", "open"], ["a", "back"], ["s", "right"], ["d", "down"], ["l", "close"],
  ["r", "roll +"], ["t", "pitch +"], ["y", "yaw +"], ["u", "7th +"], ["f", "roll -"], ["g", "pitch -"], ["h", "yaw -"], ["j", "7th -"]];
// Between two presses of a key that is held, ms: a press moves the arm for 120.
const REPEAT = 60;
const BEAT = 400;

export class Operator {
  constructor({ page, say, send }) {
    Object.assign(this, { page, say, send });
    this.now = null;
    this.asked = null;
    this.scored = -Infinity;
    this.held = new Map();
    this.reset();
    this.jogs();
    document.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-do]");
      if (button) { this.do(button.dataset.do); button.blur(); }
    });
    $("start").addEventListener("submit", (event) => { event.preventDefault(); this.start(); });
    $("progress").addEventListener("input", () => this.progress(Number($("progress").value)));
    document.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("keyup", (event) => this.release(event.key));
    // In some browsers a button that has the focus is pressed when space is let go; space is hold, and nothing else.
    document.addEventListener("keyup", (event) => { if (event.key === " " && event.target.matches?.("button, summary")) event.preventDefault(); });
    document.addEventListener("focusin", (event) => { if (event.target.matches("input:not([type=range])")) this.say("typing: Esc, then space, to hold", true); });
    addEventListener("blur", () => this.release());
    setInterval(() => this.commands() && this.send("{}"), BEAT);
  }

  reset() {
    this.success = null;
    this.reached = new Set();
    this.progress(0);
    $("note").value = "";
    $("exclude").open = false;
    this.marks();
  }

  commands() { return this.now?.hand?.in_command && this.now.hand.by === this.page(); }

  async ask(ask) {
    // One that waits for its answer is not asked twice; hold and stop always are.
    const name = ask.ask, body = JSON.stringify(ask);
    if (this.waiting === body && name !== "hold" && name !== "stop") return false;
    this.waiting = body;
    this.say(`${name.replace("_", " ")} ...`, true);
    try {
      const answer = await fetch("act", { method: "POST", body });
      const { ok, said } = await answer.json();
      this.say(ok ? `${name.replace("_", " ")}: ${said || "done"}` : said, ok);
      return ok;
    } catch (error) {
      this.say(`${name}: the panel does not answer`, false);
      return false;
    } finally { if (this.waiting === body) this.waiting = null; }
  }

  start() {
    const instruction = $("instruction").value.trim();
    if (!instruction) return this.say("write what the arm is to do first", false);
    $("instruction").blur();
    this.ask({ ask: "start", instruction });
  }

  // What is scored: a trial of an evaluation, or an episode that was started here.
  trial() { const t = this.now?.eval; return t && t.phase !== "done" ? t : null; }
  scores() { const t = this.trial(); return t ? t.phase === "running" || t.phase === "scoring" : !!this.now?.episode; }

  answer(said) { const t = this.trial(); return t && this.ask({ ask: "trial", trial: t.trial, attempt: t.attempt, said }); }

  do(what) {
    const plain = { enable: "enable", end: "end", hold: "hold", stop: "stop", "hand-back": "hand_back", clutch: "clutch" };
    if (plain[what]) return this.ask({ ask: plain[what] });
    switch (what) {
      case "take-over": return this.ask({ ask: "take_over", page: this.page() });
      case "ready": return this.answer({ ready: {} });
      case "trial-end": return this.answer({ end: {} });
      case "success": case "failure": {
        this.success = what === "success";
        this.progress(this.success ? 100 : Math.min(Number($("progress").value), 95));
        this.marks();
        // The time that counts is when it was seen, not when the form was filled in.
        if (this.trial()?.phase === "running") this.answer({ end: {} });
        return;
      }
      case "score": return this.score();
      case "exclude-setup": return this.answer({ exclude: { hardware: false, note: $("note").value } });
      case "exclude-hardware": return this.answer({ exclude: { hardware: true, note: $("note").value } });
    }
  }

  async score() {
    if (!this.scores()) return;
    if (this.success === null) return this.say("success or failure? press s or f first", false);
    const score = { success: this.success, progress: Number($("progress").value), milestones: [...this.reached], note: $("note").value };
    $("note").blur();
    const stored = this.trial() ? await this.answer({ score }) : await this.ask({ ask: "score", ...score });
    if (stored) this.scored = performance.now();
    if (stored && !this.trial()) this.reset();
  }

  progress(value) { $("progress").value = value; $("progress-text").textContent = `${value} %`; }

  marks() {
    for (const [what, value] of [["success", true], ["failure", false]]) {
      document.querySelector(`[data-do=${what}]`).ariaPressed = String(this.success === value);
    }
    for (const button of $("milestones").children) button.ariaPressed = String(this.reached.has(button.dataset.name));
  }

  see(now) {
    this.now = now;
    const trial = now.eval, episode = now.episode;
    const key = trial ? `t${trial.trial}.${trial.attempt}` : episode ? `e${episode.number}` : "";
    if (key !== this.asked) { this.asked = key; this.reset(); this.milestones(trial?.milestones ?? []); }
    $("trial").hidden = !key;
    $("jog").hidden = !this.commands();
    if (!this.commands()) this.release();
    if (!key) return;
    const put = (id, text) => { if ($(id).textContent !== text) $(id).textContent = text; };
    const phase = trial?.phase;
    const words = { preparing: "the cell starts", setup: "set the scene up, then begin", running: "running", scoring: "how did it go?", done: "all trials are done" };
    put("trial-title", trial ? `Evaluation: ${trial.name}` : "Episode");
    put("trial-label", !trial ? `Episode ${episode.number}` : phase === "done" ? "Done" : trial.blind ? `Policy ${trial.label}` : trial.label);
    put("trial-where", !trial ? "score it when it is over" : phase === "done" ? `${trial.scored} trials` : `trial ${trial.trial + 1} of ${trial.trials}: ${words[phase]}`);
    put("trial-task", !trial ? `\u201c${episode.instruction}\u201d` : phase === "done" ? trial.note : `${trial.task}, start: ${trial.condition}. \u201c${trial.instruction}\u201d${trial.attempt > 1 ? ` Attempt ${trial.attempt}.` : ""} ${trial.note}`);
    const [secs, limit] = trial ? [trial.secs, trial.limit_secs] : [episode.secs, 0];
    $("clock").hidden = phase === "done" || phase === "preparing" || phase === "setup";
    $("clock-bar").style.width = limit ? `${Math.min(100, (100 * secs) / limit)}%` : "0";
    put("clock-text", limit ? `${secs.toFixed(1)} of ${limit.toFixed(0)} s` : `${secs.toFixed(1)} s`);
    $("trial-asks").hidden = !(phase === "setup" || phase === "running");
    document.querySelector("[data-do=ready]").hidden = phase !== "setup";
    document.querySelector("[data-do=trial-end]").hidden = phase !== "running";
    $("scoring").hidden = !this.scores();
    $("exclude").hidden = !trial || phase === "done" || phase === "preparing";
  }

  milestones(names) {
    $("milestones").replaceChildren(...names.map((name) => {
      const button = element("button", { type: "button", "data-name": name, "aria-pressed": "false" }, name);
      button.onclick = () => { this.reached.has(name) ? this.reached.delete(name) : this.reached.add(name); this.marks(); button.blur(); };
      return button;
    }));
    if (names.length) $("milestones").prepend("Reached ");
    if (names.length) $("milestones").append(element("kbd", {}, "m"));
  }

  nextMilestone() {
    const names = (this.trial()?.milestones ?? []);
    const next = names.find((name) => !this.reached.has(name));
    if (next) this.reached.add(next); else this.reached.clear();
    this.marks();
  }

  key(event) {
    const typing = event.target.matches?.("input:not([type=range])");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return event.target.blur?.();
    if (typing) {
      if (event.key === "Enter" && event.target.id === "note") { event.preventDefault(); this.score(); }
      return;
    }
    const took = () => { event.preventDefault(); };
    if (event.key === " ") { took(); return event.repeat ? undefined : this.do("hold"); }
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key === "x" && !event.repeat) { took(); return this.do("stop"); }
    if (this.commands()) {
      if (key === "Backspace") { took(); return this.do("hand-back"); }
      if (key === "c" && !event.repeat) { took(); return this.do("clutch"); }
      if (JOGS.some(([k]) => k === key)) { took(); if (!event.repeat) this.press(key); }
      return;
    }
    if (event.repeat) return;
    if (key === "i") { took(); return $("instruction").focus(); }
    const phase = this.trial()?.phase;
    if (phase === "setup" && key === "r") { took(); return this.do("ready"); }
    if (phase === "running" && key === "e") { took(); return this.do("trial-end"); }
    if (this.scores()) {
      const steps = { ArrowUp: 5, ArrowRight: 5, ArrowDown: -5, ArrowLeft: -5 };
      if (key === "s") { took(); return this.do("success"); }
      if (key === "f") { took(); return this.do("failure"); }
      if (key === "m") { took(); return this.nextMilestone(); }
      if (key === "n") { took(); return $("note").focus(); }
      if (/^[0-9]$/.test(key)) { took(); return this.progress(10 * Number(key)); }
      if (steps[key]) { took(); return this.progress(Math.max(0, Math.min(100, Number($("progress").value) + steps[key]))); }
      if (key === "Enter") { took(); return this.score(); }
      return;
    }
    // Nobody takes over by an Enter too many after a score.
    if (key === "Enter" && !this.trial() && performance.now() - this.scored > 2000) { took(); this.do("take-over"); }
  }

  press(key) {
    this.release(key);
    const once = () => (this.commands() ? this.send(JSON.stringify({ key })) : this.release());
    once();
    this.held.set(key, setInterval(once, REPEAT));
  }

  release(key) {
    for (const [of, timer] of this.held) {
      if (key === undefined || of === key.toLowerCase?.()) { clearInterval(timer); this.held.delete(of); }
    }
  }

  jogs() {
    const keys = JOGS.map(([key, what]) => {
      const button = element("button", { type: "button" }, element("kbd", {}, key), what);
      button.onpointerdown = (event) => { event.preventDefault(); button.setPointerCapture(event.pointerId); this.press(key); };
      button.onpointerup = button.onpointercancel = () => this.release(key);
      return button;
    });
    const clutch = element("button", { type: "button", class: "wide", "data-do": "clutch" }, element("span", {}, "clutch: open or close "), element("kbd", {}, "c"));
    $("jog").append(element("h2", {}, "The arm is yours: a press is a step"), element("div", { class: "keys" }, ...keys, clutch));
  }
}
