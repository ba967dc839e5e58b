// Drawings of the panel: the waterfall of stages, the arm from the side and from above, joints within their limits.
// Each takes what it shows and replaces what was there; nothing is remembered but the arm's extent.

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

export const number = (value, digits = 1) => (value == null ? "-" : value.toFixed(digits));

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

// Side: x and z; top: x and y. Solid where the arm is, dashed where it is wanted, dotted the box it should stay in.
let reach = 0.2;

export function pose(into, arm) {
  const seen = [...(arm.points ?? []), ...(arm.wanted ?? [])];
  for (const point of seen) reach = Math.max(reach, ...point.map(Math.abs));
  for (const corner of arm.workspace ?? []) reach = Math.max(reach, ...corner.map(Math.abs));
  const view = (title, up, middle) => {
    const [width, height] = [2.7 * reach, 2 * reach];
    const put = (p) => [p[0] + 0.35 * reach, height - (p[up] + middle * reach)];
    const svg = shape("svg", { viewBox: `${-0.35 * reach} ${-0.05 * reach} ${width} ${height * 1.1}`, role: "img", "aria-label": `arm, ${title}` });
    const line = (points, more) => shape("polyline", { points: points.map((p) => put(p).join(",")).join(" "), fill: "none", "vector-effect": "non-scaling-stroke", "stroke-linejoin": "round", ...more });
    const ground = up === 2 ? [[-reach, 0, 0], [2 * reach, 0, 0]] : null;
    if (ground) svg.append(line(ground, { stroke: "#506172", "stroke-width": 1 }));
    if (arm.workspace) {
      const [a, b] = arm.workspace;
      const box = [[a[0], a[1], a[2]], [b[0], up === 1 ? a[1] : 0, a[2]], b, [a[0], b[1], b[2]], [a[0], a[1], a[2]]];
      svg.append(line(box, { stroke: "#8394a5", "stroke-width": 1, "stroke-dasharray": "2 4" }));
    }
    if (arm.wanted) svg.append(line(arm.wanted, { stroke: "#f2c14e", "stroke-width": 2, "stroke-dasharray": "5 4" }));
    if (arm.points) {
      svg.append(line(arm.points, { stroke: "#eef3f7", "stroke-width": 5 }));
      for (const point of arm.points) {
        const [cx, cy] = put(point);
        svg.append(shape("circle", { cx, cy, r: 0.022 * reach, fill: "#7db7ff" }));
      }
    } else {
      svg.append(shape("text", { x: 0, y: reach, fill: "#a9b8c6", "font-size": 0.16 * reach }, "no pose known"));
    }
    svg.append(shape("text", { x: -0.3 * reach, y: 0.12 * reach, fill: "#a9b8c6", "font-size": 0.13 * reach }, title));
    return svg;
  };
  into.replaceChildren(view("side", 2, 0.5), view("top", 1, 1));
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
