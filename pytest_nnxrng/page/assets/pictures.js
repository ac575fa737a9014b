/* Values as pictures: heat maps and histograms. */

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
// From dark to light, so that they are told apart without colour, too.
const VALUES = [
  [48, 18, 89],
  [55, 89, 140],
  [33, 145, 140],
  [94, 201, 98],
  [253, 231, 37],
];
const APART = [
  [10, 10, 25],
  [87, 16, 110],
  [188, 55, 84],
  [249, 142, 9],
  [252, 255, 164],
];

function colour(level, ramp) {
  const at = (level / 63) * (ramp.length - 1);
  const [low, share] = [
    Math.min(Math.floor(at), ramp.length - 2),
    at - Math.min(Math.floor(at), ramp.length - 2),
  ];
  return ramp[low].map((part, i) => Math.round(part + share * (ramp[low + 1][i] - part)));
}

function heatOf(leaf) {
  const heat = leaf.heat;
  const range = `${number(heat.low)} (dark) to ${number(heat.high)} (light)`;
  const found = [];
  for (const name of ["golden", "now"]) {
    if (heat[name]) {
      const sampled = heat[`${name}_sampled`] ? "; a cell is the mean of its area" : "";
      found.push(picture(name, heat[name], heat[`${name}_rows`], VALUES, `${range}${sampled}`));
    }
  }
  if (heat.apart) {
    const sampled = heat.now_sampled ? "; a cell is the largest of its area" : "";
    found.push(
      picture(
        "difference",
        heat.apart,
        heat.now_rows,
        APART,
        `0 (dark) to ${number(heat.most)} (light)${sampled}`,
      ),
    );
  }
  return found;
}

function picture(name, cells, lines, ramp, told) {
  const wide = cells.length / lines;
  const canvas = el("canvas", { width: wide, height: lines, role: "img", "aria-label": `${name}: ${told}` });
  const context = canvas.getContext("2d");
  const image = context.createImageData(wide, lines);
  for (let at = 0; at < cells.length; at += 1) {
    const level = LETTERS.indexOf(cells[at]);
    // What is not finite is a hole.
    if (level >= 0) image.data.set([...colour(level, ramp), 255], 4 * at);
  }
  context.putImageData(image, 0, 0);
  const scale = Math.max(4, Math.min(14, Math.floor(200 / Math.max(wide, lines))));
  canvas.style.width = `${Math.max(scale * wide, 24)}px`;
  canvas.style.height = `${Math.max(scale * lines, 24)}px`;
  return el("figure", { class: "picture" }, el("figcaption", {}, el("strong", {}, name), " ", told), canvas);
}

function svg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function histogramOf({ low, high, golden, now }) {
  const [wide, tall] = [240, 90];
  const most = Math.max(1, ...(golden || []), ...(now || []));
  const steps = (counts) => {
    const step = wide / counts.length;
    const tops = counts.map((count, i) => `L${i * step} ${tall - (tall * count) / most}h${step}`);
    return `M0 ${tall}${tops.join("")}L${wide} ${tall}`;
  };
  const told = `histogram from ${number(low)} to ${number(high)}`;
  const made = svg("svg", {
    viewBox: `0 -2 ${wide} ${tall + 4}`,
    width: wide,
    height: tall,
    class: "histogram",
    role: "img",
    "aria-label": told,
  });
  if (golden) made.append(svg("path", { d: `${steps(golden)}z`, class: "golden" }));
  if (now) made.append(svg("path", { d: steps(now), class: "now" }));
  const names = [golden ? "golden: filled" : "", now ? "now: line" : ""].filter(Boolean).join(", ");
  return el("figure", { class: "picture" }, el("figcaption", {}, `${told} (${names})`), made);
}
