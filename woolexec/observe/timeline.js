"use strict";
// A timeline on a canvas: a lane for each worker, runs coloured by function.  Times are in microseconds.

const seconds = (us) => {
  const size = Math.abs(us);
  if (size < 1e3) return `${us.toFixed(size < 10 ? 1 : 0)} µs`;
  if (size < 1e6) return `${(us / 1e3).toFixed(size < 1e4 ? 2 : 1)} ms`;
  return size < 6e7 ? `${(us / 1e6).toFixed(size < 1e7 ? 2 : 1)} s` : `${Math.floor(us / 6e7)} min ${Math.round((us / 1e6) % 60)} s`;
};

// The lanes hold runs in columns: start, end, name, waited, transfer, outcome, call, depth; sorted by their start.
// Waited and transfer are null where they are not known.
class Lane {
  constructor(host, name) {
    Object.assign(this, { host, name, s: [], e: [], n: [], w: [], t: [], o: [], c: [], depth: [], stack: [], levels: 1 });
  }
  add(start, end, name, waited, transfer, outcome, call) {
    while (this.stack.length && this.stack.at(-1) <= start + 0.01) this.stack.pop();
    this.depth.push(this.stack.length);
    this.stack.push(end);
    this.levels = Math.max(this.levels, this.stack.length);
    this.s.push(start); this.e.push(end); this.n.push(name); this.w.push(waited);
    this.t.push(transfer); this.o.push(outcome); this.c.push(call);
  }
  // The first run that may reach into what begins at `time`: long ones may begin long before it.
  from(time) {
    let low = 0, high = this.s.length;
    while (low < high) { const middle = (low + high) >> 1; if (this.s[middle] < time) low = middle + 1; else high = middle; }
    for (let at = low - 1, steps = 0; at >= 0 && steps < 4096; at--, steps++) if (this.e[at] > time) low = at;
    return low;
  }
  drop(count) {
    for (const column of ["s", "e", "n", "w", "t", "o", "c", "depth"]) this[column].splice(0, count);
  }
}

class Timeline {
  constructor(box, data, say) {
    this.box = box; this.data = data; this.say = say;
    this.canvas = box.querySelector("canvas"); this.tip = box.querySelector(".tip");
    this.begin = 0; this.end = 1; this.top = 0; this.only = null; this.chosen = null; this.follow = false;
    this.row = 20; this.head = 24; this.left = 150;
    new ResizeObserver(() => this.draw()).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.shiftKey) this.scroll(event.deltaY || event.deltaX);
      else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.pan(event.deltaX / this.width);
      else this.zoom(Math.exp(event.deltaY / 400), event.offsetX);
    }, { passive: false });
    const fingers = new Map();
    this.canvas.addEventListener("pointerdown", (event) => {
      fingers.set(event.pointerId, event); this.canvas.setPointerCapture(event.pointerId); this.moved = 0;
    });
    this.canvas.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) { this.hover(event); return; }
      fingers.set(event.pointerId, event);
      this.moved += Math.abs(event.offsetX - before.offsetX) + Math.abs(event.offsetY - before.offsetY);
      if (fingers.size === 2) {
        const other = [...fingers.values()].find((each) => each.pointerId !== event.pointerId);
        const was = Math.abs(before.offsetX - other.offsetX), is = Math.abs(event.offsetX - other.offsetX);
        if (was > 8 && is > 8) this.zoom(was / is, (event.offsetX + other.offsetX) / 2);
      } else { this.pan((before.offsetX - event.offsetX) / this.width); this.scroll(before.offsetY - event.offsetY); }
    });
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, (event) => {
      if (fingers.delete(event.pointerId) && end === "pointerup" && this.moved < 4) this.choose(this.at(event.offsetX, event.offsetY));
    });
    this.canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  get width() { return Math.max(40, this.canvas.clientWidth - this.left); }
  get span() { return this.end - this.begin; }
  bounds() {
    let first = Infinity, last = -Infinity;
    for (const lane of this.data.lanes) if (lane.s.length) {
      first = Math.min(first, lane.s[0]);
      for (let at = Math.max(0, lane.e.length - 64); at < lane.e.length; at++) last = Math.max(last, lane.e[at]);
    }
    return first < last ? [first, last] : [0, 1e6];
  }
  fit() {
    const [first, last] = this.bounds(), edge = (last - first) * 0.01;
    this.begin = first - edge; this.end = last + edge; this.draw();
  }
  zoom(factor, x = this.left + this.width / 2) {
    const time = this.begin + ((x - this.left) / this.width) * this.span;
    const span = Math.min(1e12, Math.max(0.5, this.span * factor)), share = (time - this.begin) / this.span;
    this.begin = time - share * span; this.end = this.begin + span; this.follow = false; this.draw();
  }
  pan(share) { const by = share * this.span; this.begin += by; this.end += by; this.follow = false; this.draw(); }
  scroll(by) { this.top += by; this.draw(); }
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const acts = {
      ArrowLeft: () => this.pan(-0.15), ArrowRight: () => this.pan(0.15), a: () => this.pan(-0.15), d: () => this.pan(0.15),
      ArrowUp: () => this.scroll(-3 * this.row), ArrowDown: () => this.scroll(3 * this.row),
      "+": () => this.zoom(0.6), "=": () => this.zoom(0.6), w: () => this.zoom(0.6),
      "-": () => this.zoom(1 / 0.6), s: () => this.zoom(1 / 0.6), 0: () => this.fit(), Home: () => this.fit(),
      n: () => this.step(1), p: () => this.step(-1), Escape: () => this.choose(null),
    };
    const act = acts[event.key];
    if (act) { event.preventDefault(); act(); }
  }
  // Choose the next run in the lane of the chosen one, and bring it into view.
  step(by) {
    const { lanes } = this.data;
    let [lane, at] = this.chosen || [lanes.findIndex((each) => each.s.length), by > 0 ? -1 : 0];
    if (lane < 0) return;
    at += by;
    if (at < 0 || at >= lanes[lane].s.length) return;
    const start = lanes[lane].s[at], end = lanes[lane].e[at];
    if (start < this.begin || end > this.end) {
      const span = Math.max(this.span, (end - start) * 1.2), middle = (start + end) / 2;
      this.begin = middle - span / 2; this.end = middle + span / 2;
    }
    this.choose([lane, at]);
  }
  choose(which) { this.chosen = which; this.say(which); this.draw(); }

  draw() { if (!this.asked) { this.asked = true; requestAnimationFrame(() => { this.asked = false; this.paint(); }); } }
  // Where each lane begins; hosts have a line of their own.
  layout() {
    const rows = []; let y = this.head, host = null;
    this.data.lanes.forEach((lane, index) => {
      if (lane.host !== host) { host = lane.host; rows.push({ y, host }); y += this.row; }
      rows.push({ y, lane, index }); y += this.row;
    });
    this.height = y + 8;
    return rows;
  }
  paint() {
    const { canvas, data } = this, width = canvas.clientWidth, height = canvas.clientHeight, scale = devicePixelRatio || 1;
    if (!width || !height) return;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale); canvas.height = Math.round(height * scale);
    }
    this.left = width < 560 ? 84 : 168;
    const css = getComputedStyle(canvas), colour = (name) => css.getPropertyValue(`--${name}`).trim();
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const font = css.fontFamily, ink = colour("ink"), soft = colour("soft"), line = colour("line"), panel = colour("panel");
    const colours = data.names.map((name, index) => colour(`f${Math.min(data.rank ? data.rank[index] : index, 9)}`));
    const bad = { failed: colour("failed"), lost: colour("lost"), running: colour("running") };
    this.rows = this.layout();
    this.top = Math.max(0, Math.min(this.top, this.height - height));
    const px = this.width / this.span, x = (time) => this.left + (time - this.begin) * px;

    pen.textBaseline = "middle"; pen.font = `11px ${font}`;
    const step = this.tick();
    const from = Math.ceil(this.begin / step) * step;
    for (let time = from; time < this.end; time += step) {
      pen.fillStyle = line; pen.fillRect(Math.round(x(time)), this.head, 1, height);
    }
    pen.save(); pen.beginPath(); pen.rect(0, this.head, width, height - this.head); pen.clip();
    for (const { y: at, host, lane, index } of this.rows) {
      const y = at - this.top;
      if (y + this.row < this.head || y > height) continue;
      if (!lane) {
        pen.fillStyle = soft; pen.font = `600 11px ${font}`; pen.fillText(host, 6, y + this.row / 2 + 2); pen.font = `11px ${font}`;
        pen.fillStyle = line; pen.fillRect(0, y, width, 1);
        continue;
      }
      pen.save(); pen.beginPath(); pen.rect(this.left, this.head, width, height); pen.clip();
      let lastX = -1, lastName = -1;
      for (let run = lane.from(this.begin); run < lane.s.length && lane.s[run] < this.end; run++) {
        const name = lane.n[run], off = this.only !== null && this.only !== name;
        const a = x(lane.s[run]), b = Math.max(x(lane.e[run]), a + 0.7);
        const chosen = this.chosen && this.chosen[0] === index && this.chosen[1] === run;
        if (b - lastX < 0.5 && name === lastName && !chosen) continue;  // it would not be seen
        lastX = b; lastName = name;
        const inset = Math.min(lane.depth[run] * 3, this.row / 2 - 3), outcome = lane.o[run];
        pen.globalAlpha = off ? 0.15 : 1;
        pen.fillStyle = colours[name]; pen.fillRect(a, y + 2 + inset, b - a, this.row - 4 - inset);
        if (bad[outcome]) { pen.fillStyle = bad[outcome]; pen.fillRect(a, y + this.row - 5, b - a, 3); }
        if (b - a > 34 && !off) {
          pen.fillStyle = "#fff"; pen.save(); pen.beginPath(); pen.rect(a, y, b - a - 3, this.row); pen.clip();
          pen.fillText(data.names[name], Math.max(a, this.left) + 4, y + this.row / 2 + inset / 2); pen.restore();
        }
        if (chosen) {  // what came before it, below its lane's runs
          const sent = lane.s[run] - lane.t[run];
          pen.fillStyle = colour("waiting"); pen.fillRect(x(sent - lane.w[run]), y + this.row - 4, lane.w[run] * px, 4);
          pen.fillStyle = colour("starting"); pen.fillRect(x(sent), y + this.row - 4, lane.t[run] * px, 4);
        }
        if (chosen) { pen.strokeStyle = ink; pen.lineWidth = 2; pen.strokeRect(a - 1, y + 1, b - a + 2, this.row - 2); }
      }
      pen.globalAlpha = 1; pen.restore();
      pen.fillStyle = ink; pen.save(); pen.beginPath(); pen.rect(0, y, this.left - 6, this.row); pen.clip();
      pen.fillText(width < 560 ? lane.name.replace("worker ", "").replace(", lane", " ·") : lane.name, width < 560 ? 6 : 16, y + this.row / 2); pen.restore();
    }
    this.arrows(pen, x, colour("ink"));
    pen.restore();
    pen.fillStyle = panel; pen.fillRect(0, 0, width, this.head);
    pen.fillStyle = line; pen.fillRect(0, this.head - 1, width, 1); pen.fillRect(this.left - 1, 0, 1, height);
    pen.fillStyle = soft;
    for (let time = from; time < this.end; time += step) {
      const text = this.data.label ? this.data.label(time) : seconds(time), at = x(time);
      if (at > this.left - 4 && at + 8 < width) pen.fillText(text, at + 4, this.head / 2);
    }
  }
  tick() {
    const least = (this.span / this.width) * 84;
    let step = 10 ** Math.floor(Math.log10(least));
    for (const factor of [1, 2, 5, 10]) if (step * factor >= least) return step * factor;
    return step * 10;
  }
  // The arrows to and from the chosen run.
  arrows(pen, x, ink) {
    if (!this.chosen || !this.data.arrows) return;
    const [at, run] = this.chosen, lane = this.data.lanes[at], start = lane.s[run], end = lane.e[run];
    const middle = (index) => { const row = this.rows.find((each) => each.index === index); return row.y - this.top + this.row / 2; };
    pen.strokeStyle = ink; pen.fillStyle = ink; pen.lineWidth = 1.4;
    for (const [from, left, to, right, kind] of this.data.arrows) {
      const goes = from === at && left >= start && left <= end, comes = to === at && Math.abs(right - start) < 0.01;
      if (!goes && !comes) continue;
      const [x1, y1, x2, y2] = [x(left), middle(from), x(right), middle(to)], bend = Math.max(12, Math.abs(x2 - x1) / 3);
      pen.setLineDash(kind === "value" ? [] : [4, 3]);
      pen.beginPath(); pen.moveTo(x1, y1); pen.bezierCurveTo(x1 + bend, y1, x2 - bend, y2, x2, y2); pen.stroke();
      pen.setLineDash([]); pen.beginPath(); pen.moveTo(x2, y2); pen.lineTo(x2 - 6, y2 - 3.5); pen.lineTo(x2 - 6, y2 + 3.5); pen.fill();
    }
  }
  at(x, y) {
    const row = (this.rows || []).find((each) => each.lane && y + this.top >= each.y && y + this.top < each.y + this.row);
    if (!row || x < this.left || y < this.head) return null;
    const time = this.begin + ((x - this.left) / this.width) * this.span, slack = (2 * this.span) / this.width;
    let best = null;
    for (let run = row.lane.from(time - slack); run < row.lane.s.length && row.lane.s[run] <= time + slack; run++)
      if (row.lane.e[run] >= time - slack && (best === null || row.lane.depth[run] >= row.lane.depth[best])) best = run;
    return best === null ? null : [row.index, best];
  }
  hover(event) {
    const hit = this.at(event.offsetX, event.offsetY);
    this.tip.hidden = !hit;
    if (!hit) return;
    const lane = this.data.lanes[hit[0]];
    this.tip.textContent = `${this.data.names[lane.n[hit[1]]]} · ${seconds(lane.e[hit[1]] - lane.s[hit[1]])}`;
    this.tip.style.left = `${Math.min(event.offsetX + 12, this.canvas.clientWidth - this.tip.offsetWidth - 4)}px`;
    this.tip.style.top = `${Math.min(event.offsetY + 14, this.canvas.clientHeight - this.tip.offsetHeight - 4)}px`;
  }
}

// Fill a legend: a button for each function, which shows only its runs.
const legend = (box, timeline, functions) => {
  box.replaceChildren(...functions.map(([index, count, total], rank) => {
    const button = document.createElement("button"), mark = document.createElement("i"), name = document.createElement("span"), figures = document.createElement("span");
    mark.style.background = `var(--f${Math.min(rank, 9)})`;
    name.textContent = timeline.data.names[index];
    figures.textContent = `${count.toLocaleString("en")} × · ${seconds(total)}`; figures.className = "soft";
    button.append(mark, name, figures); button.title = timeline.data.names[index];
    button.setAttribute("aria-pressed", timeline.only === index);
    button.addEventListener("click", () => {
      timeline.only = timeline.only === index ? null : index;
      for (const other of box.children) other.setAttribute("aria-pressed", other === button && timeline.only !== null);
      timeline.draw();
    });
    return button;
  }));
};

// Say all about one run, as text.
const facts = (box, timeline, which) => {
  const parts = [];
  const add = (name, value) => { const part = document.createElement("span"), label = document.createElement("span"); label.className = "soft"; label.textContent = `${name} `; part.append(label, value); parts.push(part); };
  if (which) {
    const lane = timeline.data.lanes[which[0]], at = which[1], name = document.createElement("b");
    name.textContent = timeline.data.names[lane.n[at]]; parts.push(name);
    add("ran", seconds(lane.e[at] - lane.s[at]));
    if (lane.w[at] !== null) { add("waited", seconds(lane.w[at])); add("transfer", seconds(lane.t[at])); }
    add("outcome", lane.o[at] === "failed" ? "raised" : lane.o[at] === "running" ? "still ran" : lane.o[at] || "returned");
    add("at", `${seconds(lane.s[at])}, ${lane.name}, ${lane.host}`);
    if (lane.c[at]) add("call", `${lane.c[at]}`);
  } else {
    const text = document.createElement("span"); text.className = "soft";
    text.append("Click a run, or press "); 
    for (const [key, what] of [["n", " and "], ["p", ": next and previous run · "], ["+", " "], ["−", ": zoom · "], ["←", " "], ["→", ": move · "], ["0", ": all"]]) {
      const sign = document.createElement("kbd"); sign.textContent = key; text.append(sign, what);
    }
    parts.push(text);
  }
  box.replaceChildren(...parts);
};
