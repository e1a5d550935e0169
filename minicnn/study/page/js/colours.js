// Blue, grey, orange: the sign can be told with any colour vision, and in grey too, since lightness grows with the value.

const ANCHORS = [
  [8, 38, 92],
  [52, 92, 154],
  [134, 134, 134],
  [226, 160, 70],
  [255, 214, 138],
];

function colour(value, scale) {
  if (!Number.isFinite(value)) return [200, 0, 120];
  const place = scale > 0 ? Math.max(-1, Math.min(1, value / scale)) * 2 + 2 : 2;
  const low = Math.min(3, Math.floor(place));
  const share = place - low;
  return ANCHORS[low].map((from, i) => Math.round(from + share * (ANCHORS[low + 1][i] - from)));
}

const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;
const inkOn = ([red, green, blue]) => (0.299 * red + 0.587 * green + 0.114 * blue > 115 ? "#111" : "#fff");

function largest(values) {
  let most = 0;
  for (const value of values) {
    const size = Math.abs(value);
    if (size > most && size < Infinity) most = size;
  }
  return most;
}

// Pixels of a plane, `zoom` canvas pixels each, into a new canvas.
function painted(values, rows, columns, scale) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, columns);
  canvas.height = Math.max(1, rows);
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  for (let i = 0; i < rows * columns; i++) {
    if (i >= values.length) break; // the last row of a wrapped vector may be short
    const [red, green, blue] = colour(values[i], scale);
    image.data.set([red, green, blue, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}
