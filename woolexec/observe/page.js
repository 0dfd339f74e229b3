"use strict";
// The page of a pool.  `now` is the last snapshot; events bring it, and then what has changed in it.

let now = null, previous = null, tab = "live", chosenWorker = null;
const history_ = { at: [], rate: [], waiting: [] }, SHOWN = 120;  // seconds
const $ = (id) => document.getElementById(id);

// Make an element; texts are set as text, never as HTML.
const make = (kind, attributes = {}, ...children) => {
  const element = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "colour") element.style.setProperty("--c", `var(--${value})`);
    else if (name === "width") element.style.width = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.map((each) => (each instanceof Node ? each : `${each}`)));
  return element;
};
const count = (value) => Math.round(value || 0).toLocaleString("en");
const bytes = (value) => {
  let size = value || 0, unit = 0;
  while (size >= 1024 && unit < 4) { size /= 1024; unit++; }
  return `${unit && size < 100 ? size.toFixed(1) : Math.round(size)} ${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
};
const amount = (value) => (Number.isInteger(value) ? count(value) : Number(value.toPrecision(4)).toLocaleString("en"));
const time = (value) => seconds((value || 0) * 1e6);
const rate = (value) => (value >= 10 ? count(value) : value.toFixed(1));

const workers = () => Object.entries(now.workers).map(([id, worker]) => ({ id, ...worker }));
const functions = () => Object.entries(now.functions).map(([name, each]) => ({ name, ...each }));
const waiting = ({ tasks }) => tasks.held + tasks.queued + tasks.sent;  // for inputs, for a place, and at a place
const runsFor = (worker) => (worker.since ? Math.max(0, now.pool.now - worker.since) : 0);
const SIGNS = {{signs}}, SLOW = {{slow}};
// A task is stuck, as far as can be told, that has run many times longer than nearly all others of its function.
const stuck = (worker) => {
  const runs = now.functions[worker.task]?.run, ran = runsFor(worker);
  return worker.state === "running" && runs?.count >= SLOW.enough && ran > SLOW.after && ran > SLOW.factor * runs.p95;
};
const reporting = () => workers().filter((each) => each.progress && each.task);  // tasks that say how far they are
const stateOf = (worker) => (SIGNS[worker.state] ? worker.state : "idle");

// -- what is remarkable ------------------------------------------------------------------------------------------

function notes() {
  const found = [], all = workers();
  for (const worker of all.filter(stuck).sort((a, b) => runsFor(b) - runsFor(a)).slice(0, 4))
    found.push(["lost", `Worker ${worker.pid} has run ${worker.task} for ${time(runsFor(worker))}; nearly all others take less than ${time(now.functions[worker.task]?.run.p95)}.`, "stacks", "see where"]);
  for (const [address, peer] of Object.entries(now.peers)) {
    if (peer.trouble) found.push(["failed", `Peer ${address} has refused ${count(peer.refused)} calls, and can run none: ${peer.trouble}`, "peers", "see peers"]);
    else if (peer.refused) found.push(["failed", `Peer ${address} has refused ${count(peer.refused)} calls.`, "peers", "see peers"]);
  }
  for (const worker of all.filter((each) => each.lost).slice(-3)) found.push(["lost", `Worker ${worker.pid} was lost: ${worker.lost}`, "memory", "see workers"]);
  const slow = functions().filter((each) => each.run.count).sort((a, b) => b.run.p50 - a.run.p50)[0];
  const taken = slow && (slow.run.count > 1 ? `half of its ${count(slow.run.count)} calls take more than` : "its only call took");
  if (slow) found.push(["running", `${slow.name} is the slowest function: ${taken} ${time(slow.run.p50)}.`, "functions", "see functions"]);
  const known = all.filter((each) => each.memory).sort((a, b) => b.memory - a.memory), large = known[0];
  const sum = known.reduce((total, worker) => total + worker.memory, 0);
  if (large && large.memory * known.length > 1.5 * sum) found.push(["waiting", `Worker ${large.pid} uses the most memory: ${bytes(large.memory)} of ${bytes(sum)}${large.task ? `, while it runs ${large.task}` : ""}.`, "memory", "see memory"]);
  return found;
}

// -- views ---------------------------------------------------------------------------------------------------------

// Each view makes its elements once, and returns what brings them up to date.
const VIEWS = {
  live(box) {
    const tiles = {}, tileBox = make("div", { class: "tiles" });
    for (const [key, name, colour] of [["running", "running", "running"], ["waiting", "waiting or sent", "waiting"], ["returned", "returned", "done"], ["failed", "raised", "failed"], ["lost", "lost", "lost"], ["cancelled", "cancelled", "idle"]]) {
      tiles[key] = make("b", { "data-figure": `tasks.${key}` });
      tileBox.append(make("div", { class: "tile", colour }, tiles[key], make("span", {}, name)));
    }
    const charts = { rate: make("canvas"), waiting: make("canvas") };
    const title = { rate: make("h2"), waiting: make("h2") };
    const list = make("ul", { class: "notes" }), cells = new Map(), grid = make("div", { class: "grid" }), gridTitle = make("h2");
    const detail = make("p", { role: "status", class: "soft" });
    const far = make("div", { hidden: true }), refreshFar = table(far, "progress", "Progress", reporting, [
      ["task", (each) => each.task, (each) => each.task, "text"],
      ["", null, (each) => (each.progress[1] ? Math.min(100, Math.max(0, (100 * each.progress[0]) / each.progress[1])).toFixed(1) : ""), "wide", (each, part) => (part === "" ? "" : make("span", { class: "bar", width: `${part}%` }))],
      ["done", (each) => (each.progress[1] ? each.progress[0] / each.progress[1] : 0), (each) => `${amount(each.progress[0])}${each.progress[1] === null ? "" : ` of ${amount(each.progress[1])}`}`],
      ["what", (each) => each.progress[2], (each) => each.progress[2], "text"],
      ["for", runsFor, (each) => time(runsFor(each))],
      ["worker", (each) => each.pid, (each) => each.pid],
    ], "for", (each) => each.id);
    const keys = make("div", { class: "keys" }, ...["idle", "starting", "running", "waiting", "ending", "lost"].map((state) => make("span", {}, make("i", { class: "dot", colour: state }), `${SIGNS[state]} ${state}`)));
    box.append(tileBox,
      make("div", { class: "card" }, make("h2", {}, "Worth a look"), list),
      make("div", { class: "charts" }, make("div", { class: "card" }, title.rate, charts.rate), make("div", { class: "card" }, title.waiting, charts.waiting)),
      make("div", { class: "card" }, gridTitle, grid, keys, detail), far);
    let said = "";
    return () => {
      for (const [key, element] of Object.entries(tiles)) text(element, count(key === "waiting" ? waiting(now) : now.tasks[key]));
      text(title.rate, `Tasks a second: ${rate(history_.rate.at(-1) || 0)}`); text(title.waiting, `Waiting tasks: ${count(waiting(now))}`);
      chart(charts.rate, history_.at, history_.rate, "done"); chart(charts.waiting, history_.at, history_.waiting, "waiting");
      const found = notes(), saying = JSON.stringify(found);
      if (saying !== said && !list.contains(document.activeElement)) {
        said = saying;
        list.replaceChildren(...found.map(([colour, words, view, link]) => make("li", {}, make("i", { class: "dot", colour }), make("span", {}, words, " ", make("button", { onclick: () => show(view) }, link)))));
        if (!found.length) list.append(make("li", { class: "soft" }, "Nothing so far: no task has run."));
      }
      const all = workers();
      far.hidden = !reporting().length; if (!far.hidden) refreshFar();
      const states = {}; for (const worker of all) states[worker.state] = (states[worker.state] || 0) + 1;
      text(gridTitle, `Workers: ${count(all.length)}${all.length ? ` (${Object.keys(SIGNS).filter((state) => states[state]).map((state) => `${states[state]} ${state}`).join(", ")})` : ""}`);
      for (const worker of all) {
        let cell = cells.get(worker.id);
        if (!cell) {
          cell = make("button", { onclick: () => { chosenWorker = worker.id; update(); } });
          cells.set(worker.id, cell); grid.append(cell);
        }
        const state = stateOf(worker), late = stuck(worker), label = `worker ${worker.pid}: ${worker.state}${worker.task ? ` ${worker.task}` : ""}`;
        const key = `${state} ${late} ${label}`;
        if (cell.key === key) continue;
        cell.key = key; cell.style.setProperty("--c", `var(--${state})`); text(cell, SIGNS[state]);
        cell.classList.toggle("stuck", late); cell.title = label; cell.setAttribute("aria-label", label);
      }
      for (const [id, cell] of cells) if (!now.workers[id]) { cell.remove(); cells.delete(id); }
      const worker = now.workers[chosenWorker];
      text(detail, worker ? `Worker ${worker.pid} on ${worker.host}: ${worker.state}${worker.task ? ` ${worker.task} for ${time(runsFor(worker))}` : ""}, ${worker.coroutines ? `${count(worker.coroutines)} coroutines and streams, ` : ""}${worker.actor ? `for the actor ${worker.actor}, ` : ""}${count(worker.done)} calls done, ${bytes(worker.memory)}, ${time(worker.cpu)} of processor time${worker.lost ? `, lost: ${worker.lost}` : ""}` : "Choose a worker to see what it does.");
    };
  },

  timeline(box) {
    const figure = make("div", { class: "timeline" }, make("canvas", { tabindex: 0, role: "application", "aria-label": "timeline: arrows move, plus and minus zoom, n and p choose a run" }), make("div", { class: "tip", hidden: true }));
    const names = make("div", { class: "legend", role: "group", "aria-label": "functions" }), words = make("div", { class: "facts", role: "status" });
    const follow = make("button", { "aria-pressed": true, onclick: () => { view.follow = !view.follow; update(); } }, "follow");
    box.append(make("div", { class: "keys" }, follow, make("span", {}, "Tasks as they were seen a few times a second; pool.trace records each of them.")), names, figure, words);
    const view = new Timeline(figure, samples, (which) => facts(words, view, which));
    view.follow = true; view.choose(null);
    let legendOf = "";
    return () => {
      follow.setAttribute("aria-pressed", view.follow);
      const totals = samples.names.map((_, index) => [index, samples.counts[index], samples.totals[index]]).sort((a, b) => b[2] - a[2]).slice(0, 12);
      totals.forEach(([index], place) => { samples.rank[index] = place; });
      const key = totals.map((each) => each.join()).join(";");
      if (key !== legendOf && !names.contains(document.activeElement)) { legendOf = key; legend(names, view, totals); }
      if (view.follow) { const end = (now.pool.now - samples.zero) * 1e6; view.end = end; view.begin = end - Math.min(60e6, Math.max(10e6, end)); }
      view.draw();
    };
  },

  functions(box) {
    let most = 0;
    const rows = () => { const all = functions(); most = Math.max(0, ...all.map((each) => each.run.max)); return all; };
    return table(box, "functions", "Functions", rows, [
      ["function", (each) => each.name, (each) => each.name, "text"],
      ["calls", (each) => each.count, (each) => count(each.count)],
      ["raised", (each) => each.failures, (each) => count(each.failures), "failed"],
      ["lost", (each) => each.lost, (each) => count(each.lost), "lost"],
      ["total", (each) => each.run.total, (each) => time(each.run.total)],
      ["median", (each) => each.run.p50, (each) => time(each.run.p50)],
      ["95 %", (each) => each.run.p95, (each) => time(each.run.p95)],
      ["longest", (each) => each.run.max, (each) => time(each.run.max)],
      ["run times", null, (each) => `${each.run.min} ${each.run.p50} ${each.run.p95} ${each.run.max} ${most}`, null, (each) => plot(each.run, most)],
      ["waited", (each) => each.wait.p50, (each) => time(each.wait.p50)],
      ["in", (each) => each.bytes_in, (each) => bytes(each.bytes_in)],
      ["out", (each) => each.bytes_out, (each) => bytes(each.bytes_out)],
    ], "median", (each) => each.name, "Run times are on a logarithmic scale: a dot is the median, the thick part reaches to 95 %, the thin one from the shortest to the longest.");
  },

  memory(box) {
    const values = make("p");
    let most = 1;
    const rows = () => { const all = workers(); most = Math.max(1, ...all.map((each) => each.memory || 0)); return all; };
    box.append(make("div", { class: "card" }, make("h2", {}, "Values that are kept for tasks"), values));
    const refresh = table(box, "memory", "Workers", rows, [
      ["worker", (each) => each.pid, (each) => each.pid],
      ["memory", (each) => each.memory, (each) => (each.memory === null || each.memory === undefined ? "–" : bytes(each.memory))],
      ["", null, (each) => Math.max(0.5, (100 * (each.memory || 0)) / most).toFixed(1), "wide", (each, width) => make("span", { class: "bar", width: `${width}%` })],
      ["runs", (each) => each.task || "", (each) => each.task || "", "text"],
      ["for", runsFor, (each) => (each.task ? time(runsFor(each)) : "")],
      ["calls done", (each) => each.done, (each) => count(each.done)],
      ["processor", (each) => each.cpu, (each) => time(each.cpu)],
      ["host", (each) => each.host, (each) => each.host, "text"],
      ["lost", (each) => each.lost || "", (each) => each.lost || "", "text"],
    ], "memory", (each) => each.id);
    return () => { text(values, [["In memory", "count", "bytes"], ["in files", "spilled", "spilled_bytes"], ["at peers", "kept", "kept_bytes"]].map(([where, number, size]) => `${where} ${count(now.values[number])}, ${bytes(now.values[size])}`).join("; ") + "."); refresh(); };
  },

  peers(box) {
    const state = (each) => each.trouble || (each.is_full ? "no place is free now" : "");
    return table(box, "peers", "Peers", () => Object.entries(now.peers).map(([address, each]) => ({ address, ...each })), [
      ["peer", (each) => each.address, (each) => each.address, "text"],
      ["refused", (each) => each.refused, (each) => count(each.refused), "failed"],
      ["workers", (each) => each.workers, (each) => count(each.workers)],
      ["outstanding", (each) => each.outstanding, (each) => count(each.outstanding)],
      ["round trip", (each) => each.round_trip || 0, (each) => (each.round_trip ? time(each.round_trip) : "–")],
      ["sent", (each) => each.bytes_sent, (each) => bytes(each.bytes_sent)],
      ["received", (each) => each.bytes_received, (each) => bytes(each.bytes_received)],
      ["trouble", state, state, "text"],
    ], "refused", (each) => each.address, "A peer refuses a call when no place is free there, or because of its trouble; the call runs elsewhere, or later.");
  },

  stacks(box) {
    const list = make("div", { class: "card" }), button = make("button", { onclick: () => look() }, "Look again"), state = make("span", { class: "soft", role: "status" });
    box.append(make("div", { class: "keys" }, button, state), list);
    const look = async () => {
      text(state, "asking the workers …");
      try {
        const answer = await fetch(`stacks${location.search}`);
        if (!answer.ok) throw new Error(await answer.text());
        const found = await answer.json();
        text(state, `${count(found.length)} running tasks, longest first`);
        list.replaceChildren(...found.map((each, index) => make("details", { open: index < 5 }, make("summary", {}, `${each.function} for ${time(each.seconds)}, worker ${each.pid} on ${each.host}${each.peer ? ` (peer ${each.peer})` : ""}${each.client ? `, of ${each.client}` : ""}${each.note ? ` – ${each.note}` : ""}`), make("pre", {}, each.stack || "no stack"))));
        if (!found.length) list.append("No task runs.");
      } catch (error) { text(state, `The stacks cannot be seen: ${error.message}`); }
    };
    look();
    return () => {};
  },
};

const text = (element, words) => { if (element.textContent !== words) element.textContent = words; };

// A table whose rows stay the same elements.  Columns: title, what is sorted by, what is shown, a class or a state, and
// what draws instead of text; a cell is touched only when what it shows has changed.
function table(box, name, title, rows, columns, by, key, note = "") {
  let order = by, down = true;
  const body = make("tbody"), known = new Map(), heads = columns.map(([head, value, , kind]) => {
    const cell = make("th", { scope: "col", class: kind === "text" ? "text" : null });
    cell.append(value ? make("button", { onclick: () => { down = order === head ? !down : true; order = head; refresh(); } }, head) : head);
    return cell;
  });
  const empty = make("p", { class: "soft" }, "None so far.");
  box.append(make("div", { class: "card" }, make("h2", {}, title), make("div", { class: "scroll" }, make("table", { "data-table": name }, make("thead", {}, make("tr", {}, ...heads)), body)), empty, note ? make("p", { class: "soft" }, note) : ""));
  const refresh = () => {
    const value = columns.find((each) => each[0] === order)[1], all = rows();
    all.sort((a, b) => { const x = value(a), y = value(b); return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1); });
    heads.forEach((cell, index) => { if (columns[index][0] === order) cell.setAttribute("aria-sort", down ? "descending" : "ascending"); else cell.removeAttribute("aria-sort"); });
    empty.hidden = all.length > 0;
    const seen = new Set(); let at = body.firstChild;
    for (const each of all.slice(0, 500)) {
      const id = key(each); seen.add(id);
      let row = known.get(id);
      if (!row) { row = make("tr", {}, ...columns.map(([, , , kind]) => make("td", { class: kind === "text" || kind === "wide" ? kind : null }))); known.set(id, row); }
      columns.forEach(([, value_, shown, kind, draw], index) => {
        const cell = row.children[index], words = `${shown(each)}`;
        if (cell.words === words) return;
        cell.words = words;
        if (draw) cell.replaceChildren(draw(each, words)); else cell.textContent = words;
        if (SIGNS[kind]) { cell.classList.toggle("bad", value_(each) > 0); cell.style.setProperty("--c", `var(--${kind})`); }
      });
      if (row === at) at = at.nextSibling; else body.insertBefore(row, at);
    }
    for (const [id, row] of known) if (!seen.has(id)) { row.remove(); known.delete(id); }
  };
  return refresh;
}

// The run times of a function, from 1 µs to the longest of all, logarithmic.
function plot(run, most) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), top = Math.log10(Math.max(most, 1e-5)) + 6;
  svg.setAttribute("class", "plot"); svg.setAttribute("viewBox", "0 0 220 18"); svg.setAttribute("role", "img");
  if (!run.count) return svg;
  svg.setAttribute("aria-label", `from ${time(run.min)} to ${time(run.max)}`);
  const x = (value) => 4 + (212 * Math.max(0, Math.log10(Math.max(value, 1e-6)) + 6)) / top;
  const add = (kind, attributes, colour) => { const part = document.createElementNS("http://www.w3.org/2000/svg", kind); for (const [name, value] of Object.entries(attributes)) part.setAttribute(name, value); part.style.fill = `var(--${colour})`; svg.append(part); };
  add("rect", { x: x(run.min), y: 8, width: Math.max(1, x(run.max) - x(run.min)), height: 2 }, "soft");
  add("rect", { x: x(run.p50), y: 5, width: Math.max(1, x(run.p95) - x(run.p50)), height: 8, rx: 2 }, "running");
  add("circle", { cx: x(run.p50), cy: 9, r: 4.5 }, "running");
  return svg;
}

function chart(canvas, times, values, colour) {
  const width = canvas.clientWidth, height = canvas.clientHeight, scale = devicePixelRatio || 1;
  if (!width) return;
  if (canvas.width !== Math.round(width * scale)) { canvas.width = Math.round(width * scale); canvas.height = Math.round(height * scale); }
  const css = getComputedStyle(canvas), pen = canvas.getContext("2d"), most = Math.max(1, ...values);
  pen.setTransform(scale, 0, 0, scale, 0, 0); pen.clearRect(0, 0, width, height);
  pen.fillStyle = css.getPropertyValue("--line").trim(); pen.fillRect(0, height - 1, width, 1);
  pen.fillStyle = css.getPropertyValue("--soft").trim(); pen.font = `11px ${css.fontFamily}`; pen.textBaseline = "top";
  pen.fillText(most >= 10 ? count(most) : most.toFixed(1), 0, 0);
  pen.textAlign = "right"; pen.fillText(`last ${SHOWN / 60} min`, width, 0); pen.textAlign = "left";
  if (!values.length) return;
  const x = (at) => width - ((times.at(-1) - at) / SHOWN) * width, y = (value) => height - 2 - ((height - 18) * value) / most;
  pen.strokeStyle = pen.fillStyle = css.getPropertyValue(`--${colour}`).trim(); pen.lineWidth = 1.6; pen.beginPath();
  values.forEach((value, index) => pen.lineTo(x(times[index]), y(value)));
  pen.stroke(); pen.lineTo(width, height - 1); pen.lineTo(x(times[0]), height - 1); pen.globalAlpha = 0.15; pen.fill(); pen.globalAlpha = 1;
}

// -- the timeline, from what is seen in snapshots --------------------------------------------------------------------

const samples = { lanes: [], names: [], rank: [], counts: [], totals: [], zero: 0, of: new Map(), label: (at) => new Date((samples.zero + at / 1e6) * 1000).toLocaleTimeString([], { hour12: false }) };

function sample() {
  if (!samples.zero) samples.zero = now.pool.now;
  for (const [id, worker] of Object.entries(now.workers)) {
    let lane = samples.of.get(id);
    if (!lane) { lane = new Lane(worker.host, `worker ${worker.pid}`); lane.now = null; samples.of.set(id, lane); samples.lanes.push(lane); samples.lanes.sort((a, b) => (a.host < b.host ? -1 : a.host > b.host ? 1 : 0)); }
    const at = (now.pool.now - samples.zero) * 1e6;
    if (lane.now !== null && (worker.task !== lane.task || worker.since !== lane.since)) {
      const ended = worker.since && worker.task ? Math.min(at, (worker.since - samples.zero) * 1e6) : at;
      finish(lane, Math.max(ended, lane.s[lane.now]), "not seen"); lane.now = null;
    }
    if (worker.task && worker.state !== "lost") {
      if (lane.now === null) {
        let name = samples.names.indexOf(worker.task);
        if (name < 0) { name = samples.names.push(worker.task) - 1; samples.counts.push(0); samples.totals.push(0); samples.rank.push(9); }
        const began = Math.min((worker.since - samples.zero) * 1e6, at);
        lane.add(began, at, name, null, null, "running", 0); samples.totals[name] += at - began;
        lane.now = lane.s.length - 1; lane.task = worker.task; lane.since = worker.since; samples.counts[name]++;
      }
      finish(lane, Math.max(at, lane.s[lane.now]), "running");
    }
    if (lane.s.length > 2000) { lane.drop(500); if (lane.now !== null) lane.now -= 500; }
  }
}
function finish(lane, ended, outcome) {
  samples.totals[lane.n[lane.now]] += ended - lane.e[lane.now];
  lane.e[lane.now] = ended; lane.o[lane.now] = outcome;
  if (lane.stack.length) lane.stack[lane.stack.length - 1] = ended;
}

// -- events --------------------------------------------------------------------------------------------------------

let refresh = () => {}, asked = false;
function show(name) {
  tab = VIEWS[name] ? name : "live";
  for (const button of $("tabs").children) { const on = button.dataset.tab === tab; button.setAttribute("aria-selected", on); button.tabIndex = on ? 0 : -1; }
  const box = make("main", { id: "main", tabindex: -1, role: "tabpanel", "aria-label": tab });
  $("main").replaceWith(box);
  location.hash = tab; refresh = now ? VIEWS[tab](box) : () => {}; update();
}
function update() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    if (!now) return;
    text($("sum"), `process ${now.pool.pid} on ${now.pool.host} · up ${time(now.pool.now - now.pool.started)} · ${rate(history_.rate.at(-1) || 0)} tasks/s`);
    refresh();
  });
}
// What has changed: null removes, objects are gone into, anything else replaces.
function merge(into, change) {
  for (const [key, value] of Object.entries(change)) {
    if (value === null) delete into[key];
    else if (typeof value === "object" && !Array.isArray(value) && typeof into[key] === "object" && into[key] !== null) merge(into[key], value);
    else into[key] = value;
  }
}
function take(next) {
  const ended = (each) => each.tasks.returned + each.tasks.failed + each.tasks.lost;
  if (previous) {
    const passed = next.pool.now - previous.at;
    if (passed < 0.2) { now = next; return; }
    history_.at.push(next.pool.now); history_.rate.push(Math.max(0, (ended(next) - previous.ended) / passed)); history_.waiting.push(waiting(next));
    while (history_.at[0] < next.pool.now - SHOWN) for (const values of Object.values(history_)) values.shift();
  }
  const first = now === null;
  now = next; previous = { at: next.pool.now, ended: ended(next) };
  sample();
  if (first) show(tab); else update();
}
function connect() {
  const source = new EventSource(`events${location.search}`);
  const say = (words, off) => { text($("state"), words); $("state").classList.toggle("off", off); };
  source.addEventListener("snapshot", (event) => { say("live", false); take(JSON.parse(event.data, plain)); });
  source.addEventListener("delta", (event) => { merge(now, JSON.parse(event.data, plain)); take(now); });
  source.addEventListener("ended", () => { say("the pool has ended", true); source.close(); });
  source.addEventListener("error", () => say(source.readyState === EventSource.CLOSED ? "the pool has ended" : "connecting again", true));
}
// Names of functions are keys: none of them may be that of a prototype.
const plain = (key, value) => (value && typeof value === "object" && !Array.isArray(value) ? Object.assign(Object.create(null), value) : value);

Object.keys(VIEWS).forEach((name, index) => $("tabs").append(make("button", { role: "tab", "data-tab": name, title: `key ${index + 1}`, onclick: () => show(name) }, name)));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, [role=application]")) return;
  const names = Object.keys(VIEWS), at = names.indexOf(tab), to = event.target.closest("nav") && { ArrowRight: at + 1, ArrowLeft: at - 1 + names.length }[event.key];
  const name = to ? names[to % names.length] : names[Number(event.key) - 1];
  if (!name) return;
  event.preventDefault(); show(name);
  if (to) document.querySelector("nav [aria-selected=true]").focus();
});
show(location.hash.slice(1));
connect();
