"use strict";
const read = JSON.parse(document.getElementById("data").textContent);
const lanes = read.lanes.map(({ host, name, runs }) => {
  const lane = new Lane(host, name);
  for (const run of runs) lane.add(run[0], run[0] + run[1], run[2], run[3], run[4], read.outcomes[run[5]], run[6]);
  return lane;
});
const totals = read.names.map((_, index) => [index, 0, 0]);
for (const lane of lanes) for (let at = 0; at < lane.s.length; at++) { totals[lane.n[at]][1]++; totals[lane.n[at]][2] += lane.e[at] - lane.s[at]; }
totals.sort((a, b) => b[2] - a[2]);
const rank = []; totals.forEach(([index], place) => { rank[index] = place; });
const box = document.getElementById("facts");
const timeline = new Timeline(document.getElementById("timeline"), { lanes, names: read.names, rank, arrows: read.arrows }, (which) => facts(box, timeline, which));
legend(document.getElementById("legend"), timeline, totals);
const [first, last] = timeline.bounds(), count = totals.reduce((sum, each) => sum + each[1], 0), busy = totals.reduce((sum, each) => sum + each[2], 0);
document.getElementById("sum").textContent = `${count.toLocaleString("en")} runs in ${seconds(last - first)}, ${lanes.length} lanes, ${seconds(busy)} of work`;
timeline.choose(null); timeline.fit();
timeline.canvas.focus({ preventScroll: true });
