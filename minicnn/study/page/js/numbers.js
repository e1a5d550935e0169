// Blocks of the recording's arrays, asked for by messages and kept for a while.
// A request is {id, key, ranges: [[start, stop], ...]}; the answer {id, type} with one buffer, or {id, error}.
// Explanations of single numbers come the same way: their keys begin with e, their type is "json".

const MOST_KEPT = 600;
const TYPES = { float32: Float32Array, float64: Float64Array, int32: Int32Array };

class Block {
  constructor(data, ranges) {
    this.data = data;
    this.starts = ranges.map(([start]) => start);
    this.shape = ranges.map(([start, stop]) => stop - start);
  }

  // The value at an index of the whole array.
  at(...index) {
    let place = 0;
    for (let axis = 0; axis < this.shape.length; axis++) {
      place = place * this.shape[axis] + index[axis] - this.starts[axis];
    }
    return this.data[place];
  }
}

class Source {
  constructor(model) {
    this.model = model;
    this.description = model.get("description");
    this.waiting = new Map();
    this.kept = new Map();
    this.last = 0;
    this.listener = (message, buffers) => this.answered(message, buffers);
    model.on("msg:custom", this.listener);
  }

  close() {
    this.model.off?.("msg:custom", this.listener);
  }

  shape(key) {
    const [, kind, number, name] = /^([tgck])(\d+):?(.*)$/.exec(key);
    const { tensors, steps } = this.description;
    if (kind === "t" || kind === "g") return tensors[number].shape;
    const step = steps[number];
    return kind === "c" ? tensors[step.inputs[name]].shape : step.arrays[name];
  }

  // ranges: for each axis [start, stop], a single index, or null for the whole axis.
  block(key, ranges = []) {
    const shape = this.shape(key);
    const full = shape.map((size, axis) => {
      const range = ranges[axis];
      if (range === undefined || range === null) return [0, size];
      const [start, stop] = typeof range === "number" ? [range, range + 1] : range;
      return [Math.max(0, Math.min(start, size)), Math.max(0, Math.min(stop, size))];
    });
    return this.asked(key, full);
  }

  explanation(key, index) {
    return this.asked(key, index.map((place) => [place, place + 1]));
  }

  asked(key, ranges) {
    const name = `${key} ${ranges.join(" ")}`;
    if (!this.kept.has(name)) {
      if (this.kept.size >= MOST_KEPT) this.kept.delete(this.kept.keys().next().value);
      const id = ++this.last;
      const answer = new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject, ranges }));
      answer.catch(() => this.kept.delete(name));
      this.kept.set(name, answer);
      this.model.send({ id, key, ranges });
    }
    return this.kept.get(name);
  }

  async value(key, index) {
    return (await this.block(key, index)).data[0];
  }

  answered(message, buffers) {
    const asked = message && this.waiting.get(message.id);
    if (!asked) return;
    this.waiting.delete(message.id);
    if (message.error) {
      asked.reject(new Error(message.error));
      return;
    }
    const view = buffers[0];
    const bytes = view instanceof ArrayBuffer ? view : view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
    if (message.type === "json") asked.resolve(JSON.parse(new TextDecoder().decode(bytes)));
    else asked.resolve(new Block(new TYPES[message.type](bytes), asked.ranges));
  }
}

// How an array of any shape is shown as a picture: the last two axes of more than one number as rows and columns, or
// the only one, wrapped. A single row would say little: an LSTM's (steps, 1, numbers) is steps x numbers.
function planeOf(shape) {
  const last = shape.length - 1;
  const long = shape.map((_, axis) => axis).filter((axis) => shape[axis] > 1);
  if (last >= 2 && shape[last] > 1 && long.length > 1) {
    const axes = long.slice(-2);
    return { axes, rows: shape[axes[0]], columns: shape[axes[1]], wrapped: false };
  }
  const axis = last >= 2 ? long.at(-1) ?? last : last;
  const many = shape[axis] ?? 1;
  const columns = many <= 16 ? many : many <= 256 ? 16 : 32;
  return { axes: last < 0 ? [] : [axis], rows: Math.ceil(many / columns), columns, wrapped: true, many };
}

// What a picture with this index in it shows: the index, with null for the axes of the picture.
const sliceAt = (shape, index) => index.map((value, axis) => (planeOf(shape).axes.includes(axis) ? null : value));

// Row and column of an index in its picture, and back.
function placeIn(shape, index) {
  const { axes, columns, wrapped } = planeOf(shape);
  const [first, second] = axes.map((axis) => index[axis]);
  return wrapped ? [Math.floor((first ?? 0) / columns), (first ?? 0) % columns] : [first, second];
}

// A slice shorter than the shape says that the picture is of the last two axes.
function indexAt(shape, slice, row, column) {
  if (slice.length < shape.length) return [...slice, row, column];
  const { axes, columns, wrapped, many } = planeOf(shape);
  const values = wrapped ? [Math.min(row * columns + column, many - 1)] : [row, column];
  return slice.map((value, axis) => (axes.includes(axis) ? values[axes.indexOf(axis)] : value));
}

const sliceName = (shape, slice) => (slice.some((value) => value !== null) ? `[${[...slice.map((value) => value ?? "…"), ...Array(shape.length - slice.length).fill("…")].join(", ")}]` : "");

const ones = (shape) => shape.map(() => 0);
const inside = (index, shape) => index.map((value, axis) => Math.max(0, Math.min(value, shape[axis] - 1)));
