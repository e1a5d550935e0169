// Linear layers, softmax and the cross-entropy.

const folded = (c, title, items) => ({ title, items });

async function linearForward(c, at) {
  const j = at[at.length - 1];
  const lead = at.slice(0, -1);
  const [x, w, b] = await Promise.all([c.block("x", [...lead, null]), c.block("w", [j]), c.has("b") ? c.value("b", [j]) : 0]);
  const products = Array.from(x.data, (value, i) => value * w.data[i]);
  const total = products.reduce((u, v) => u + v, b);
  const plane = planeOf([x.data.length]);
  const size = { rows: plane.rows, columns: plane.columns, wrapped: true, many: x.data.length };
  return {
    maps: [],
    grids: [
      { title: "input x", ...size, values: Array.from(x.data) },
      { title: `row ${j} of w`, ...size, values: Array.from(w.data), sign: "×" },
      { title: "products", ...size, values: products, sign: "=" },
    ],
    bars: { title: `The ${plural(products.length, "product")}`, items: products.map((value, i) => ({ label: `x[${i}] · w[${j},${i}]`, value })) },
    math: [
      mrow(msub("y", ...at), mo("="), ...(c.has("b") ? [msub("b", j), mo("+")] : []), msum(...upTo("i", products.length)), msub("x", ...lead, "i"), msub("w", j, "i")),
      mrow(mo("="), ...mtotal(products, total, c.has("b") ? b : null)),
    ],
    notes: [],
    sum: { total, engine: await c.value("y", at), scale: products.reduce((u, v) => u + Math.abs(v), Math.abs(b)) },
  };
}

async function linearGradInput(c, at) {
  const i = at[at.length - 1];
  const lead = at.slice(0, -1);
  const [dy, w] = await Promise.all([c.block("dy", [...lead, null]), c.block("w", [null, i])]);
  const products = Array.from(dy.data, (value, j) => value * w.data[j]);
  const total = products.reduce((u, v) => u + v, 0);
  const plane = planeOf([products.length]);
  const size = { rows: plane.rows, columns: plane.columns, wrapped: true, many: products.length };
  return {
    maps: [],
    grids: [
      { title: "∂L/∂y", ...size, values: Array.from(dy.data) },
      { title: `column ${i} of w`, ...size, values: Array.from(w.data), sign: "×" },
      { title: "products", ...size, values: products, sign: "=" },
    ],
    bars: { title: "Products, one for each output that used it", items: products.map((value, j) => ({ label: c.className(j) ?? `∂L/∂y[${j}] · w[${j},${i}]`, value })) },
    math: [
      mrow(mgrad("x", ...at), mo("="), msum(...upTo("j", products.length)), mgrad("y", ...lead, "j"), msub("w", "j", i)),
      mrow(mo("="), ...mtotal(products, total)),
    ],
    notes: [c.shared("x")],
    sum: { total, engine: await c.back("x", at), scale: products.reduce((u, v) => u + Math.abs(v), 0) },
  };
}

async function linearGradWeight(c, [j, i]) {
  const [dy, x] = await Promise.all([c.block("dy", [...c.shape("y").slice(0, -1).map(() => null), j]), c.block("x", [...c.shape("x").slice(0, -1).map(() => null), i])]);
  const products = Array.from(dy.data, (value, n) => value * x.data[n]);
  const total = products.reduce((u, v) => u + v, 0);
  const first = c.shape("y").slice(0, -1).map(() => 0);
  return {
    maps: [sameMap(c, c.gradKey, "∂L/∂y", [...first, j]), sameMap(c, c.key("x"), "input x", [...first, i])],
    terms: products.slice(0, 20).map((value, n) => ({ name: `image ${n}`, formula: mrow(mnum(dy.data[n]), mo("·"), mnum(x.data[n], true)), value })),
    math: [mrow(mgrad("w", j, i), mo("="), msum(mi("n"), null), mgrad("y", "n", j), msub("x", "n", i), mo("="), ...mtotal(products, total))],
    notes: ["What came back to the output, times what came in: summed over the images."],
    sum: { total, engine: await c.back("w", [j, i]), scale: products.reduce((u, v) => u + Math.abs(v), 0) },
  };
}

const LINEAR = {
  modes: (c) => [
    { id: "y", side: "forward", label: "output", target: "y" },
    { id: "x", side: "backward", label: "∂L/∂x", target: "x" },
    { id: "w", side: "backward", label: "∂L/∂w", target: "w" },
    ...(c.has("b") ? [{ id: "b", side: "backward", label: "∂L/∂b", target: "b" }] : []),
  ],
  views: { y: linearForward, x: linearGradInput, w: linearGradWeight, b: (c, at) => sumOverAll(c, at, "output", c.shape("y").length - 1) },
  formula: () => mrow(msub("y", "n", "j"), mo("="), msub("b", "j"), mo("+"), msum(mi("i"), null), msub("x", "n", "i"), msub("w", "j", "i")),
};

// ---- softmax and cross-entropy ---------------------------------------------------------------------------------------

function softmaxOf(scores) {
  const most = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - most));
  const sum = powers.reduce((u, v) => u + v, 0);
  return { most, powers, sum, p: powers.map((power) => power / sum) };
}

// The parts of one image's loss.
async function lossParts(c, n) {
  const [x, labels] = await Promise.all([c.block("x", [n]), c.block("target", [null])]);
  const counted = Array.from(labels.data).filter((label) => label !== c.step.options.ignore_index).length;
  const scores = Array.from(x.data);
  return { scores, label: labels.at(n), many: counted, ...softmaxOf(scores) };
}

async function lossForward(c) {
  const images = c.shape("x")[0];
  const all = await Promise.all(Array.from({ length: images }, (_, n) => lossParts(c, n)));
  const n = Math.min(c.state.image, images - 1);
  const t = all[n];
  const losses = all.map((parts) => -(parts.scores[parts.label] - parts.most - Math.log(parts.sum)));
  const total = losses.reduce((u, v) => u + v, 0) / t.many;
  return {
    maps: [],
    bars: {
      title: images > 1 ? `Probabilities of image ${n}` : "Probabilities: softmax of the scores",
      items: t.p.map((value, j) => ({ label: `${c.className(j) ?? `class ${j}`}${j === t.label ? " ← label" : ""}`, value, chosen: j === t.label })),
    },
    terms: [
      { name: "largest score", formula: mrow(mi("m"), mo("="), msub("max", "j"), msub("x", "j")), value: t.most },
      { name: "sum of exponentials", formula: mrow(msum(mi("j"), null), mml("msup", mi("e"), mrow(msub("x", "j"), mo("−"), mi("m")))), value: t.sum },
      { name: "score of the label", formula: msub("x", t.label), value: t.scores[t.label] },
      { name: "its probability", formula: msub("p", t.label), value: t.p[t.label] },
      { name: "loss of this image", formula: mrow(mo("−"), mfunction("ln"), msub("p", t.label)), value: losses[n] },
      ...(images > 1 ? [{ name: `mean of ${plural(t.many, "image")}`, formula: mi("L"), value: total }] : []),
    ],
    math: [
      mrow(mi("L"), mo("="), mo("−"), mfunction("ln"), mfrac(mml("msup", mi("e"), mrow(msub("x", t.label), mo("−"), mi("m"))), mrow(msum(mi("j"), null), mml("msup", mi("e"), mrow(msub("x", "j"), mo("−"), mi("m"))))), mo("="), mo("−"), mfunction("ln"), mnum(t.p[t.label]), mo("="), mnum(losses[n])),
    ],
    notes: [`A network that knows nothing gives every class 1/${t.p.length}: a loss of ln ${t.p.length} = ${fmt(Math.log(t.p.length))}.`],
    sum: { total, engine: await c.value("y", []), scale: Math.abs(t.most) + Math.abs(t.scores[t.label]) + 1, what: "loss computed here " },
  };
}

async function lossGradInput(c, at) {
  const t = await lossParts(c, at[0]);
  const [n, j] = at;
  const dy = await c.value("dy", []);
  const shares = t.p.map((p, i) => (dy * (p - (i === t.label ? 1 : 0))) / t.many);
  return {
    maps: [],
    bars: { title: "∂L/∂x of all classes", items: shares.map((value, i) => ({ label: `${c.className(i) ?? `class ${i}`}${i === t.label ? " ← label" : ""}`, value, chosen: i === j, act: () => c.choose([n, i]) })) },
    terms: [
      { name: "probability", formula: msub("p", j), value: t.p[j] },
      { name: "truth", formula: msub("q", j), value: j === t.label ? 1 : 0 },
      { name: "images in the mean", formula: mi("N"), value: t.many },
    ],
    math: [mrow(mgrad("x", n, j), mo("="), mfrac(mrow(msub("p", j), mo("−"), msub("q", j)), mi("N")), mo("="), mfrac(mrow(mnum(t.p[j]), mo("−"), mml("mn", j === t.label ? "1" : "0")), mml("mn", String(t.many))), mo("="), mnum(shares[j]))],
    notes: ["Probability minus truth: the whole backward pass begins with these numbers. They add up to zero."],
    sum: { total: shares[j], engine: await c.back("x", at), scale: Math.abs(dy / t.many) },
  };
}

const CROSS_ENTROPY = {
  modes: () => [
    { id: "y", side: "forward", label: "loss", target: "y" },
    { id: "x", side: "backward", label: "∂L/∂x", target: "x" },
  ],
  views: { y: lossForward, x: lossGradInput },
  formula: () => mrow(mi("L"), mo("="), mo("−"), mfunction("ln"), msub("p", mtext("label")), mtext(",  "), msub("p", "j"), mo("="), mfrac(mml("msup", mi("e"), msub("x", "j")), mrow(msum(mi("i"), null), mml("msup", mi("e"), msub("x", "i"))))),
};
