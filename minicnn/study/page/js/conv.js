// Convolution: the window and its products, and the three gradients. Indices as in minicnn/ops/conv2d/__init__.py:
//   y[n,k,p,q] = b[k] + sum_{c,r,s} x[n, g C/G + c, p stride + r dilation - padding, ...] w[k,c,r,s],  g = k // (K/G)

function convSizes(c) {
  const [N, C, H, W] = c.shape("x");
  const [K, cg, R, S] = c.shape("w");
  const [, , P, Q] = c.shape("y");
  const two = (value) => (Array.isArray(value) ? value : [value, value]);
  const o = c.step.options;
  const [sh, sw] = two(o.stride ?? 1);
  const [ph, pw] = two(o.padding ?? 0);
  const [dh, dw] = two(o.dilation ?? 1);
  const groups = o.groups ?? 1;
  return { N, C, H, W, K, cg, R, S, P, Q, sh, sw, ph, pw, dh, dw, groups, kg: K / groups };
}

const convMargin = (z) => Math.min(Math.max(z.ph, z.pw), 3);

// The values under the window of output (k, p, q), for all its channels: x, w and their products.
async function convWindow(c, z, [n, k, p, q]) {
  const group = Math.floor(k / z.kg);
  const first = group * z.cg;
  const top = p * z.sh - z.ph;
  const left = q * z.sw - z.pw;
  const [x, w, b] = await Promise.all([
    c.block("x", [n, [first, first + z.cg], [top, top + (z.R - 1) * z.dh + 1], [left, left + (z.S - 1) * z.dw + 1]]),
    c.block("w", [k]),
    c.has("b") ? c.value("b", [k]) : 0,
  ]);
  const pads = new Set();
  const size = z.R * z.S;
  const values = new Float64Array(z.cg * size);
  const weights = new Float64Array(z.cg * size);
  const sums = new Array(z.cg).fill(0);
  let scale = Math.abs(b);
  for (let i = 0; i < z.cg; i++) {
    for (let r = 0; r < z.R; r++) {
      for (let s = 0; s < z.S; s++) {
        const [h, v] = [top + r * z.dh, left + s * z.dw];
        const place = i * size + r * z.S + s;
        weights[place] = w.at(k, i, r, s);
        if (h < 0 || h >= z.H || v < 0 || v >= z.W) pads.add(r * z.S + s);
        else values[place] = x.at(n, first + i, h, v);
        const product = values[place] * weights[place];
        sums[i] += product;
        scale += Math.abs(product);
      }
    }
  }
  return { values, weights, pads, sums, scale, b, first, top, left, size };
}


const span = (start, letter, step) => (start === 0 && step === 1
  ? mi(letter)
  : mrow(...(start ? [mnum(start), mo("+")] : []), ...(step === 1 ? [] : [mml("mn", String(step)), mo("⁢")]), mi(letter)));

const upTo = (letter, count) => [mrow(mi(letter), mo("="), mml("mn", "0")), mml("mn", String(count - 1))];

// The input with the window on it; choosing a pixel chooses the output whose window has it in the middle.
function convInput(c, z, [n, k], t) {
  const centre = (h, padding, taps, dilation, stride) => Math.floor((h + padding - Math.floor(((taps - 1) * dilation) / 2)) / stride);
  return {
    key: c.key("x"), name: "input x", lead: [n, t.first + Math.min(c.state.shown, z.cg - 1)], margin: convMargin(z),
    window: [t.top, t.left, z.R, z.S, z.dh, z.dw], focus: "window",
    pick: (h, v) => c.choose([n, k, centre(h, z.ph, z.R, z.dh, z.sh), centre(v, z.pw, z.S, z.dw, z.sw)]),
  };
}

async function convForward(c, at) {
  const z = convSizes(c);
  const [n, k, p, q] = at;
  const t = await convWindow(c, z, at);
  const shown = Math.min(c.state.shown, z.cg - 1);
  const cut = (array) => Array.from(array.slice(shown * t.size, (shown + 1) * t.size));
  const [a, b] = [cut(t.values), cut(t.weights)];
  const channel = t.first + shown;
  return {
    maps: [convInput(c, z, at, t)],
    grids: [
      { title: `window of x, channel ${channel}`, rows: z.R, columns: z.S, values: a, pads: t.pads },
      { title: `kernel w[${k}, ${shown}]`, rows: z.R, columns: z.S, values: b, sign: "×" },
      { title: "products", rows: z.R, columns: z.S, values: a.map((v, i) => v * b[i]), pads: t.pads, sign: "=" },
    ],
    after: [mrow(mtext(`channel ${channel}: `), ...mterms(a.map((v, i) => v * b[i]), 3), mo("="), mnum(t.sums[shown]))],
    bars: {
      title: `Sums of the ${plural(z.cg, "channel")}`,
      items: t.sums.map((value, i) => ({ label: `channel ${t.first + i}`, value, chosen: i === shown, act: () => c.set({ shown: i }) })),
    },
    math: [
      mrow(
        msub("y", n, k, p, q), mo("="), ...(c.has("b") ? [msub("b", k), mo("+")] : []),
        msum(...upTo("c", z.cg)), msum(...upTo("r", z.R)), msum(...upTo("s", z.S)),
        msub("x", n, t.first ? mrow(mnum(t.first), mo("+"), mi("c")) : "c", span(t.top, "r", z.dh), span(t.left, "s", z.dw)),
        msub("w", k, "c", "r", "s"),
      ),
      mrow(mo("="), ...(c.has("b") ? [mnum(t.b), mo("+")] : []), ...mterms(t.sums), mo("="), mnum(t.sums.reduce((u, v) => u + v, t.b))),
    ],
    notes: [
      t.pads.size ? `${plural(t.pads.size, "place")} of the window ${t.pads.size === 1 ? "lies" : "lie"} outside of the image: padding, zero.` : null,
      `${plural(z.cg * t.size, "product")}${c.has("b") ? " and the bias" : "; this layer has no bias"}.`,
    ],
    sum: { total: t.sums.reduce((u, v) => u + v, t.b), engine: await c.value("y", at), scale: t.scale },
  };
}

// Output rows p that saw row h, with the tap r of each: p stride + r dilation - padding = h.
function tapsOf(h, size, taps, stride, padding, dilation) {
  const found = [];
  for (let r = 0; r < taps; r++) {
    const from = h + padding - r * dilation;
    if (from % stride === 0 && from >= 0 && from / stride < size) found.push([r, from / stride]);
  }
  return found;
}

async function convGradInput(c, at) {
  const z = convSizes(c);
  const [n, channel, h, v] = at;
  const group = Math.floor(channel / z.cg);
  const [first, own] = [group * z.kg, channel - group * z.cg];
  const rows = tapsOf(h, z.P, z.R, z.sh, z.ph, z.dh);
  const columns = tapsOf(v, z.Q, z.S, z.sw, z.pw, z.dw);
  const range = (taps) => (taps.length ? [Math.min(...taps.map((tap) => tap[1])), Math.max(...taps.map((tap) => tap[1])) + 1] : [0, 0]);
  const [dy, w] = await Promise.all([
    c.block("dy", [n, [first, first + z.kg], range(rows), range(columns)]),
    c.block("w", [[first, first + z.kg], own]),
  ]);
  const shown = Math.min(c.state.shown, z.kg - 1);
  const size = z.R * z.S;
  const [a, b] = [new Array(size).fill(0), new Array(size).fill(0)];
  const used = new Set();
  const sums = new Array(z.kg).fill(0);
  let scale = 0;
  for (let i = 0; i < z.kg; i++) {
    for (let r = 0; r < z.R; r++) for (let s = 0; s < z.S; s++) if (i === shown) b[r * z.S + s] = w.at(first + i, own, r, s);
    for (const [r, p] of rows) {
      for (const [s, q] of columns) {
        const product = dy.at(n, first + i, p, q) * w.at(first + i, own, r, s);
        sums[i] += product;
        scale += Math.abs(product);
        if (i === shown) {
          a[r * z.S + s] = dy.at(n, first + i, p, q);
          used.add(r * z.S + s);
        }
      }
    }
  }
  const unused = new Set(a.map((_, i) => i).filter((i) => !used.has(i)));
  const k = first + shown;
  return {
    maps: [
      {
        key: c.gradKey, name: "∂L/∂y, what came back", lead: [n, k], focus: "dy",
        ...framed(rows.map(([, p]) => p), columns.map(([, q]) => q)),
        pick: (p, q) => c.set({ mode: "spread" }, "y", [n, k, p, q]),
      },
    ],
    grids: [
      { title: `∂L/∂y of channel ${k}, by tap`, rows: z.R, columns: z.S, values: a, pads: unused },
      { title: `kernel w[${k}, ${own}]`, rows: z.R, columns: z.S, values: b, sign: "×" },
      { title: "products", rows: z.R, columns: z.S, values: a.map((value, i) => value * b[i]), pads: unused, sign: "=" },
    ],
    bars: {
      title: `Sums of the ${plural(z.kg, "output channel")} that saw this value`,
      items: sums.map((value, i) => ({ label: `channel ${first + i}`, value, chosen: i === shown, act: () => c.set({ shown: i }) })),
    },
    math: [
      mrow(
        mgrad("x", n, channel, h, v), mo("="), msum(mi("k"), null), msum(mrow(mi("r"), mo(","), mi("s")), null),
        mgrad("y", n, "k", "p", "q"), msub("w", "k", own, "r", "s"), mtext("  where  "),
        mi("p"), ...(z.sh > 1 ? [mo("·"), mnum(z.sh)] : []), mo("="), mnum(h + z.ph), mo("−"), ...(z.dh > 1 ? [mnum(z.dh), mi("r")] : [mi("r")]), mo(","),
        mi("q"), ...(z.sw > 1 ? [mo("·"), mnum(z.sw)] : []), mo("="), mnum(v + z.pw), mo("−"), ...(z.dw > 1 ? [mnum(z.dw), mi("s")] : [mi("s")]),
      ),
      mrow(mo("="), ...mterms(sums), mo("="), mnum(sums.reduce((p, q) => p + q, 0))),
    ],
    notes: [
      `${plural(rows.length * columns.length, "window")} of each channel saw this value. The marked outputs lie the other way round than the taps: this is where the flipped kernel comes from.`,
      unused.size ? "Hatched taps: no window had them on this value (an edge, or the stride)." : null,
      c.shared("x"),
    ],
    sum: { total: sums.reduce((p, q) => p + q, 0), engine: await c.back("x", at), scale },
  };
}

// One frame around outputs that lie side by side, else one around each.
function framed(rows, columns) {
  const [top, left] = [Math.min(...rows), Math.min(...columns)];
  const isBlock = rows.length && columns.length && Math.max(...rows) - top < rows.length && Math.max(...columns) - left < columns.length;
  return isBlock ? { window: [top, left, rows.length, columns.length] } : { marks: rows.flatMap((p) => columns.map((q) => [p, q])) };
}

async function convSpread(c, at) {
  const z = convSizes(c);
  const [n, k, p, q] = at;
  const t = await convWindow(c, z, at);
  const shown = Math.min(c.state.shown, z.cg - 1);
  const dy = await c.value("dy", at);
  const weights = Array.from(t.weights.slice(shown * t.size, (shown + 1) * t.size));
  const channel = t.first + shown;
  const inside = (r, s) => !t.pads.has(r * z.S + s);
  const middle = [Math.max(0, Math.min(z.H - 1, t.top + Math.floor(z.R / 2) * z.dh)), Math.max(0, Math.min(z.W - 1, t.left + Math.floor(z.S / 2) * z.dw))];
  const there = await c.back("x", [n, channel, ...middle]);
  return {
    first: true,
    maps: [
      {
        key: c.backKey("x"), name: "∂L/∂x", lead: [n, channel], margin: convMargin(z), focus: "window",
        window: [t.top, t.left, z.R, z.S, z.dh, z.dw],
        pick: (h, v) => c.set({ mode: "x" }, "x", [n, channel, h, v]),
      },
    ],
    grids: [
      { title: "∂L/∂y of this output", rows: 1, columns: 1, values: [dy] },
      { title: `kernel w[${k}, ${shown}]`, rows: z.R, columns: z.S, values: weights, sign: "×" },
      { title: `added to ∂L/∂x, channel ${channel}`, rows: z.R, columns: z.S, values: weights.map((w) => w * dy), pads: t.pads, sign: "=" },
    ],
    bars: {
      title: "Largest share of each input channel",
      items: t.sums.map((_, i) => {
        const own = Array.from(t.weights.slice(i * t.size, (i + 1) * t.size), (w) => w * dy);
        return { label: `channel ${t.first + i}`, value: own.reduce((u, v) => (Math.abs(v) > Math.abs(u) ? v : u), 0), chosen: i === shown, act: () => c.set({ shown: i }) };
      }),
    },
    math: [
      mrow(mgrad("x", n, "c", span(t.top, "r", z.dh), span(t.left, "s", z.dw)), mo("+="), mgrad("y", n, k, p, q), msub("w", k, "c", "r", "s"), mo("="), mnum(dy), mo("·"), msub("w", k, "c", "r", "s")),
    ],
    notes: [
      `One number, ${fmt(dy)}, goes back to all ${z.cg * (t.size - t.pads.size)} inputs that made this output, each with the weight it had. Windows overlap, so shares add up: hence "+=".`,
      `In the middle of the window ∂L/∂x is ${fmt(there)}, of which this output gave ${inside(Math.floor(z.R / 2), Math.floor(z.S / 2)) ? fmt(weights[Math.floor(z.R / 2) * z.S + Math.floor(z.S / 2)] * dy) : "nothing"}. Choose a value there to see all its terms.`,
    ],
  };
}

async function convGradWeight(c, at) {
  const z = convSizes(c);
  const [k, own, r, s] = at;
  const channel = Math.floor(k / z.kg) * z.cg + own;
  const [dy, x] = await Promise.all([c.block("dy", [null, k]), c.block("x", [null, channel])]);
  const sums = new Array(z.N).fill(0);
  const n = Math.min(c.state.image, z.N - 1);
  const [a, b] = [new Float64Array(z.P * z.Q), new Float64Array(z.P * z.Q)];
  let scale = 0;
  const pads = new Set();
  for (let image = 0; image < z.N; image++) {
    for (let p = 0; p < z.P; p++) {
      for (let q = 0; q < z.Q; q++) {
        const [h, v] = [p * z.sh + r * z.dh - z.ph, q * z.sw + s * z.dw - z.pw];
        const outside = h < 0 || h >= z.H || v < 0 || v >= z.W;
        const value = outside ? 0 : x.at(image, channel, h, v);
        const product = value * dy.at(image, k, p, q);
        sums[image] += product;
        scale += Math.abs(product);
        if (image === n) {
          a[p * z.Q + q] = dy.at(image, k, p, q);
          b[p * z.Q + q] = value;
          if (outside) pads.add(p * z.Q + q);
        }
      }
    }
  }
  const total = sums.reduce((u, v) => u + v, 0);
  return {
    maps: [],
    grids: [
      { title: `∂L/∂y, channel ${k}`, rows: z.P, columns: z.Q, values: Array.from(a) },
      { title: `x, channel ${channel}, under tap (${r}, ${s})`, rows: z.P, columns: z.Q, values: Array.from(b), pads, sign: "×" },
      { title: "products", rows: z.P, columns: z.Q, values: Array.from(a, (value, i) => value * b[i]), pads, sign: "=" },
    ],
    bars: z.N > 1 ? { title: "Sums of the images", items: sums.map((value, i) => ({ label: `image ${i}`, value, chosen: i === n, act: () => c.set({ image: i }) })) } : null,
    math: [
      mrow(
        mgrad("w", k, own, r, s), mo("="), ...(z.N > 1 ? [msum(...upTo("n", z.N))] : []), msum(...upTo("p", z.P)), msum(...upTo("q", z.Q)),
        mgrad("y", z.N > 1 ? "n" : 0, k, "p", "q"), msub("x", z.N > 1 ? "n" : 0, channel, span(r * z.dh - z.ph, "p", z.sh), span(s * z.dw - z.pw, "q", z.sw)),
      ),
      mrow(mo("="), ...mterms(Array.from(a, (value, i) => value * b[i])), mo("="), mnum(total)),
    ],
    notes: [`One weight is used at all ${plural(z.N * z.P * z.Q, "position")} of the output, so its gradient is a sum over all of them: ∂L/∂y laid over x, moved by the tap.`, c.shared("w")],
    sum: { total, engine: await c.back("w", at), scale },
  };
}

async function sumOverAll(c, at, name, axis) {
  const shape = c.shape("y");
  const index = shape.map((_, i) => (i === axis ? at[0] : null));
  const dy = await c.block("dy", index);
  const values = Array.from(dy.data);
  const total = values.reduce((u, v) => u + v, 0);
  const rows = shape.length === 4 ? shape[0] * shape[2] : 1;
  return {
    maps: [],
    grids: [{ title: `∂L/∂y of ${name} ${at[0]}, all places`, rows, columns: values.length / rows, values }],
    math: [
      mrow(mgrad("b", at[0]), mo("="), msum(mtext("places"), null), mgrad("y"), mo("="), ...mterms(values), mo("="), mnum(total)),
    ],
    notes: ["The bias is added everywhere with the factor 1: its gradient is the plain sum of what comes back."],
    sum: { total, engine: await c.back("b", at), scale: values.reduce((u, v) => u + Math.abs(v), 0) },
  };
}

const CONV = {
  modes: (c) => [
    { id: "y", side: "forward", label: "output", target: "y" },
    { id: "im2col", side: "inside", label: "im2col", target: "y" },
    ...(winogradFits(c) ? [2, 4].map((m) => ({ id: `winograd${m}`, side: "inside", label: `Winograd ${m}×${m}`, target: "y" })) : []),
    ...((c.step.options.groups ?? 1) === 1 ? [{ id: "tile", side: "inside", label: "register tile", target: "y" }] : []),
    { id: "x", side: "backward", label: "∂L/∂x", target: "x" },
    { id: "spread", side: "backward", label: "where one ∂L/∂y goes", target: "y", gradient: true },
    { id: "w", side: "backward", label: "∂L/∂w", target: "w" },
    ...(c.has("b") ? [{ id: "b", side: "backward", label: "∂L/∂b", target: "b" }] : []),
  ],
  views: {
    y: convForward,
    x: convGradInput,
    spread: convSpread,
    w: convGradWeight,
    b: (c, at) => sumOverAll(c, at, "channel", 1),
    im2col: (c, at) => im2colView(c, at),
    winograd2: (c, at) => winogradView(c, at, 2),
    winograd4: (c, at) => winogradView(c, at, 4),
    tile: (c, at) => tileView(c, at),
  },
  formula: (c) => {
    const z = convSizes(c);
    const along = (out, stride, tap, dilation, padding) => mrow(
      ...(stride > 1 ? [mnum(stride)] : []), mi(out), mo("+"), ...(dilation > 1 ? [mnum(dilation)] : []), mi(tap), ...(padding ? [mo("−"), mnum(padding)] : []),
    );
    return mrow(
      msub("y", "n", "k", "p", "q"), mo("="), ...(c.has("b") ? [msub("b", "k"), mo("+")] : []), msum(mrow(mi("c"), mo(","), mi("r"), mo(","), mi("s")), null),
      msub("x", "n", "c", along("p", z.sh, "r", z.dh, z.ph), along("q", z.sw, "s", z.dw, z.pw)), msub("w", "k", "c", "r", "s"),
    );
  },
};
