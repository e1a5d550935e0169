// Convolution: the window and its products. Indices as in minicnn/ops/conv2d/__init__.py:
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
    key: c.key("x"), name: c.mirror ? c.text("x") : "input x", lead: [n, t.first + Math.min(c.state.shown, z.cg - 1)], margin: convMargin(z),
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
  const total = t.sums.reduce((u, v) => u + v, t.b);
  return {
    maps: [convInput(c, z, at, t)],
    grids: [
      { title: `window of ${c.text("x")}, channel ${channel}`, rows: z.R, columns: z.S, values: a, pads: t.pads },
      { title: `kernel w[${k}, ${shown}]`, rows: z.R, columns: z.S, values: b, sign: "×" },
      { title: "products", rows: z.R, columns: z.S, values: a.map((v, i) => v * b[i]), pads: t.pads, sign: "=" },
    ],
    after: t.size > 1 ? [mrow(mtext(`channel ${channel}: `), ...mterms(a.map((v, i) => v * b[i]), { most: 3 }), mo("="), mnum(t.sums[shown]))] : [],
    bars: {
      title: `Sums of the ${plural(z.cg, "channel")}`,
      items: t.sums.map((value, i) => ({ label: `channel ${t.first + i}`, value, chosen: i === shown, act: () => c.set({ shown: i }) })),
    },
    math: [
      mrow(
        c.sign("y", n, k, p, q), mo("="), ...(c.has("b") ? [msub("b", k), mo("+")] : []),
        msum(...upTo("c", z.cg)), msum(...upTo("r", z.R)), msum(...upTo("s", z.S)),
        c.sign("x", n, t.first ? mrow(mnum(t.first), mo("+"), mi("c")) : "c", span(t.top, "r", z.dh), span(t.left, "s", z.dw)),
        msub("w", k, "c", "r", "s"),
      ),
      mrow(mo("="), ...mtotal(t.sums, total, c.has("b") ? t.b : null)),
    ],
    notes: [
      t.pads.size ? `${plural(t.pads.size, "place")} of the window ${t.pads.size === 1 ? "lies" : "lie"} outside of ${c.mirror ? "y: it was cut off" : "the image: padding, zero"}.` : null,
      c.mirror
        ? `This pixel was laid, times the kernel, onto ${plural(z.cg * (t.size - t.pads.size), "output")}: its gradient is a plain convolution of what came back from them.`
        : `${plural(z.cg * t.size, "product")}${c.has("b") ? " and the bias" : "; this layer has no bias"}.`,
      c.mirror?.shared("x"),
    ],
    sum: { total, engine: await c.value("y", at), scale: t.scale },
  };
}

// The places of x under tap (r, s) of output (p, q): p stride + r dilation - padding, and so for q
function convPlaces(z, p, q) {
  const along = (out, stride, tap, dilation, padding) => mrow(
    ...(stride > 1 ? [mnum(stride)] : []), mi(out), mo("+"), ...(dilation > 1 ? [mnum(dilation)] : []), mi(tap), ...(padding ? [mo("−"), mnum(padding)] : []),
  );
  return [along(p, z.sh, "r", z.dh, z.ph), along(q, z.sw, "s", z.dw, z.pw)];
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
    return mrow(
      msub("y", "n", "k", "p", "q"), mo("="), ...(c.has("b") ? [msub("b", "k"), mo("+")] : []), msum(mrow(mi("c"), mo(","), mi("r"), mo(","), mi("s")), null),
      msub("x", "n", "c", ...convPlaces(z, "p", "q")), msub("w", "k", "c", "r", "s"),
    );
  },
};
