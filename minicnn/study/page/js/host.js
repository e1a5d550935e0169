// In the page: a model with a notebook model's three methods. Blocks come from the file itself, or from the server.

class FileModel {
  constructor(data) {
    this.data = data;
    this.arrays = new Map();
    this.listeners = new Set();
  }

  get() {
    return this.data.description;
  }

  on(_, listener) {
    this.listeners.add(listener);
  }

  off(_, listener) {
    this.listeners.delete(listener);
  }

  async send(request) {
    let [reply, buffers] = [{ id: request.id, error: "this array is not in the file" }, []];
    try {
      const [type, data] = await this.part(request.key, request.ranges);
      [reply, buffers] = [{ id: request.id, type }, [data]];
    } catch (error) {
      reply.error = error.message;
    }
    for (const listener of this.listeners) listener(reply, buffers);
  }

  async part(key, ranges) {
    const explained = `${key} ${ranges.map(([start]) => start).join(",")}`;
    if (Object.hasOwn(this.data.explained, explained)) {
      return ["json", new TextEncoder().encode(JSON.stringify(this.data.explained[explained])).buffer];
    }
    if (!Object.hasOwn(this.data.arrays, key)) throw new Error("this array is not in the file");
    const { shape, type, data } = this.data.arrays[key];
    if (!this.arrays.has(key)) {
      const letters = atob(data);
      const bytes = new Uint8Array(letters.length);
      for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
      this.arrays.set(key, new TYPES[type](bytes.buffer));
    }
    const whole = this.arrays.get(key);
    const size = ranges.reduce((product, [start, stop]) => product * (stop - start), 1);
    const out = new TYPES[type](size);
    const index = ranges.map(([start]) => start);
    for (let i = 0; i < size; i++) {
      out[i] = whole[index.reduce((place, value, axis) => place * shape[axis] + value, 0)];
      for (let axis = shape.length - 1; axis >= 0; axis--) {
        if (++index[axis] < ranges[axis][1]) break;
        index[axis] = ranges[axis][0];
      }
    }
    return [type, out.buffer];
  }
}

class ServerModel extends FileModel {
  async part(key, ranges) {
    const at = ranges.map(([start, stop]) => `${start}:${stop}`).join(",");
    let answer;
    try {
      answer = await fetch(`block?key=${encodeURIComponent(key)}&at=${at}`);
    } catch {
      throw new Error("The server does not answer: was it ended?");
    }
    if (!answer.ok) throw new Error(await answer.text());
    return [answer.headers.get("X-Type"), await answer.arrayBuffer()];
  }
}

const data = JSON.parse(document.getElementById("minicnn-data").textContent);
const main = document.getElementById("minicnn");
render({ model: data.arrays ? new FileModel(data) : new ServerModel(data), el: main });
if (window === window.top) main.firstElementChild.focus({ preventScroll: true }); // not out of a notebook around it
