// A plane of numbers as a picture: one value is chosen by pointer or arrow keys, a window may lie on it.

const SIDE = 280; // CSS pixels of the longer side, about

// plane: {title, values, rows, columns, chosen: [row, column], window: [top, left, rows, columns, step, step],
//   marks: [[row, column, kind]], margin, pick(row, column), label(row, column), focus, scale}
function mapView(plane) {
  const margin = plane.margin ?? 0;
  const rows = plane.rows + 2 * margin;
  const columns = plane.columns + 2 * margin;
  const zoom = Math.max(1, Math.min(26, Math.floor((plane.side ?? SIDE) / Math.max(rows, columns))));
  const scale = plane.scale ?? largest(plane.values);
  const canvas = make("canvas", {
    width: columns * zoom,
    height: rows * zoom,
    class: plane.pick ? "map live" : "map",
    "data-focus": plane.focus,
    style: { width: `${columns * zoom}px` },
  });
  draw(canvas, plane, { zoom, scale, margin });
  if (plane.pick) {
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-roledescription", "map of numbers");
    listen(canvas, plane, { zoom, margin, rows, columns });
  } else canvas.setAttribute("role", "img");
  const size = plane.wrapped ? `${plane.many} values` : `${plane.rows} × ${plane.columns}`;
  const chosen = plane.chosen ? `, chosen: ${plane.label?.(...plane.chosen) ?? plane.chosen.join(", ")}` : "";
  canvas.setAttribute("aria-label", `${plane.title}, ${size}${chosen}${plane.pick ? "; arrow keys choose" : ""}`);
  return make(
    "figure",
    { class: "plane" },
    make("figcaption", {}, plane.title, plane.caption ? make("span", { class: "soft" }, ` ${plane.caption}`) : null),
    canvas,
    make("div", { class: "legend", "aria-hidden": "true" }, ...legend(scale)),
  );
}

function legend(scale) {
  const bar = painted(Array.from({ length: 65 }, (_, i) => i / 32 - 1), 1, 65, 1);
  bar.className = "ramp";
  return [make("span", {}, short(-scale)), bar, make("span", {}, short(scale))];
}

function draw(canvas, plane, { zoom, scale, margin }) {
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  if (margin) hatch(context, canvas.width, canvas.height);
  const picture = painted(plane.values, plane.rows, plane.columns, scale);
  context.clearRect(margin * zoom, margin * zoom, plane.columns * zoom, plane.rows * zoom);
  context.drawImage(picture, margin * zoom, margin * zoom, plane.columns * zoom, plane.rows * zoom);
  const frame = (row, column, high, wide, dashed = false) => {
    const box = [(column + margin) * zoom, (row + margin) * zoom, wide * zoom, high * zoom];
    outline(context, box, zoom, dashed);
  };
  if (plane.window) {
    const [top, left, high, wide, down = 1, right = 1] = plane.window;
    if (down === 1 && right === 1) frame(top, left, high, wide);
    else for (let r = 0; r < high; r++) for (let s = 0; s < wide; s++) frame(top + r * down, left + s * right, 1, 1);
  }
  for (const [row, column, kind] of plane.marks ?? []) frame(row, column, 1, 1, kind === "dashed");
  if (plane.chosen) frame(plane.chosen[0], plane.chosen[1], 1, 1);
}

// Black on white, so that it is seen on every colour.
function outline(context, [x, y, wide, high], zoom, dashed) {
  const thick = zoom >= 6 ? 2 : 1;
  const grow = zoom < 5 ? 2 : 0;
  context.setLineDash(dashed ? [3, 3] : []);
  for (const [colour, width, out] of [["#fff", thick * 2 + 1, grow], ["#000", thick, grow]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.strokeRect(x - out + 0.5, y - out + 0.5, wide + 2 * out - 1, high + 2 * out - 1);
  }
  context.setLineDash([]);
}

function hatch(context, width, height) {
  context.fillStyle = "#e4e4e4";
  context.fillRect(0, 0, width, height);
  context.strokeStyle = "#8a8a8a";
  context.lineWidth = 1;
  context.beginPath();
  for (let i = -height; i < width; i += 5) {
    context.moveTo(i, height);
    context.lineTo(i + height, 0);
  }
  context.stroke();
}

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function listen(canvas, plane, { margin, rows, columns }) {
  const clamp = (value, size) => Math.max(0, Math.min(size - 1, value));
  canvas.addEventListener("pointerdown", (event) => {
    const box = canvas.getBoundingClientRect();
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows) - margin;
    const column = Math.floor(((event.clientX - box.left) / box.width) * columns) - margin;
    canvas.focus({ preventScroll: true });
    plane.pick(clamp(row, plane.rows), clamp(column, plane.columns));
  });
  canvas.addEventListener("keydown", (event) => {
    const [row, column] = plane.chosen ?? plane.window ?? [0, 0];
    const step = ARROWS[event.key];
    let to = step && [row + step[0], column + step[1]];
    if (event.key === "Home") to = [0, 0];
    if (event.key === "End") to = [plane.rows - 1, plane.columns - 1];
    if (!to || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    if (to[1] >= plane.columns && to[0] + 1 < plane.rows) to = [to[0] + 1, 0]; // on to the next line, as one reads
    if (to[1] < 0 && to[0] > 0) to = [to[0] - 1, plane.columns - 1];
    plane.pick(clamp(to[0], plane.rows), clamp(to[1], plane.columns));
  });
}
