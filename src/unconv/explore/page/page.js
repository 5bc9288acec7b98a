"use strict";
/* The page of `unconv explore`: what is chosen, what is looked at, and four questions to the
   server, of each of which the newest counts: preview, evidence, estimate, save. */

const byId = (id) => document.getElementById(id);
const WEIGHTS = { tv: "strength", sparse: "strength", hessian: "strength", dct: "strength", damp: "damp" };
const SETTLED = 350; // ms without a change, after which a part is restored carefully
const LARGE = 3; // screen pixels a pixel, from which pixels are shown as squares

const page = {
  start: null,
  family: null,
  numbers: {}, // family -> its numbers
  weight: null, // strength or damp; null: auto
  found: {}, // prior -> what auto took
  view: { x: 0, y: 0, zoom: 1 }, // the middle of the stage, in pixels of the picture
  cut: 0.5, // of the stage, where the divider is
  region: null, // that was restored
  curves: {}, // key -> Curve
};

/* ---- the server ---- */

async function ask(path, sent) {
  const options = sent === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(sent),
  };
  const reply = await fetch(path, options);
  const told = await reply.json();
  if (told.superseded) return null;
  if (!reply.ok) throw new Error(told.error || reply.statusText);
  return told;
}

/* ---- what is chosen ---- */

const familyOf = (name) => page.start.families.find((f) => f.name === name);

function choice() {
  const prior = byId("prior").value;
  const weight = WEIGHTS[prior] && !byId("weight-auto").checked ? page.weight : null;
  return {
    family: page.family,
    numbers: page.numbers[page.family],
    prior,
    strength: WEIGHTS[prior] === "strength" ? weight : null,
    damp: WEIGHTS[prior] === "damp" ? weight : null,
    light: byId("light").value,
  };
}

// A slider runs from 0 to 1; sizes are on a logarithmic scale, angles are not.
const valueAt = (p, t) => {
  const v = p.is_angle ? p.low + t * (p.high - p.low) : p.low * (p.high / p.low) ** t;
  return Math.min(Math.max(Number(v.toPrecision(3)), p.low), p.high);
};
const placeOf = (p, v) =>
  p.is_angle ? (v - p.low) / (p.high - p.low) : Math.log(v / p.low) / Math.log(p.high / p.low);

function showFamilies() {
  const box = byId("families");
  box.replaceChildren(...page.start.families.map((f) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = f.title || f.name;
    button.setAttribute("role", "radio");
    button.setAttribute("aria-checked", String(f.name === page.family));
    button.addEventListener("click", () => take(f.name));
    return button;
  }));
}

function take(family) {
  page.family = family;
  showFamilies();
  showParameters();
  changed();
  settle();
}

/** The likeliest psf of all families, as the picture tells it. */
async function estimate() {
  byId("auto").disabled = true;
  byId("found").className = "busy";
  byId("found").textContent = "reading it from the picture …";
  try {
    const told = await ask("estimate", { light: byId("light").value });
    byId("found").className = "";
    byId("found").textContent = told ? [told.found, ...told.doubts].join("; ") : "";
    if (told?.family) {
      page.numbers[told.family] = told.numbers;
      take(told.family);
    }
  } catch (error) {
    byId("found").className = "wrong";
    byId("found").textContent = error.message;
  }
  byId("auto").disabled = false;
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function showParameters() {
  const family = familyOf(page.family);
  byId("parameters").replaceChildren(...family.parameters.map((p, i) => parameterBox(p, i)));
  if (!family.parameters.length) byId("parameters").textContent = "The psf of the file.";
  family.parameters.forEach((_, i) => drawCurve(i));
}

function parameterBox(p, i) {
  const box = element("div", "parameter");
  const head = element("div", "head");
  const label = element("label", "", [p.name[0].toUpperCase() + p.name.slice(1), p.unit].filter(Boolean).join(", "));
  const number = element("input");
  Object.assign(number, { type: "number", min: p.low, max: p.high, step: "any", id: `number-${i}` });
  label.htmlFor = number.id;
  head.append(label, number);
  const curve = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  curve.setAttribute("viewBox", "0 0 100 100");
  curve.setAttribute("preserveAspectRatio", "none");
  curve.setAttribute("role", "img");
  curve.setAttribute("aria-label", `Evidence for each ${p.name}`);
  const slider = element("input");
  Object.assign(slider, { type: "range", min: 0, max: 1, step: 0.001, id: `slider-${i}` });
  slider.setAttribute("aria-label", p.name);
  const best = element("div", "best");
  const put = (value, isDone) => {
    page.numbers[page.family][i] = Math.min(Math.max(value, p.low), p.high);
    showNumber(i);
    changed();
    if (isDone) settle();
  };
  slider.addEventListener("input", () => put(valueAt(p, Number(slider.value)), false));
  slider.addEventListener("change", () => settle());
  number.addEventListener("change", () => put(Number(number.value) || p.low, true));
  box.append(head, curve, slider, best);
  box.put = put;
  requestAnimationFrame(() => showNumber(i));
  return box;
}

function showNumber(i) {
  const p = familyOf(page.family).parameters[i];
  const value = page.numbers[page.family][i];
  byId(`number-${i}`).value = value;
  byId(`slider-${i}`).value = placeOf(p, value);
  byId(`slider-${i}`).setAttribute("aria-valuetext", `${value} ${p.unit}`);
  familyOf(page.family).parameters.forEach((_, j) => drawCurve(j));
}

function showWeight() {
  const prior = byId("prior").value;
  const name = WEIGHTS[prior];
  byId("weight-row").hidden = !name;
  if (!name) return;
  const auto = byId("weight-auto").checked;
  const found = page.found[prior];
  byId("weight-name").textContent = name[0].toUpperCase() + name.slice(1);
  byId("weight").disabled = !found;
  const value = auto ? found : page.weight;
  byId("weight-value").textContent = value ? value.toPrecision(2) : "auto";
}

/* ---- evidence ---- */

function curveKey(i) {
  const others = page.numbers[page.family].filter((_, j) => j !== i);
  return JSON.stringify([page.family, i, others, byId("light").value === "linear"]);
}

async function askEvidence() {
  const family = page.family;
  for (let i = 0; i < familyOf(family).parameters.length; i++) {
    const key = curveKey(i);
    if (page.curves[key]) continue;
    drawCurve(i, "reading the evidence …");
    const curve = await ask("evidence", { choice: choice(), along: i });
    if (!curve) return; // somebody moved on
    page.curves[key] = curve;
    if (page.family === family) drawCurve(i);
  }
}

function drawCurve(i, waiting) {
  const box = byId("parameters").children[i];
  if (!box || !box.put) return;
  const p = familyOf(page.family).parameters[i];
  const value = page.numbers[page.family][i];
  const curve = page.curves[curveKey(i)];
  const svg = box.querySelector("svg");
  const best = box.querySelector(".best");
  const svgElement = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, v] of Object.entries(attributes)) made.setAttribute(key, v);
    return made;
  };
  const x = 100 * placeOf(p, value);
  const here = svgElement("line", { class: "here", x1: x, x2: x, y1: 0, y2: 100 });
  if (!curve) {
    svg.replaceChildren(here);
    best.textContent = waiting || "";
    return;
  }
  const lowest = Math.min(...curve.evidence, -10);
  const points = curve.values.map(
    (v, j) => `${(100 * placeOf(p, v)).toFixed(2)},${(6 + 92 * (curve.evidence[j] / lowest)).toFixed(2)}`,
  );
  const ends = [points[0], points[points.length - 1]].map((point) => point.split(",")[0]);
  svg.replaceChildren(
    svgElement("polygon", { class: "area", points: `${ends[0]},100 ${points.join(" ")} ${ends[1]},100` }),
    svgElement("polyline", { class: "line", points: points.join(" ") }),
    here,
  );
  const top = curve.values[curve.evidence.indexOf(Math.max(...curve.evidence))];
  const take = element("button", "", `Take ${top} ${p.unit}`.trim());
  take.type = "button";
  take.disabled = top === value;
  take.addEventListener("click", () => box.put(top, true));
  best.replaceChildren(element("span", "", "Evidence in the picture"), take);
}

/* ---- previews: one at a time, the newest choice next ---- */

let asking = false, waiting = false, settling = 0;

function changed() {
  byId("after").classList.add("old");
  waiting = true;
  if (!asking) preview();
}

async function preview() {
  asking = true;
  while (waiting) {
    waiting = false;
    try {
      show(await ask("preview", { choice: choice(), region: wantedRegion(), carefully: false }), false);
    } catch (error) {
      tell(error.message, "wrong");
    }
  }
  asking = false;
}

function settle() {
  clearTimeout(settling);
  settling = setTimeout(settled, SETTLED);
}

async function settled() {
  if (asking) return settle();
  const mine = JSON.stringify([choice(), wantedRegion()]);
  const isMine = () => mine === JSON.stringify([choice(), wantedRegion()]);
  const name = byId("prior").value;
  tell(`Restoring with ${name === "auto" ? "the prior that auto takes" : name} …`, "busy");
  follow();
  askEvidence().catch((error) => tell(error.message, "wrong"));
  try {
    const made = await ask("preview", { choice: choice(), region: wantedRegion(), carefully: true });
    if (made && isMine()) show(made, true);
  } catch (error) {
    if (isMine()) tell(error.message, "wrong");
  }
}

function show(made, isCareful) {
  if (!made) return;
  page.region = made.region;
  byId("before").src = made.before;
  byId("after").src = made.after;
  byId("before").hidden = byId("after").hidden = false;
  byId("command").textContent = made.command;
  byId("made-by").textContent = isCareful ? `after: ${made.prior}` : `after: ${made.prior}, quick`;
  const seconds = `${made.seconds.toFixed(2)} s`;
  const quick = made.prior === "wiener" ? "Quick preview by a Wiener filter" : "Quick preview";
  tell(isCareful ? `Restored with ${made.prior} in ${seconds}` : `${quick}, ${seconds}`);
  byId("said").replaceChildren(...made.said.map((sentence) => element("li", "", `${sentence}.`)));
  const found = made.strength ?? made.damp;
  if (isCareful && found && byId("weight-auto").checked) page.found[byId("prior").value] = found;
  showWeight();
  drawPsf(made.psf);
  place();
}

function drawPsf(psf) {
  const canvas = byId("psf");
  const side = Math.max(psf.rows, psf.columns, 15);
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  const image = context.createImageData(psf.columns, psf.rows);
  psf.levels.forEach((level, i) => image.data.set([level, level, level, 255], 4 * i));
  context.fillRect(0, 0, side, side);
  context.putImageData(image, Math.floor((side - psf.columns) / 2), Math.floor((side - psf.rows) / 2));
  byId("psf-size").textContent = `${psf.columns} × ${psf.rows}`;
}

function tell(sentence, kind = "") {
  byId("status").textContent = sentence;
  byId("status").className = kind;
}

const percent = (fraction) => (typeof fraction === "number" ? `${Math.round(100 * fraction)} %` : "");

let following = false;
async function follow() {
  if (following) return;
  following = true;
  while (byId("status").className === "busy" || saving) {
    await new Promise((done) => setTimeout(done, 400));
    const { step, fraction } = await ask("state").catch(() => ({ step: "" }));
    const line = saving ? byId("saved") : byId("status");
    if (step && line.className === "busy") line.textContent = `${step[0].toUpperCase()}${step.slice(1)} … ${percent(fraction)}`;
  }
  following = false;
}

/* ---- what is looked at ---- */

const stage = byId("stage");

function leastZoom() {
  const [W, H] = page.start.size, { clientWidth: w, clientHeight: h } = stage;
  const whole = Math.min(w / W, h / H);
  return W * H <= page.start.largest_area ? Math.min(whole, 1) : Math.sqrt((w * h) / page.start.largest_area);
}

function wantedRegion() {
  const [W, H] = page.start.size, { clientWidth: w, clientHeight: h } = stage;
  const width = Math.min(W, Math.floor(Math.sqrt((page.start.largest_area * w) / h)));
  const height = Math.min(H, Math.floor(page.start.largest_area / width));
  const wide = Math.min(W, Math.floor(page.start.largest_area / height));
  const inside = (middle, size, all) => Math.round(Math.min(Math.max(middle - size / 2, 0), all - size));
  return { x: inside(page.view.x, wide, W), y: inside(page.view.y, height, H), width: wide, height };
}

function put(image, region) {
  const { x, y, zoom } = page.view;
  Object.assign(image.style, {
    left: `${(region.x - x) * zoom + stage.clientWidth / 2}px`,
    top: `${(region.y - y) * zoom + stage.clientHeight / 2}px`,
    width: `${region.width * zoom}px`,
    height: `${region.height * zoom}px`,
  });
  image.classList.toggle("large", zoom >= LARGE);
}

function place() {
  const [W, H] = page.start.size;
  put(byId("overview"), { x: 0, y: 0, width: W, height: H });
  const cut = page.cut * stage.clientWidth;
  if (page.region) {
    put(byId("before"), page.region);
    put(byId("after"), page.region);
    const hidden = Math.max(0, cut - parseFloat(byId("after").style.left));
    byId("after").style.clipPath = `inset(0 0 0 ${hidden}px)`;
  }
  byId("divider").style.left = `${cut}px`;
  byId("divider").setAttribute("aria-valuenow", Math.round(100 * page.cut));
  byId("zoom").textContent = `${Math.round(100 * page.view.zoom)} %`;
  const map = byId("map-picture"), scale = map.clientWidth / W;
  const w = Math.min(W, stage.clientWidth / page.view.zoom), h = Math.min(H, stage.clientHeight / page.view.zoom);
  const left = Math.min(Math.max(page.view.x - w / 2, 0), W - w), top = Math.min(Math.max(page.view.y - h / 2, 0), H - h);
  Object.assign(byId("map-view").style, {
    left: `${left * scale}px`, top: `${top * scale}px`, width: `${w * scale}px`, height: `${h * scale}px`,
  });
}

function look(x, y, zoom = page.view.zoom) {
  const [W, H] = page.start.size;
  zoom = Math.min(Math.max(zoom, leastZoom()), 16);
  const [halfWidth, halfHeight] = [stage.clientWidth / zoom / 2, stage.clientHeight / zoom / 2];
  const held = (v, half, all) => (2 * half >= all ? all / 2 : Math.min(Math.max(v, half), all - half));
  page.view = { x: held(x, halfWidth, W), y: held(y, halfHeight, H), zoom };
  place();
}

/** Restore what came into view, unless it was restored already. */
function looked() {
  const { x, y, zoom } = page.view, r = page.region, [W, H] = page.start.size;
  const w = stage.clientWidth / zoom / 2, h = stage.clientHeight / zoom / 2;
  const seen = r && Math.max(0, x - w) >= r.x - 1 && Math.min(W, x + w) <= r.x + r.width + 1
    && Math.max(0, y - h) >= r.y - 1 && Math.min(H, y + h) <= r.y + r.height + 1;
  if (seen) return;
  changed();
  settle();
}

function zoomBy(factor, px = stage.clientWidth / 2, py = stage.clientHeight / 2) {
  const { x, y, zoom } = page.view;
  const next = Math.min(Math.max(zoom * factor, leastZoom()), 16);
  const dx = px - stage.clientWidth / 2, dy = py - stage.clientHeight / 2;
  look(x + dx / zoom - dx / next, y + dy / zoom - dy / next, next);
  looked();
}

function listenToStage() {
  let from = null;
  stage.addEventListener("pointerdown", (event) => {
    if (event.button || event.target.closest("button")) return;
    const isDivider = event.target.closest("#divider") !== null;
    from = { x: event.clientX, y: event.clientY, view: page.view, isDivider };
    stage.setPointerCapture(event.pointerId);
    stage.classList.toggle("moving", !isDivider);
  });
  stage.addEventListener("pointermove", (event) => {
    if (!from) return;
    if (from.isDivider) cutAt((event.clientX - stage.getBoundingClientRect().left) / stage.clientWidth);
    else {
      const { x, y, zoom } = from.view;
      look(x - (event.clientX - from.x) / zoom, y - (event.clientY - from.y) / zoom, zoom);
    }
  });
  const end = () => {
    if (from && !from.isDivider) looked();
    from = null;
    stage.classList.remove("moving");
  };
  stage.addEventListener("pointerup", end);
  stage.addEventListener("pointercancel", end);
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = stage.getBoundingClientRect();
    zoomBy(Math.exp(-event.deltaY * 0.0015), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  byId("divider").addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
    if (step) cutAt(page.cut + step);
  });
  byId("in").addEventListener("click", () => zoomBy(1.5));
  byId("out").addEventListener("click", () => zoomBy(1 / 1.5));
  byId("map").addEventListener("pointerdown", (event) => {
    const box = byId("map-picture").getBoundingClientRect(), [W, H] = page.start.size;
    look(((event.clientX - box.left) / box.width) * W, ((event.clientY - box.top) / box.height) * H);
    looked();
  });
  new ResizeObserver(() => { look(page.view.x, page.view.y); }).observe(stage);
}

function cutAt(part) {
  page.cut = Math.min(Math.max(part, 0), 1);
  place();
}

/* ---- save and copy ---- */

let saving = false;

async function save() {
  saving = true;
  byId("save").disabled = true;
  byId("cancel").hidden = false;
  byId("saved").className = "busy";
  byId("saved").textContent = "Restoring the whole picture …";
  follow();
  try {
    const made = await ask("save", { choice: choice() });
    byId("saved").className = "";
    if (made) byId("command").textContent = made.command;
    byId("saved").textContent = made ? `Saved ${made.path}. ${made.said.join(" ")}` : "Cancelled; nothing was written.";
  } catch (error) {
    byId("saved").className = "wrong";
    byId("saved").textContent = error.message;
  }
  saving = false;
  byId("save").disabled = false;
  byId("cancel").hidden = true;
}

async function copy() {
  await navigator.clipboard.writeText(byId("command").textContent);
  byId("copy").textContent = "Copied";
  setTimeout(() => { byId("copy").textContent = "Copy command"; }, 1500);
}

/* ---- start ---- */

function options(select, names, chosen, words = {}) {
  select.replaceChildren(...names.map((name) => new Option(words[name] || name, name, false, name === chosen)));
}

async function start() {
  page.start = await ask("start");
  const { name, size, families, priors, lights, light, overview } = page.start;
  document.title = `${name} – unconv explore`;
  byId("name").textContent = name;
  byId("size").textContent = `${size[0]} × ${size[1]} pixels`;
  byId("overview").src = byId("map-picture").src = overview;
  await byId("map-picture").decode();
  for (const f of families) page.numbers[f.name] = f.parameters.map((p) => p.start);
  page.family = (families.find((f) => f.name === "file") || families.find((f) => f.name === "disk")).name;
  options(byId("prior"), priors, "auto", {
    auto: "auto", dct: "dct: few cosines in every block", tv: "tv: total variation",
    sparse: "sparse gradients", hessian: "hessian: second differences",
    wiener: "wiener: linear, least error", damp: "damp",
  });
  options(byId("light"), lights, light, {
    auto: "auto (shown as stored)", "as-is": "as stored", linear: "linear (a lens did it)",
  });
  byId("prior").addEventListener("change", () => {
    byId("weight-auto").checked = true;
    page.weight = null;
    showWeight();
    changed();
    settle();
  });
  byId("light").addEventListener("change", () => { changed(); settle(); });
  byId("weight-auto").addEventListener("change", () => {
    page.weight = byId("weight-auto").checked ? null : page.found[byId("prior").value] || null;
    byId("weight").value = 0;
    if (!page.weight) byId("weight-auto").checked = true;
    showWeight();
    changed();
    settle();
  });
  byId("weight").addEventListener("input", () => {
    byId("weight-auto").checked = false;
    const found = page.found[byId("prior").value];
    page.weight = Number((found * 2 ** Number(byId("weight").value)).toPrecision(3));
    showWeight();
    changed();
  });
  byId("weight").addEventListener("change", settle);
  byId("auto").addEventListener("click", estimate);
  byId("copy").addEventListener("click", copy);
  byId("save").addEventListener("click", save);
  byId("cancel").addEventListener("click", () => ask("cancel", {}));
  listenToStage();
  showFamilies();
  showParameters();
  showWeight();
  const whole = Math.min(stage.clientWidth / size[0], stage.clientHeight / size[1]);
  const isSmall = size[0] * size[1] <= page.start.largest_area;
  look(size[0] / 2, size[1] / 2, Math.max(leastZoom(), isSmall ? Math.min(whole, LARGE) : 1));
  changed();
  settle();
}

start().catch((error) => tell(error.message, "wrong"));
