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

// How an array of any shape is shown as planes: the leading axes are chosen, the rest is a picture.
function planeOf(shape) {
  const lead = shape.length >= 3 ? shape.length - 2 : Math.max(0, shape.length - 1);
  const inner = shape.slice(lead);
  if (inner.length === 2) return { lead, rows: inner[0], columns: inner[1], wrapped: false };
  const many = inner.length ? inner[0] : 1;
  const columns = many <= 16 ? many : many <= 256 ? 16 : 32;
  return { lead, rows: Math.ceil(many / columns), columns, wrapped: true, many };
}

// Row and column of an index in its plane, and back.
function placeIn(shape, index) {
  const plane = planeOf(shape);
  if (!plane.wrapped) return index.slice(-2);
  const last = shape.length ? index[index.length - 1] : 0;
  return [Math.floor(last / plane.columns), last % plane.columns];
}

function indexAt(shape, lead, row, column) {
  const plane = planeOf(shape);
  if (!plane.wrapped) return [...lead, row, column];
  if (!shape.length) return [];
  return [...lead, Math.min(row * plane.columns + column, plane.many - 1)];
}

const ones = (shape) => shape.map(() => 0);
const inside = (index, shape) => index.map((value, axis) => Math.max(0, Math.min(value, shape[axis] - 1)));
