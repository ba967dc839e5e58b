// Drawings of the panel: the waterfall of stages, the arm from the side and from above, joints within their limits.
// Each takes what it shows and replaces what was there; nothing is remembered but how far the arm came.

const NS = "http://www.w3.org/2000/svg";

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function shape(name, attributes, ...children) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export const number = (value, digits = 1) => (value == null ? "-" : value.toFixed(digits).replace(/^-(0\.?0*)$/, "$1"));

// Bars begin where the stage before ended, on the scale of the whole budget; outlined boxes are what each stage was given.
// A stage over its budget is hatched, and says so.
export function waterfall(into, latency) {
  const whole = Math.max(latency.budget_ms, latency.sum_ms ?? 0, 1);
  const rows = [];
  let begun = 0, given = 0;
  for (const stage of latency.stages) {
    const over = stage.ms != null && stage.ms > stage.budget_ms;
    const svg = shape("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none" });
    const x = (ms) => (100 * ms) / whole;
    svg.append(shape("rect", { x: x(given), y: 0.7, width: Math.max(x(stage.budget_ms), 0.4), height: 8.6, fill: "none", stroke: "#8394a5", "stroke-width": 1, "vector-effect": "non-scaling-stroke" }));
    if (stage.ms != null) {
      const fill = over ? "#ff7a6b" : stage.model ? "#5fb8d6" : "#58c98b";
      svg.append(shape("rect", { x: x(begun), y: 2.4, width: Math.max(x(stage.ms), 0.5), height: 5.2, fill }));
      for (let at = 0; over && at < x(stage.ms); at += 2) {
        svg.append(shape("rect", { x: x(begun) + at, y: 2.4, width: 0.7, height: 5.2, fill: "#000" }));
      }
      begun += stage.ms;
    }
    given += stage.budget_ms;
    const text = element("span", { class: "number" }, `${over ? "over " : ""}${number(stage.ms)} `, element("small", {}, `/ ${number(stage.budget_ms)} ms`));
    rows.push(element("div", { class: over ? "stage over" : "stage" }, element("span", {}, stage.name), svg, text));
  }
  into.replaceChildren(...rows);
}

// Side: x and z; top: x and y. Solid where the arm is, dashed where it is wanted, dotted the box it should stay in. The
// view grows with what was seen and never jumps back.
const lowest = [-0.1, -0.1, 0], highest = [0.2, 0.1, 0.2];

export function pose(into, arm) {
  for (const point of [...(arm.points ?? []), ...(arm.wanted ?? []), ...(arm.workspace ?? [])]) {
    point.forEach((v, i) => { lowest[i] = Math.min(lowest[i], v); highest[i] = Math.max(highest[i], v); });
  }
  const view = (title, up) => {
    // One scale for both views: metres are metres.
    const size = 1.12 * Math.max(highest[0] - lowest[0], highest[1] - lowest[1], highest[2] - lowest[2]);
    const [left, low] = [(highest[0] + lowest[0] - size) / 2, (highest[up] + lowest[up] - size) / 2];
    const put = (p) => [p[0] - left, size - (p[up] - low)];
    const svg = shape("svg", { viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": `arm, ${title}` });
    const line = (points, more) => shape("polyline", { points: points.map((p) => put(p).join(",")).join(" "), fill: "none", "vector-effect": "non-scaling-stroke", "stroke-linejoin": "round", ...more });
    if (up === 2) svg.append(line([[left, 0, 0], [left + size, 0, 0]], { stroke: "#506172", "stroke-width": 1 }));
    if (arm.workspace) {
      const [[x, y, z], [X, Y, Z]] = arm.workspace;
      svg.append(line([[x, y, z], [X, y, z], [X, Y, Z], [x, Y, Z], [x, y, z]], { stroke: "#8394a5", "stroke-width": 1, "stroke-dasharray": "2 4" }));
    }
    if (arm.wanted) svg.append(line(arm.wanted, { stroke: "#f2c14e", "stroke-width": 2, "stroke-dasharray": "5 4" }));
    if (arm.points) {
      svg.append(line(arm.points, { stroke: "#eef3f7", "stroke-width": 5 }));
      for (const point of arm.points) {
        const [cx, cy] = put(point);
        svg.append(shape("circle", { cx, cy, r: 0.014 * size, fill: "#7db7ff" }));
      }
    } else {
      svg.append(shape("text", { x: 0.2 * size, y: size / 2, fill: "#a9b8c6", "font-size": 0.09 * size }, "no pose known"));
    }
    svg.append(shape("text", { x: 0.03 * size, y: 0.98 * size, fill: "#a9b8c6", "font-size": 0.07 * size }, title));
    return svg;
  };
  into.replaceChildren(view("side", 2), view("top", 1));
}

export function joints(into, arm) {
  const rows = arm.joints.map((joint) => {
    const x = (q) => (100 * (q - joint.lower)) / (joint.upper - joint.lower);
    const svg = shape("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none" });
    svg.append(shape("rect", { x: 0, y: 4, width: 100, height: 2, fill: "#506172" }));
    if (joint.wanted != null) svg.append(shape("rect", { x: x(joint.wanted) - 0.4, y: 0, width: 0.8, height: 10, fill: "#f2c14e" }));
    if (joint.q != null) svg.append(shape("rect", { x: x(joint.q) - 1.2, y: 2, width: 2.4, height: 6, fill: "#eef3f7" }));
    return element("div", { class: "joint" }, element("span", {}, joint.name), svg, element("span", {}, `${number(joint.q, 2)} rad`));
  });
  if (arm.gripper != null) {
    const svg = shape("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none" });
    svg.append(shape("rect", { x: 0, y: 4, width: 100, height: 2, fill: "#506172" }), shape("rect", { x: 0, y: 2, width: 100 * arm.gripper, height: 6, fill: "#eef3f7" }));
    rows.push(element("div", { class: "joint" }, element("span", {}, "gripper"), svg, element("span", {}, `${(100 * arm.gripper).toFixed(0)} %`)));
  }
  into.replaceChildren(...rows);
}
