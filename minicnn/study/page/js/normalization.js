// Batch normalisation, alone or with a residual and ReLU: statistics, named terms, and the three terms of its gradient.
// As in minicnn/ops/batch_norm/__init__.py:  y = weight x_hat + bias,  x_hat = (x - mean) inv_std

const fused = (c) => c.step.operation === "batch_norm_relu";

async function channelNumbers(c, channel) {
  const one = (name) => (c.has(name) ? c.value(name, [channel]) : null);
  const [mean, variance, weight, bias] = await Promise.all([c.value("k:mean", [channel]), c.value("k:var", [channel]), one("weight"), one("bias")]);
  const eps = c.step.options.eps ?? 1e-5;
  return { mean, variance, weight: weight ?? 1, bias: bias ?? 0, eps, inverse: 1 / Math.sqrt(variance + eps) };
}

const mmean = (...inner) => mrow(mi("mean"), mrow(mo("("), ...inner, mo(")"))); // brackets as high as what is in them
const training = (c) => c.step.options.training === true;
const isSame = (index, at) => index.every((value, axis) => value === at[axis]);

async function normForward(c, at) {
  const channel = at[1];
  const t = await channelNumbers(c, channel);
  const [x, plane] = await Promise.all([c.value("x", at), c.block("x", [null, channel])]);
  const hat = (x - t.mean) * t.inverse;
  const scaled = t.weight * hat + t.bias;
  const residual = c.has("residual") ? await c.value("residual", at) : 0;
  const sum = scaled + residual;
  const total = fused(c) ? (sum > 0 ? sum : 0) : sum;
  const values = plane.data;
  const mean = values.reduce((u, v) => u + v, 0) / values.length;
  const variance = values.reduce((u, v) => u + (v - mean) ** 2, 0) / values.length;
  const terms = [
    { name: training(c) ? "mean of the batch" : "running mean", formula: msub("μ", channel), value: t.mean },
    { name: training(c) ? "variance of the batch" : "running variance", formula: msquared(msub("σ", channel)), value: t.variance },
    { name: "centred", formula: mrow(mi("x"), mo("−"), msub("μ", channel)), value: x - t.mean },
    { name: "1 / deviation", formula: mfrac(mml("mn", "1"), msqrt(msquared(msub("σ", channel)), mo("+"), mi("ε"))), value: t.inverse },
    { name: "normalised", formula: mhat("x"), value: hat },
    { name: "weight", formula: msub("γ", channel), value: t.weight },
    { name: "bias", formula: msub("β", channel), value: t.bias },
    { name: "scaled and shifted", formula: mrow(msub("γ", channel), mhat("x"), mo("+"), msub("β", channel)), value: scaled },
  ];
  if (c.has("residual")) terms.push({ name: "residual", formula: mi("r"), value: residual }, { name: "sum", formula: mrow(mi("z"), mo("="), mi("…"), mo("+"), mi("r")), value: sum });
  if (fused(c)) terms.push({ name: "ReLU", formula: mrow(mi("max"), mo("("), mi("z"), mo(","), mml("mn", "0"), mo(")")), value: total });
  return {
    maps: [
      sameMap(c, c.key("x"), "input x", at),
      ...(c.has("residual") ? [sameMap(c, c.key("residual"), "residual, the shortcut", at)] : []),
    ],
    terms,
    math: [
      mrow(
        msub("y", ...at), mo("="), ...(fused(c) ? [mi("max"), mo("(")] : []), msub("γ", channel), mfrac([msub("x", ...at), mo("−"), msub("μ", channel)], msqrt(msquared(msub("σ", channel)), mo("+"), mi("ε"))), mo("+"), msub("β", channel),
        ...(c.has("residual") ? [mo("+"), msub("r", ...at)] : []), ...(fused(c) ? [mo(","), mml("mn", "0"), mo(")")] : []),
      ),
      mrow(
        mo("="), ...(fused(c) ? [mi("max"), mo("(")] : []), mnum(t.weight), mo("·"), mfrac([mnum(x), mo("−"), mnum(t.mean, true)], msqrt(mnum(t.variance), mo("+"), mnum(t.eps))), mo("+"), mnum(t.bias, true),
        ...(c.has("residual") ? [mo("+"), mnum(residual, true)] : []), ...(fused(c) ? [mo(","), mml("mn", "0"), mo(")")] : []), mo("="), mnum(total),
      ),
    ],
    notes: [
      `This channel has ${plural(values.length, "value")} here: mean ${fmt(mean)}, variance ${fmt(variance)}. ` +
        (training(c) ? "These are the μ and σ² of the formula." : "In evaluation the formula has the running averages of the training instead, which are constants."),
      c.has("residual") ? "The shortcut is added before the ReLU: relu(F(x) + x)." : null,
    ],
    sum: { total, engine: await c.value("y", at), scale: Math.abs(t.weight * x * t.inverse) + Math.abs(t.weight * t.mean * t.inverse) + Math.abs(t.bias) + Math.abs(residual), what: "computed here " },
  };
}

// dz of one channel: what passes the ReLU.
async function passed(c, channel) {
  const [dy, y] = await Promise.all([c.block("dy", [null, channel]), fused(c) ? c.block("y", [null, channel]) : null]);
  return { dy, dz: Float64Array.from(dy.data, (value, i) => (y === null || y.data[i] > 0 ? value : 0)) };
}

// The place of an index in a block that has all images and places of one channel.
const placeOf = (block, at) => at.reduce((place, value, axis) => place * block.shape[axis] + value - block.starts[axis], 0);

async function normGradInput(c, at) {
  const channel = at[1];
  const t = await channelNumbers(c, channel);
  const { dy, dz } = await passed(c, channel);
  const own = placeOf(dy, at);
  const first = t.inverse * t.weight * dz[own];
  let [second, third] = [0, 0];
  if (training(c)) {
    const x = await c.block("x", [null, channel]);
    const hats = Float64Array.from(x.data, (value) => (value - t.mean) * t.inverse);
    second = (-t.inverse * t.weight * dz.reduce((u, v) => u + v, 0)) / dz.length;
    third = ((-t.inverse * t.weight * dz.reduce((u, v, i) => u + v * hats[i], 0)) / dz.length) * hats[own];
  }
  const total = first + second + third;
  const terms = [
    ...(fused(c) ? [{ name: "passes the ReLU", formula: mrow(mi("dz"), mo("="), mi("dy"), mtext(" where "), mi("y"), mo(">"), mml("mn", "0")), value: dz[own] }] : []),
    { name: "its own share", formula: mrow(mfrac([msub("γ", channel)], msqrt(msquared(msub("σ", channel)), mo("+"), mi("ε"))), mi("dz")), value: first },
    ...(training(c)
      ? [
          { name: "through the mean", formula: mrow(mo("−"), mfrac([msub("γ", channel)], msqrt(msquared(msub("σ", channel)), mo("+"), mi("ε"))), mmean(mi("dz"))), value: second },
          { name: "through the variance", formula: mrow(mo("−"), mfrac([msub("γ", channel)], msqrt(msquared(msub("σ", channel)), mo("+"), mi("ε"))), mmean(mi("dz"), mhat("x")), mhat("x")), value: third },
        ]
      : []),
  ];
  const worked = training(c) ? mtotal([first, second, third], total) : [mnum(t.inverse * t.weight), mo("·"), mnum(dz[own], true), mo("="), mnum(total)];
  return {
    maps: [sameMap(c, c.gradKey, "∂L/∂y", at)],
    terms,
    math: [
      mrow(
        mgrad("x", ...at), mo("="), mfrac([msub("γ", channel)], msqrt(msquared(msub("σ", channel)), mo("+"), mi("ε"))),
        ...(training(c) ? [mo("("), msub("dz", ...at), mo("−"), mmean(mi("dz")), mo("−"), msub(mhat("x"), ...at), mmean(mi("dz"), mhat("x")), mo(")")] : [msub("dz", ...at)]),
      ),
      mrow(mo("="), ...worked),
    ],
    notes: [
      fused(c) ? null : "Without a ReLU dz is ∂L/∂y.",
      training(c)
        ? "Mean and variance are functions of all values of the channel, so each value's gradient has three terms."
        : "In evaluation mean and variance are constants: there is one term only.",
      c.shared("x"),
    ],
    sum: { total, engine: await c.back("x", at), scale: Math.abs(first) + Math.abs(second) + Math.abs(third) },
  };
}

async function normGradVector(c, at, name) {
  const channel = at[0];
  const t = await channelNumbers(c, channel);
  const { dz } = await passed(c, channel);
  const x = await c.block("x", [null, channel]);
  const hats = Array.from(x.data, (value) => (value - t.mean) * t.inverse);
  const products = name === "weight" ? hats.map((hat, i) => hat * dz[i]) : Array.from(dz);
  const total = products.reduce((u, v) => u + v, 0);
  const [, , H = 1, W = 1] = c.shape("x");
  const [rows, columns] = [(x.data.length / (H * W)) * H, W];
  const grids = [{ title: fused(c) ? "dz, what passed the ReLU" : "∂L/∂y", rows, columns, values: Array.from(dz) }];
  if (name === "weight") grids.push({ title: "normalised x", rows, columns, values: hats, sign: "×" }, { title: "products", rows, columns, values: products, sign: "=" });
  return {
    maps: [],
    grids,
    math: [mrow(mgrad(name === "weight" ? "γ" : "β", channel), mo("="), msum(mtext("places"), null), mi("dz"), ...(name === "weight" ? [mhat("x")] : []), mo("="), ...mtotal(products, total))],
    notes: [],
    sum: { total, engine: await c.back(name, at), scale: products.reduce((u, v) => u + Math.abs(v), 0) },
  };
}

async function normGradResidual(c, at) {
  const { dy, dz } = await passed(c, at[1]);
  const own = placeOf(dy, at);
  return {
    maps: [sameMap(c, c.gradKey, "∂L/∂y", at)],
    math: [mrow(mgrad("r", ...at), mo("="), mi("dz"), mo("="), mnum(dz[own]))],
    notes: ["The gradient of a sum goes to both summands unchanged: past the convolutions it flows back through the shortcut as it is. This is why very deep residual networks learn.", c.shared("residual")],
    sum: { total: dz[own], engine: await c.back("residual", at), scale: Math.abs(dz[own]), what: "passed on " },
  };
}

const NORM = {
  modes: (c) => [
    { id: "y", side: "forward", label: "output", target: "y" },
    { id: "x", side: "backward", label: "∂L/∂x", target: "x" },
    ...(c.has("residual") ? [{ id: "residual", side: "backward", label: "∂L/∂residual", target: "residual" }] : []),
    ...(c.has("weight") ? [{ id: "weight", side: "backward", label: "∂L/∂γ", target: "weight" }] : []),
    ...(c.has("bias") ? [{ id: "bias", side: "backward", label: "∂L/∂β", target: "bias" }] : []),
  ],
  views: {
    y: normForward,
    x: normGradInput,
    residual: normGradResidual,
    weight: (c, at) => normGradVector(c, at, "weight"),
    bias: (c, at) => normGradVector(c, at, "bias"),
  },
  formula: (c) => mrow(
    mi("y"), mo("="), ...(fused(c) ? [mi("max"), mo("(")] : []), msub("γ", "c"), mfrac([mi("x"), mo("−"), msub("μ", "c")], msqrt(msquared(msub("σ", "c")), mo("+"), mi("ε"))), mo("+"), msub("β", "c"),
    ...(c.has("residual") ? [mo("+"), mi("r")] : []), ...(fused(c) ? [mo(","), mml("mn", "0"), mo(")")] : []),
  ),
};
