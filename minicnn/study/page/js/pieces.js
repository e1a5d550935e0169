// Pieces that all explanations are made of: small tables of numbers, bars of partial sums, named terms, and the check.

const MOST_CELLS = 81; // in a table with numbers; larger ones become pictures

// {title, rows, columns, values, pads: Set of places, chosen: place, sign: what stands before it, scale, pick(place)}
function gridView(grid) {
  const scale = grid.scale ?? largest(grid.values);
  const sign = grid.sign ? make("span", { class: "sign", "aria-hidden": "true" }, grid.sign) : null;
  if (grid.rows * grid.columns > MOST_CELLS || grid.columns > 9) {
    return make("div", { class: "piece" }, sign, mapView({ ...grid, chosen: undefined, side: 220, scale }));
  }
  const lines = [];
  for (let row = 0; row < grid.rows; row++) {
    const cells = [];
    for (let column = 0; column < grid.columns; column++) {
      const place = row * grid.columns + column;
      const value = grid.values[place];
      const padded = grid.pads?.has(place);
      const paint = colour(value, scale);
      const chosen = grid.chosen === place || grid.marked?.has(place);
      cells.push(
        make(
          "td",
          {
            class: [padded ? "pad" : "", chosen ? "chosen" : ""].join(" ").trim() || null,
            style: padded ? {} : { background: css(paint), color: inkOn(paint) },
            title: padded ? "padding" : exact(value),
          },
          inTable(value, scale),
          padded ? make("span", { class: "hidden" }, " (padding)") : null,
          chosen ? make("span", { class: "hidden" }, " (chosen)") : null,
        ),
      );
    }
    lines.push(make("tr", {}, cells));
  }
  const size = grid.columns > 5 ? "grid small" : "grid";
  return make(
    "div",
    { class: "piece" },
    sign,
    make("div", { class: "scroll" }, make("table", { class: size }, make("caption", {}, grid.title, sharedPower(scale) ? ` · 10${raised(sharedPower(scale))}` : ""), make("tbody", {}, lines))),
  );
}

// {title, items: [{label, value, chosen, act}], whole: whether all are shown, toggle: absent where they cannot be,
//   more: {many, sum} of values that are not among the items}
const SHOWN = 12;

function barsView(bars) {
  const scale = largest(bars.items.map((item) => item.value));
  const order = bars.items.map((_, i) => i);
  const folded = !bars.whole && bars.items.length > SHOWN;
  if (folded) {
    order.sort((a, b) => Math.abs(bars.items[b].value) - Math.abs(bars.items[a].value));
    const chosen = bars.items.findIndex((item) => item.chosen);
    order.length = SHOWN;
    if (chosen >= 0 && !order.includes(chosen)) order[SHOWN - 1] = chosen;
  }
  const rows = order.map((i) => barView(bars.items[i], scale));
  const rest = folded ? bars.items.filter((_, i) => !order.includes(i)) : [];
  const left = rest.reduce((sum, item) => sum + item.value, bars.more?.sum ?? 0);
  const others = rest.length + (bars.more?.many ?? 0);
  const toggle = bars.toggle && bars.items.length > SHOWN;
  return make(
    "div",
    { class: "bars" },
    make("h3", {}, bars.title, folded ? make("span", { class: "soft" }, " largest first") : null),
    make("ul", {}, rows),
    others || toggle
      ? make(
          "p",
          { class: "soft" },
          others ? `and ${others.toLocaleString("en")} more, together ${fmt(left)} ` : null,
          toggle ? make("button", { type: "button", onclick: bars.toggle, "data-focus": "fold" }, folded ? (bars.more?.many ? "show more" : "show all") : "show the largest") : null,
        )
      : null,
  );
}

function barView(item, scale) {
  const share = scale > 0 ? Math.abs(item.value) / scale : 0;
  const bar = make("span", { class: "bar", "aria-hidden": "true" });
  const fill = make("span", {
    class: item.value < 0 ? "fill minus" : "fill plus",
    style: { width: `${50 * share}%`, background: css(colour(Math.sign(item.value), 1)) },
  });
  bar.append(fill);
  const inner = [make("span", { class: "label" }, item.label), bar, make("span", { class: "value" }, fmt(item.value))];
  const content = item.act
    ? make(
        "button",
        { type: "button", "aria-pressed": String(Boolean(item.chosen)), onclick: item.act, "data-focus": `bar ${item.label}` },
        inner,
      )
    : make("div", {}, inner);
  return make("li", {}, content);
}

// [{name, formula: MathML or null, value}]
function termsView(terms) {
  const rows = terms.map((term) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, term.name),
      make("td", {}, typeof term.formula === "string" ? term.formula : term.formula ? inline(term.formula) : ""),
      make("td", { class: "value" }, typeof term.value === "number" ? fmt(term.value, 6) : term.value),
    ),
  );
  return make("div", { class: "scroll" }, make("table", { class: "terms" }, make("tbody", {}, rows)));
}

function inline(node) {
  const element = mml("math", node);
  return element;
}

// The sum that was made here, beside the engine's number: {total, engine, scale, what}
function checkView(sum) {
  const difference = Math.abs(sum.total - sum.engine);
  const same = Object.is(Math.fround(sum.total), Math.fround(sum.engine)) || sum.total === sum.engine;
  const allowed = sum.allowed ?? (sum.tolerance ?? 4e-6) * Math.max(sum.scale ?? 0, Math.abs(sum.engine)) + 1e-30;
  const equal = same || difference <= allowed;
  const says = same ? "equal in float32" : equal ? `equal to rounding: difference ${fmt(difference, 2)}` : `different by ${fmt(difference, 3)}`;
  return make(
    "p",
    { class: equal ? "check" : "check wrong" },
    make("span", {}, sum.what ?? "sum computed here "),
    make("output", { class: "total", "data-value": String(sum.total) }, exact(sum.total)),
    make("span", {}, " · the engine's value "),
    make("output", { class: "engine", "data-value": String(sum.engine) }, exact(sum.engine)),
    make("strong", { class: "verdict", "data-equal": String(equal) }, ` ${equal ? "✓" : "✗"} ${says}`),
  );
}

// "0.31 + (−0.2) + … (14 more)": the largest values of a sum, in the order in which they are added
function mterms(values, { most = 4, many = values.length, begun = false } = {}) {
  const order = values.map((_, i) => i).sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]));
  const chosen = order.slice(0, most).sort((a, b) => a - b);
  const row = [];
  for (const i of chosen) {
    if (row.length) row.push(mo("+"));
    row.push(mnum(values[i], begun || row.length > 0));
  }
  if (many > chosen.length) row.push(mo("+"), mo("…"), mtext(` (${many - chosen.length} more)`));
  return row;
}

// "bias + terms = total", without the terms where there is only one
function mtotal(values, total, bias = null) {
  const begun = bias !== null;
  const worked = begun || values.length > 1 ? [...(begun ? [mnum(bias), mo("+")] : []), ...mterms(values, { begun }), mo("=")] : [];
  return [...worked, mnum(total)];
}

function spin(label, value, size, set, focus) {
  const id = `minicnn-${++spin.count}`;
  const input = make("input", {
    id,
    type: "number",
    min: 0,
    max: size - 1,
    step: 1,
    value,
    inputmode: "numeric",
    "data-focus": focus,
    onchange: () => {
      const wanted = Math.round(Number(input.value));
      set(Math.max(0, Math.min(size - 1, Number.isFinite(wanted) ? wanted : 0)));
    },
  });
  return make("label", { class: "spin", for: id }, label, input, make("span", { class: "soft" }, `of ${size}`));
}
spin.count = 0;
