// The three gradients of a convolution, and where the gradient at one output goes. With the roles exchanged
// (transposed.js, where `c.mirror` is set) they are a transposed convolution.

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
  const [K, P, Q] = c.mirror ? ["c", "h", "v"] : ["k", "p", "q"];
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
  const bias = c.mirror?.has("b") ? await c.mirror.value("b", [channel]) : null;
  const total = sums.reduce((p, q) => p + q, bias ?? 0);
  return {
    maps: [
      {
        key: c.gradKey, name: c.mirror ? "input x" : "∂L/∂y, what came back", lead: [n, k], focus: "dy",
        ...framed(rows.map(([, p]) => p), columns.map(([, q]) => q)),
        pick: (p, q) => c.set({ mode: "spread" }, c.mirror ? "x" : "y", [n, k, p, q]),
      },
    ],
    grids: [
      { title: `${c.text("dy")} of channel ${k}, by tap`, rows: z.R, columns: z.S, values: a, pads: unused },
      { title: `kernel w[${k}, ${own}]`, rows: z.R, columns: z.S, values: b, sign: "×" },
      { title: "products", rows: z.R, columns: z.S, values: a.map((value, i) => value * b[i]), pads: unused, sign: "=" },
    ],
    bars: {
      title: c.mirror ? `Sums of the ${plural(z.kg, "input channel")}` : `Sums of the ${plural(z.kg, "output channel")} that saw this value`,
      items: sums.map((value, i) => ({ label: `channel ${first + i}`, value, chosen: i === shown, act: () => c.set({ shown: i }) })),
    },
    math: [
      mrow(
        c.sign("dx", n, channel, h, v), mo("="), ...(bias === null ? [] : [msub("b", channel), mo("+")]), msum(mi(K), null), msum(mrow(mi("r"), mo(","), mi("s")), null),
        c.sign("dy", n, K, P, Q), msub("w", K, own, "r", "s"), mtext("  where  "),
        mi(P), ...(z.sh > 1 ? [mo("·"), mnum(z.sh)] : []), mo("="), mnum(h + z.ph), mo("−"), ...(z.dh > 1 ? [mnum(z.dh), mi("r")] : [mi("r")]), mo(","),
        mi(Q), ...(z.sw > 1 ? [mo("·"), mnum(z.sw)] : []), mo("="), mnum(v + z.pw), mo("−"), ...(z.dw > 1 ? [mnum(z.dw), mi("s")] : [mi("s")]),
      ),
      mrow(mo("="), ...mtotal(sums, total, bias)),
    ],
    notes: [
      c.mirror
        ? `${plural(rows.length * columns.length, "pixel")} of each channel laid a kernel onto this output. The marked pixels lie the other way round than the taps that reached it.`
        : `${plural(rows.length * columns.length, "window")} of each channel saw this value. The marked outputs lie the other way round than the taps: this is where the flipped kernel comes from.`,
      unused.size ? `Hatched taps: no ${c.mirror ? "pixel brought" : "window had"} them ${c.mirror ? "here" : "on this value"} (an edge, or the stride).` : null,
      c.shared("x"),
    ],
    sum: { total, engine: await c.back("x", at), scale: scale + Math.abs(bias ?? 0) },
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
  const C = c.mirror ? "k" : "c";
  const inside = (r, s) => !t.pads.has(r * z.S + s);
  const middle = [Math.max(0, Math.min(z.H - 1, t.top + Math.floor(z.R / 2) * z.dh)), Math.max(0, Math.min(z.W - 1, t.left + Math.floor(z.S / 2) * z.dw))];
  const there = await c.back("x", [n, channel, ...middle]);
  return {
    first: true,
    maps: [
      {
        key: c.backKey("x"), name: c.mirror ? "output y" : "∂L/∂x", lead: [n, channel], margin: convMargin(z), focus: "window",
        window: [t.top, t.left, z.R, z.S, z.dh, z.dw],
        pick: (h, v) => c.set(...(c.mirror ? [{ mode: "y" }, "y"] : [{ mode: "x" }, "x"]), [n, channel, h, v]),
      },
    ],
    grids: [
      { title: c.mirror ? "this x" : "∂L/∂y of this output", rows: 1, columns: 1, values: [dy] },
      { title: `kernel w[${k}, ${shown}]`, rows: z.R, columns: z.S, values: weights, sign: "×" },
      { title: `added to ${c.text("dx")}, channel ${channel}`, rows: z.R, columns: z.S, values: weights.map((w) => w * dy), pads: t.pads, sign: "=" },
    ],
    bars: {
      title: `Largest share of each ${c.mirror ? "output" : "input"} channel`,
      items: t.sums.map((_, i) => {
        const own = Array.from(t.weights.slice(i * t.size, (i + 1) * t.size), (w) => w * dy);
        return { label: `channel ${t.first + i}`, value: own.reduce((u, v) => (Math.abs(v) > Math.abs(u) ? v : u), 0), chosen: i === shown, act: () => c.set({ shown: i }) };
      }),
    },
    math: [
      mrow(c.sign("dx", n, C, span(t.top, "r", z.dh), span(t.left, "s", z.dw)), mo("+="), c.sign("dy", n, k, p, q), msub("w", k, C, "r", "s"), mo("="), mnum(dy), mo("·"), msub("w", k, C, "r", "s")),
    ],
    notes: [
      c.mirror
        ? `One number, ${fmt(dy)}, times the kernel, is added to ${z.cg * (t.size - t.pads.size)} outputs${z.sh > 1 ? `; the next pixel does so ${z.sh} rows or columns further: this is how the picture grows` : ""}.`
        : `One number, ${fmt(dy)}, goes back to all ${z.cg * (t.size - t.pads.size)} inputs that made this output, each with the weight it had. Windows overlap, so shares add up: hence "+=".`,
      `In the middle of the window ${c.text("dx")} is ${fmt(there)}, of which this ${c.mirror ? "pixel" : "output"} gave ${inside(Math.floor(z.R / 2), Math.floor(z.S / 2)) ? fmt(weights[Math.floor(z.R / 2) * z.S + Math.floor(z.S / 2)] * dy) : "nothing"}. Choose a value there to see all its terms.`,
    ],
  };
}

async function convGradWeight(c, at) {
  const z = convSizes(c);
  const [k, own, r, s] = at;
  const channel = Math.floor(k / z.kg) * z.cg + own;
  const [dy, x] = await Promise.all([c.block("dy", [null, k]), c.block("x", [null, channel])]);
  const [P, Q] = c.mirror ? ["h", "v"] : ["p", "q"];
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
      { title: `${c.text("dy")}, channel ${k}`, rows: z.P, columns: z.Q, values: Array.from(a) },
      { title: `${c.text("x")}, channel ${channel}, under tap (${r}, ${s})`, rows: z.P, columns: z.Q, values: Array.from(b), pads, sign: "×" },
      { title: "products", rows: z.P, columns: z.Q, values: Array.from(a, (value, i) => value * b[i]), pads, sign: "=" },
    ],
    bars: z.N > 1 ? { title: "Sums of the images", items: sums.map((value, i) => ({ label: `image ${i}`, value, chosen: i === n, act: () => c.set({ image: i }) })) } : null,
    math: [
      mrow(
        mgrad("w", k, own, r, s), mo("="), ...(z.N > 1 ? [msum(...upTo("n", z.N))] : []), msum(...upTo(P, z.P)), msum(...upTo(Q, z.Q)),
        c.sign("dy", z.N > 1 ? "n" : 0, k, P, Q), c.sign("x", z.N > 1 ? "n" : 0, channel, span(r * z.dh - z.ph, P, z.sh), span(s * z.dw - z.pw, Q, z.sw)),
      ),
      mrow(mo("="), ...mtotal(z.N > 1 ? sums : Array.from(a, (value, i) => value * b[i]), total)),
    ],
    notes: [`One weight is used at all ${plural(z.N * z.P * z.Q, "position")} of the ${c.mirror ? "input" : "output"}, so its gradient is a sum over all of them: ${c.text("dy")} laid over ${c.text("x")}, moved by the tap.`, c.shared("w")],
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
      mrow(mgrad("b", at[0]), mo("="), msum(mtext("places"), null), mgrad("y"), mo("="), ...mtotal(values, total)),
    ],
    notes: ["The bias is added everywhere with the factor 1: its gradient is the plain sum of what comes back."],
    sum: { total, engine: await c.back("b", at), scale: values.reduce((u, v) => u + Math.abs(v), 0) },
  };
}
