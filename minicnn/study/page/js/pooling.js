// Pooling: who won (ties as well), and shares of a mean.

// Windows along one axis: for output p the rows [start, stop) and their step; padding may stand in them.
function poolAxis(c, axis) {
  const o = c.step.options;
  const two = (value) => (Array.isArray(value) ? value[axis] : value);
  const size = c.shape("x")[2 + axis];
  const many = c.shape("y")[2 + axis];
  if (c.step.operation === "adaptive_avg_pool2d") {
    return (p) => ({ start: Math.floor((p * size) / many), count: Math.ceil(((p + 1) * size) / many) - Math.floor((p * size) / many), step: 1 });
  }
  const kernel = two(o.kernel_size);
  const stride = two(o.stride ?? o.kernel_size);
  return (p) => ({ start: p * stride - two(o.padding ?? 0), count: kernel, step: two(o.dilation ?? 1) });
}

async function poolWindow(c, [n, channel, p, q]) {
  const [, , H, W] = c.shape("x");
  const [v, h] = [poolAxis(c, 0)(p), poolAxis(c, 1)(q)];
  const x = await c.block("x", [n, channel, [v.start, v.start + (v.count - 1) * v.step + 1], [h.start, h.start + (h.count - 1) * h.step + 1]]);
  const cells = [];
  for (let r = 0; r < v.count; r++) {
    for (let s = 0; s < h.count; s++) {
      const [row, column] = [v.start + r * v.step, h.start + s * h.step];
      const isIn = row >= 0 && row < H && column >= 0 && column < W;
      cells.push({ row, column, isIn, value: isIn ? x.at(n, channel, row, column) : NaN });
    }
  }
  return { cells, rows: v.count, columns: h.count, window: [v.start, h.start, v.count, h.count, v.step, h.step] };
}

const poolMargin = (c) => Math.max(0, ...[c.step.options.padding ?? 0].flat());

function poolMaps(c, at, t, extra = {}) {
  return [{ key: c.key("x"), name: "input x", lead: at.slice(0, 2), window: t.window, margin: poolMargin(c), ...extra }];
}

async function maxForward(c, at) {
  const t = await poolWindow(c, at);
  const winner = await c.value("k:winner", at);
  const width = c.shape("x")[3];
  const [row, column] = [Math.floor(winner / width), winner % width];
  const place = t.cells.findIndex((cell) => cell.row === row && cell.column === column);
  const best = t.cells[place]?.value ?? NaN;
  const ties = t.cells.filter((cell) => cell.isIn && cell.value === best).length;
  const values = t.cells.map((cell) => (cell.isIn ? cell.value : 0));
  const engine = await c.value("y", at);
  const total = t.cells.reduce((most, cell) => (cell.isIn && !(cell.value <= most) ? cell.value : most), -Infinity);
  return {
    maps: poolMaps(c, at, t, { marks: [[row, column]] }),
    grids: [{ title: "the window", rows: t.rows, columns: t.columns, values, chosen: place, pads: new Set(t.cells.map((cell, i) => (cell.isIn ? -1 : i)).filter((i) => i >= 0)) }],
    math: [mrow(msub("y", ...at), mo("="), mi("max"), mo("("), ...commas(t.cells.filter((cell) => cell.isIn).slice(0, 9).map((cell) => mnum(cell.value))), ...(t.cells.length > 9 ? [mo(","), mo("…")] : []), mo(")"), mo("="), msub("x", ...at.slice(0, 2), row, column), mo("="), mnum(total))],
    notes: [
      `The winner stands at row ${row}, column ${column}; in the backward pass it gets the whole gradient, the others nothing.`,
      ties > 1 ? `${ties} values are equal: a tie. The first one in reading order wins.` : "No other value of the window equals it: no tie.",
    ],
    sum: { total, engine, scale: Math.abs(engine), what: "largest value found here " },
  };
}

// Outputs (p, q) whose window holds the pixel (h, v).
function windowsOf(c, h, v) {
  const [, , P, Q] = c.shape("y");
  const holds = (axis, at, many) => {
    const window = poolAxis(c, axis);
    return Array.from({ length: many }, (_, p) => p).filter((p) => {
      const { start, count, step } = window(p);
      return at >= start && at <= start + (count - 1) * step && (at - start) % step === 0;
    });
  };
  const columns = holds(1, v, Q);
  return holds(0, h, P).flatMap((p) => columns.map((q) => [p, q]));
}

async function maxGradInput(c, at) {
  const [n, channel, h, v] = at;
  const width = c.shape("x")[3];
  const windows = windowsOf(c, h, v);
  const [dy, winner] = await Promise.all([c.block("dy", [n, channel]), c.block("k:winner", [n, channel])]);
  const terms = windows.map(([p, q]) => ({ p, q, won: winner.at(n, channel, p, q) === h * width + v, dy: dy.at(n, channel, p, q) }));
  const total = terms.reduce((sum, term) => sum + (term.won ? term.dy : 0), 0);
  return {
    maps: [{ key: c.gradKey, name: "∂L/∂y", lead: [n, channel], focus: "dy", marks: terms.map((term) => [term.p, term.q, term.won ? "" : "dashed"]), pick: (p, q) => c.set({ mode: "y" }, "y", [n, channel, p, q]) }],
    terms: terms.map((term) => ({ name: `window (${term.p}, ${term.q})`, formula: term.won ? mrow(mtext("won: "), mgrad("y", n, channel, term.p, term.q)) : mtext("lost: nothing"), value: term.won ? term.dy : 0 })),
    math: [mrow(mgrad("x", ...at), mo("="), msum(mtext("windows that it won"), null), mgrad("y", n, channel, "p", "q"), mo("="), mnum(total))],
    notes: [`${plural(windows.length, "window")} held this value, and it won ${terms.filter((term) => term.won).length} of them. Dashed: windows that it lost.`, c.shared("x")],
    sum: { total, engine: await c.back("x", at), scale: terms.reduce((sum, term) => sum + Math.abs(term.dy), 0) },
  };
}

// How many pixels the mean of window (p, q) divides by.
function divisor(c, p, q) {
  const o = c.step.options;
  return [p, q].reduce((product, index, axis) => {
    const { start, count } = poolAxis(c, axis)(index);
    const size = c.shape("x")[2 + axis];
    const padding = Array.isArray(o.padding) ? o.padding[axis] : o.padding ?? 0;
    const whole = o.count_include_pad ?? true;
    const from = whole ? start : Math.max(0, start);
    const to = Math.min(start + count, whole ? size + padding : size);
    return product * (to - from);
  }, 1);
}

async function meanForward(c, at) {
  const t = await poolWindow(c, at);
  const many = divisor(c, at[2], at[3]);
  const values = t.cells.map((cell) => (cell.isIn ? cell.value : 0));
  const sum = values.reduce((u, v) => u + v, 0);
  return {
    maps: poolMaps(c, at, t),
    grids: [{ title: "the window", rows: t.rows, columns: t.columns, values, pads: new Set(t.cells.map((cell, i) => (cell.isIn ? -1 : i)).filter((i) => i >= 0)) }],
    math: [mrow(msub("y", ...at), mo("="), mfrac(mml("mn", "1"), mml("mn", String(many))), mo("("), ...mterms(values), mo(")"), mo("="), mfrac(mnum(sum), mml("mn", String(many))), mo("="), mnum(sum / many))],
    notes: [`The mean of ${plural(many, "value")}.`],
    sum: { total: sum / many, engine: await c.value("y", at), scale: values.reduce((u, v) => u + Math.abs(v), 0) / many },
  };
}

async function meanGradInput(c, at) {
  const [n, channel, h, v] = at;
  const windows = windowsOf(c, h, v);
  const dy = await c.block("dy", [n, channel]);
  const terms = windows.map(([p, q]) => ({ p, q, many: divisor(c, p, q), dy: dy.at(n, channel, p, q) }));
  const total = terms.reduce((sum, term) => sum + term.dy / term.many, 0);
  return {
    maps: [{ key: c.gradKey, name: "∂L/∂y", lead: [n, channel], marks: terms.map((term) => [term.p, term.q]) }],
    terms: terms.map((term) => ({ name: `window (${term.p}, ${term.q})`, formula: mfrac(mnum(term.dy), mml("mn", String(term.many))), value: term.dy / term.many })),
    math: [mrow(mgrad("x", ...at), mo("="), msum(mtext("windows that hold it"), null), mfrac(mgrad("y", n, channel, "p", "q"), mi("A")), mo("="), mnum(total))],
    notes: ["Each value of a window has the same share in the mean, so it gets the same share of the gradient.", c.shared("x")],
    sum: { total, engine: await c.back("x", at), scale: terms.reduce((sum, term) => sum + Math.abs(term.dy / term.many), 0) },
  };
}

const inOut = (c) => [
  { id: "y", side: "forward", label: "output", target: "y" },
  { id: "x", side: "backward", label: "∂L/∂x", target: "x" },
];

const MAX_POOL = {
  modes: inOut,
  views: { y: maxForward, x: maxGradInput },
  formula: (c) => mrow(msub("y", "n", "c", "p", "q"), mo("="), mml("munder", mfunction("max"), mrow(mi("r"), mo(","), mi("s"))), msub("x", "n", "c", ...["p", "q"].map((letter, axis) => {
    const { start, step } = poolAxis(c, axis)(0);
    const stride = poolAxis(c, axis)(1).start - start;
    return mrow(...(stride > 1 ? [mnum(stride)] : []), mi(letter), mo("+"), ...(step > 1 ? [mnum(step)] : []), mi(axis ? "s" : "r"), ...(start ? [mo("−"), mnum(-start)] : []));
  }))),
};
const MEAN_POOL = {
  modes: inOut,
  views: { y: meanForward, x: meanGradInput },
  formula: () => mrow(msub("y", "n", "c", "p", "q"), mo("="), mfrac(mml("mn", "1"), mi("A")), msum(mtext("window"), null), msub("x", "n", "c", "h", "w")),
};
