// The insides of convolution's algorithms, on the numbers of this layer: im2col's matrix, Winograd's tiles, a tile of
// registers. Each arrives at the same output.

async function im2colView(c, at) {
  const z = convSizes(c);
  const [n, k, p, q] = at;
  const t = await convWindow(c, z, at);
  const channels = Math.max(1, Math.min(z.cg, Math.floor(54 / t.size)));
  const from = Math.min(Math.floor(Math.min(c.state.shown, z.cg - 1) / channels) * channels, z.cg - channels);
  const pixels = z.P * z.Q;
  const many = Math.min(36, pixels);
  const own = p * z.Q + q;
  const begin = Math.max(0, Math.min(own - Math.floor(many / 2), pixels - many));
  const x = await c.block("x", [n, [t.first + from, t.first + from + channels]]);
  const rows = channels * t.size;
  const matrix = new Float64Array(rows * many);
  for (let j = 0; j < many; j++) {
    const [row, column] = [Math.floor((begin + j) / z.Q), (begin + j) % z.Q];
    for (let i = 0; i < rows; i++) {
      const [channel, r, s] = [Math.floor(i / t.size), Math.floor((i % t.size) / z.S), i % z.S];
      const [h, v] = [row * z.sh + r * z.dh - z.ph, column * z.sw + s * z.dw - z.pw];
      if (h >= 0 && h < z.H && v >= 0 && v < z.W) matrix[i * many + j] = x.at(n, t.first + from + channel, h, v);
    }
  }
  const weights = Array.from(t.weights.slice(from * t.size, from * t.size + rows));
  const y = await c.block("y", [n, k]);
  const whole = z.cg * t.size;
  const zoom = 8;
  const side = zoom * Math.max(rows, many);
  return {
    maps: [convInput(c, z, at, t)],
    extra: make(
      "div",
      { class: "extra" },
      make(
        "div",
        { class: "factors" },
        mapView({
          title: "columns", caption: `one window each: rows ${from * t.size}–${from * t.size + rows - 1} of ${whole}, columns ${begin}–${begin + many - 1} of ${(z.N * pixels).toLocaleString("en")}`,
          values: matrix, rows, columns: many, window: [0, own - begin, rows, 1], side, focus: "matrix",
          pick: (_, j) => c.choose([n, k, Math.floor((begin + j) / z.Q), (begin + j) % z.Q]), label: (_, j) => `pixel ${begin + j}`,
        }),
        mapView({ title: `W, row ${k}`, values: weights, rows: 1, columns: rows, side: 7 * rows }),
        mapView({ title: `y, row ${k}`, values: Array.from(y.data.slice(begin, begin + many)), rows: 1, columns: many, marks: [[0, own - begin]], side: zoom * many }),
      ),
    ),
    bars: { title: `Sums of the ${plural(z.cg, "channel")}`, items: t.sums.map((value, i) => ({ label: `channel ${t.first + i}`, value, chosen: i >= from && i < from + channels, act: () => c.set({ shown: i }) })) },
    math: [mrow(mi("y"), mo("="), mi("W"), mo("·"), mi("columns"), mtext(":  "), msub("y", k, own), mo("="), msum(mi("i"), null), msub("W", k, "i"), msub("columns", "i", own))],
    notes: [
      `Every window of the image becomes a column: ${whole} rows by ${(z.N * pixels).toLocaleString("en")} columns, ${fmt((whole * z.N * pixels) / (z.N * z.C * z.H * z.W), 3)} times as many numbers as x itself. Then convolution is one matrix product, which computers do fast.`,
      "Read along a row: neighbouring columns hold the same pixels, moved by one. This is what the other algorithms save.",
    ],
    sum: { total: t.sums.reduce((u, v) => u + v, t.b), engine: await c.value("y", at), scale: t.scale },
  };
}

function winogradFits(c) {
  const z = convSizes(c);
  return z.R === 3 && z.S === 3 && z.sh === 1 && z.sw === 1 && z.ph === 1 && z.pw === 1 && z.dh === 1 && z.dw === 1 && z.groups === 1;
}

const product = (a, b) => a.map((row) => b[0].map((_, j) => row.reduce((sum, value, i) => sum + value * b[i][j], 0)));
const transposed = (a) => a[0].map((_, j) => a.map((row) => row[j]));
const between = (a, x) => product(product(a, x), transposed(a));

// F(m x m, 3 x 3), m = 2 or 4: tiles of m x m outputs from m + 2 inputs a side
async function winogradView(c, at, m) {
  const z = convSizes(c);
  const [n, k, p, q] = at;
  const { at: AT, g: G, bt: BT } = c.source.description.winograd[m];
  const [top, left] = [m * Math.floor(p / m), m * Math.floor(q / m)];
  const wide = m + 2;
  const [x, w, b] = await Promise.all([
    c.block("x", [n, null, [top - 1, top + m + 1], [left - 1, left + m + 1]]),
    c.block("w", [k]),
    c.has("b") ? c.value("b", [k]) : 0,
  ]);
  const side = Array.from({ length: wide }, (_, i) => i);
  const [inner, sums] = [side.map(() => side.map(() => 0)), []];
  const shown = Math.min(c.state.shown, z.C - 1);
  let [parts, scale] = [null, Math.abs(b)];
  for (let channel = 0; channel < z.C; channel++) {
    const d = side.map((i) => side.map((j) => {
      const [h, v] = [top - 1 + i, left - 1 + j];
      return h >= 0 && h < z.H && v >= 0 && v < z.W ? x.at(n, channel, h, v) : 0;
    }));
    const taps = [0, 1, 2].map((r) => [0, 1, 2].map((s) => w.at(k, channel, r, s)));
    const [V, U] = [between(BT, d), between(G, taps)];
    const M = side.map((i) => side.map((j) => U[i][j] * V[i][j]));
    side.forEach((i) => side.forEach((j) => (inner[i][j] += M[i][j])));
    const own = between(AT, M)[p - top][q - left];
    sums.push(own);
    scale += M.flat().reduce((sum, value) => sum + Math.abs(value), 0);
    if (channel === shown) parts = { d, V, U, M };
  }
  const Y = between(AT, inner).map((row) => row.map((value) => value + b));
  const chosen = (p - top) * m + q - left;
  const outside = new Set(Y.flat().map((_, i) => i).filter((i) => top + Math.floor(i / m) >= z.P || left + (i % m) >= z.Q));
  const pads = new Set(side.flatMap((i) => side.map((j) => [i, j])).filter(([i, j]) => top - 1 + i < 0 || top - 1 + i >= z.H || left - 1 + j < 0 || left - 1 + j >= z.W).map(([i, j]) => wide * i + j));
  const grid = (title, rows, columns, values, more = {}) => ({ title, rows, columns, values: values.flat(), ...more });
  return {
    maps: [{ key: c.key("x"), name: "input x", lead: [n, shown], margin: 1, window: [top - 1, left - 1, wide, wide], focus: "window", pick: (h, v) => c.choose([n, k, h, v]) }],
    grids: [
      grid(`d: ${wide} × ${wide} inputs, channel ${shown}`, wide, wide, parts.d, { pads }),
      grid("V = Bᵀ d B", wide, wide, parts.V, { sign: "→" }),
      grid("U = G w Gᵀ, the kernel", wide, wide, parts.U, { sign: "×" }),
      grid("M = U × V, number by number", wide, wide, parts.M, { sign: "=" }),
      grid("sum of M over channels", wide, wide, inner, { sign: "Σ" }),
      grid(`Y = Aᵀ (sum) A${c.has("b") ? " + b" : ""}: ${m} × ${m} outputs`, m, m, Y, { sign: "→", chosen, pads: outside }),
    ],
    bars: { title: `What the ${plural(z.C, "channel")} give to the chosen output`, items: sums.map((value, i) => ({ label: `channel ${i}`, value, chosen: i === shown, act: () => c.set({ shown: i }) })) },
    math: [mrow(mi("Y"), mo("="), mml("msup", mi("A"), mi("T")), mo("["), msum(mi("c"), null), mo("("), mi("G"), mi("w"), mml("msup", mi("G"), mi("T")), mo(")"), mo("⊙"), mo("("), mml("msup", mi("B"), mi("T")), mi("d"), mi("B"), mo(")"), mo("]"), mi("A"))],
    notes: [
      `F(${m} × ${m}, 3 × 3): ${wide * wide} products give ${m * m} outputs. Windows would take 9 products each, ${9 * m * m}: ${(9 * m * m) / (wide * wide)} times as many.`,
      m === 4 ? "The price is rounding: large numbers are subtracted from each other, so the last digits differ." : "Tiles of 4 × 4 outputs save more, 4 times; these round less.",
    ],
    sum: { total: Y[p - top][q - left], engine: await c.value("y", at), scale },
  };
}

async function tileView(c, at) {
  const z = convSizes(c);
  const [n, k, p, q] = at;
  const [high, vectors, lanes] = c.source.description.tile;
  const pixels = Math.min(high, z.Q);
  const wide = Math.min(vectors * lanes, z.K);
  const zoom = wide > 16 ? 16 : 24;
  const left = Math.max(0, Math.min(Math.floor(q / pixels) * pixels, z.Q - pixels));
  const first = Math.max(0, Math.min(Math.floor(k / wide) * wide, z.K - wide));
  const steps = z.C * z.R * z.S;
  const done = Math.min(c.state.progress ?? steps, steps);
  const top = p * z.sh - z.ph;
  const from = left * z.sw - z.pw;
  const [x, w, b] = await Promise.all([
    c.block("x", [n, null, [top, top + (z.R - 1) * z.dh + 1], [from, from + (pixels - 1) * z.sw + (z.S - 1) * z.dw + 1]]),
    c.block("w", [[first, first + wide]]),
    c.has("b") ? c.block("b", [[first, first + wide]]) : null,
  ]);
  const sums = new Float64Array(pixels * wide);
  let scale = 0;
  let now = null;
  const [own, channelOwn] = [q - left, k - first];
  for (let step = 0; step < steps; step++) {
    // the order of the loops in direct_kernels.py: r, s, then channels
    const [r, s, channel] = [Math.floor(step / (z.S * z.C)), Math.floor(step / z.C) % z.S, step % z.C];
    const h = top + r * z.dh;
    const value = (i) => {
      const v = (left + i) * z.sw + s * z.dw - z.pw;
      return h >= 0 && h < z.H && v >= 0 && v < z.W ? x.at(n, channel, h, v) : 0;
    };
    if (step === Math.max(0, done - 1)) {
      now = { r, s, channel, numbers: Array.from({ length: pixels }, (_, i) => value(i)), weights: Array.from({ length: wide }, (_, j) => w.at(first + j, channel, r, s)) };
    }
    if (step >= done) continue;
    for (let i = 0; i < pixels; i++) {
      const number = value(i);
      if (number === 0) continue;
      for (let j = 0; j < wide; j++) sums[i * wide + j] += number * w.at(first + j, channel, r, s);
    }
    scale += Math.abs(value(own) * w.at(k, channel, r, s));
  }
  const bias = b ? b.at(k) : 0;
  const whole = done === steps;
  if (whole && b) for (let i = 0; i < pixels; i++) for (let j = 0; j < wide; j++) sums[i * wide + j] += b.at(first + j);
  const total = sums[own * wide + channelOwn];
  const slider = make("input", {
    type: "range", min: 0, max: steps, step: 1, value: done, "data-focus": "slider", "aria-label": "multiply-adds done",
    oninput: (event) => c.set({ progress: Number(event.target.value) }),
  });
  const engine = await c.value("y", at);
  return {
    maps: [],
    extra: make(
      "div",
      { class: "extra" },
      make("label", { class: "slide" }, `after ${done} of ${plural(steps, "step")} `, slider),
      make("p", {}, done ? `Step ${done}: tap (${now.r}, ${now.s}), channel ${now.channel}. Each pixel's one number times ${wide} weights, added to ${pixels} × ${wide} registers' numbers at once.` : "All accumulators are zero."),
      make(
        "div",
        { class: "factors" },
        mapView({ title: "w", caption: `${wide} output channels from ${first} on: ${plural(Math.ceil(wide / lanes), "vector")} of ${lanes}`, values: done ? now.weights : now.weights.map(() => 0), rows: 1, columns: wide, side: zoom * wide }),
        make("div", { class: "left" }, mapView({ title: "x", caption: `row ${p}`, values: done ? now.numbers : now.numbers.map(() => 0), rows: pixels, columns: 1, side: zoom * pixels })),
        mapView({
          title: "accumulators", caption: whole ? "all steps done" : "partial sums", values: Array.from(sums), rows: pixels, columns: wide, chosen: [own, channelOwn], side: zoom * Math.max(wide, pixels), focus: "tile",
          pick: (i, j) => c.choose([n, first + j, p, left + i]), label: (i, j) => `pixel ${left + i}, channel ${first + j}, ${fmt(sums[i * wide + j])}`,
        }),
      ),
    ),
    math: [mrow(msub("y", n, k, p, q), mo("="), ...(c.has("b") ? [mnum(bias), mo("+")] : []), msum(mrow(mi("r"), mo(","), mi("s"), mo(","), mi("c")), null), msub("x", n, "c", span(top, "r", z.dh), span(q * z.sw - z.pw, "s", z.dw)), msub("w", k, "c", "r", "s"))],
    notes: [
      `A tile of ${high} pixels by ${vectors} vectors of ${lanes} channels stays in the processor's registers during the whole sum: each weight vector that is loaded is used ${pixels} times, each pixel ${wide} times.`,
      c.step.algorithm && c.step.algorithm !== "direct" ? `This is the algorithm "direct"; the engine chose "${c.step.algorithm}" for this layer.` : null,
    ],
    sum: whole ? { total, engine, scale } : null,
    terms: whole ? null : [{ name: `partial sum after ${done} steps`, formula: null, value: total }, { name: "the engine's value, all steps", formula: null, value: engine }],
  };
}
