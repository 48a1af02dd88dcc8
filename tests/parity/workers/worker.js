// A worker in JavaScript, after docs/parity-protocol.md alone: every architecture and optimizer, all numbers in float64
// between the files; without the contractive penalty.
const fs = require("fs"), path = require("path"), readline = require("readline");
const folder = process.argv[process.argv.length - 1];
let layers, recipe, dtype, weights, state, rate, steps;
// ---- safetensors: a tensor is {shape, data: Float64Array} ----
function read() {
  const found = {}, bytes = fs.readFileSync(path.join(folder, "request.safetensors")), size = Number(bytes.readBigUInt64LE(0));
  for (const [name, about] of Object.entries(JSON.parse(bytes.toString("utf8", 8, 8 + size)))) {
    if (name === "__metadata__") continue;
    const [start, end] = about.data_offsets, part = bytes.buffer.slice(bytes.byteOffset + 8 + size + start, bytes.byteOffset + 8 + size + end);
    found[name] = { shape: about.shape, data: Float64Array.from(about.dtype === "F32" ? new Float32Array(part) : new Float64Array(part)) };
  }
  return found;
}
function write(tensors) {
  let end = 0, header = {}, parts = [];
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    const typed = dtype === "float32" ? Float32Array.from(data) : data;
    header[name] = { dtype: dtype === "float32" ? "F32" : "F64", shape, data_offsets: [end, (end += typed.byteLength)] };
    parts.push(Buffer.from(typed.buffer, typed.byteOffset, typed.byteLength));
  }
  const text = Buffer.from(JSON.stringify(header)), length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  fs.writeFileSync(path.join(folder, "reply.safetensors"), Buffer.concat([length, text, ...parts]));
}
// ---- layers: x is (N, channels, height, width), flat, `from` its shape without N; an activation's slope is in its output ----
const sigmoid = z => 1 / (1 + Math.exp(-z));
const VALUE = { relu: z => (z > 0 ? z : 0), sigmoid, tanh: Math.tanh, silu: z => z * sigmoid(z), linear: z => z };
const SLOPE = {
  relu: z => (z > 0 ? 1 : 0), sigmoid: z => sigmoid(z) * (1 - sigmoid(z)), tanh: z => 1 - Math.tanh(z) ** 2,
  silu: z => sigmoid(z) * (1 + z * (1 - sigmoid(z))), linear: () => 1 };
const area = shape => shape.reduce((a, b) => a * b, 1);
function shapeAfter(layer, [channels, height, width]) {
  const { kernel, stride } = layer, side = f => [layer.outputs, f(height), f(width)];
  switch (layer.kind) {
    case "Dense": return [layer.outputs, 1, 1];
    case "Convolution": return side(n => Math.floor((n + layer.padding[0] + layer.padding[1] - kernel) / stride) + 1);
    case "TransposedConvolution": return side(n => (n - 1) * stride + kernel - layer.crop[0] - layer.crop[1]);
    case "MaxPooling": return [channels, Math.floor(height / layer.size), Math.floor(width / layer.size)];
    case "Flatten": return [channels * height * width, 1, 1];
    case "Unflatten": return [layer.channels, layer.side, layer.side];
    default: return [channels, height, width];
  }
}
// Visit (index in the input, index in the output, index in the weight) of every product of a linear layer, or of a pool's maxima.
function products(layer, count, x, from, to, visit) {
  const [C, H, W] = from, [O, P, Q] = to, { kernel: K, stride: S } = layer, tied = layer.transposed;
  if (layer.kind === "Dense")
    for (let n = 0; n < count; n++) for (let o = 0; o < O; o++) for (let c = 0; c < C; c++)
      visit(n * C + c, n * O + o, tied ? c * O + o : o * C + c);
  else if (layer.kind === "MaxPooling")
    for (let n = 0; n < count * C; n++) for (let i = 0; i < P; i++) for (let j = 0; j < Q; j++) {
      let best = -1;
      for (let u = 0; u < layer.size; u++) for (let v = 0; v < layer.size; v++) {
        const at = (n * H + i * layer.size + u) * W + j * layer.size + v;
        if (best < 0 || x[at] > x[best]) best = at; // the first maximum
      }
      visit(best, (n * P + i) * Q + j, -1);
    } else {
    const back = layer.kind === "TransposedConvolution", before = (back ? layer.crop : layer.padding)[0];
    const [A, h, w] = back ? from : to, [B, y, z] = back ? to : from; // the smaller image, and the larger
    for (let n = 0; n < count; n++) for (let a = 0; a < A; a++) for (let b = 0; b < B; b++)
      for (let i = 0; i < h; i++) for (let j = 0; j < w; j++) for (let u = 0; u < K; u++) for (let v = 0; v < K; v++) {
        const r = i * S + u - before, c = j * S + v - before;
        if (r < 0 || c < 0 || r >= y || c >= z) continue;
        const small = ((n * A + a) * h + i) * w + j, large = ((n * B + b) * y + r) * z + c, at = ((a * B + b) * K + u) * K + v;
        back ? visit(small, large, at) : visit(large, small, at);
      }
  }
}
const isPlain = layer => ["Activation", "Flatten", "Unflatten"].includes(layer.kind);
function forward(inputs) {
  const first = layers[0], [count, width] = inputs.shape, side = first.kind === "Dense" ? 1 : Math.sqrt(width / first.inputs);
  const seen = [{ shape: [width / side / side, side, side], data: inputs.data }];
  for (const layer of layers) {
    const { shape, data: x } = seen[seen.length - 1], to = shapeAfter(layer, shape), bias = weights[layer.name + ".bias"];
    const spread = to[1] * to[2], y = new Float64Array(count * area(to));
    if (bias) y.forEach((_, i) => (y[i] = bias.data[Math.floor(i / spread) % to[0]]));
    const w = layer.weight && weights[layer.weight].data;
    if (isPlain(layer)) y.forEach((_, i) => (y[i] = layer.function ? VALUE[layer.function](x[i]) : x[i]));
    else products(layer, count, x, shape, to, (i, o, k) => (y[o] += w ? x[i] * w[k] : x[i]));
    seen.push({ shape: to, data: y });
  }
  return seen;
}
function lossAndGradients(inputs, targets) {
  const seen = forward(inputs), output = seen[seen.length - 1].data, count = inputs.shape[0];
  let up = output.map((y, i) => (2 * (y - targets.data[i])) / output.length);
  const loss = output.reduce((sum, y, i) => sum + (y - targets.data[i]) ** 2, 0) / output.length, gradients = {};
  for (const name in weights) gradients[name] = { shape: weights[name].shape, data: new Float64Array(weights[name].data.length) };
  for (let d = layers.length - 1; d >= 0; d--) {
    const layer = layers[d], { shape, data: x } = seen[d], to = seen[d + 1].shape, bias = gradients[layer.name + ".bias"];
    if (bias) up.forEach((g, i) => (bias.data[Math.floor(i / (to[1] * to[2])) % to[0]] += g));
    const down = new Float64Array(x.length), above = up, w = layer.weight && weights[layer.weight].data;
    if (isPlain(layer)) x.forEach((z, i) => (down[i] = layer.function ? above[i] * SLOPE[layer.function](z) : above[i]));
    else products(layer, count, x, shape, to, (i, o, k) => {
      down[i] += w ? above[o] * w[k] : above[o];
      if (w) gradients[layer.weight].data[k] += above[o] * x[i];
    });
    up = down;
  }
  return [loss, gradients];
}

function update(name, g) { // one step of the optimizer
  const w = weights[name].data, { optimizer, momentum, nesterov, epsilon, weight_decay } = recipe, { shape } = weights[name];
  const kept = kind => (state[`${kind}/${name}`] ??= { shape, data: new Float64Array(w.length) }).data;
  if (optimizer === "sgd") {
    const v = momentum ? kept("momentum") : new Float64Array(w.length); // without momentum there is no state
    return w.forEach((_, i) => { v[i] = momentum * v[i] + g[i]; w[i] -= rate * (nesterov ? momentum * v[i] + g[i] : v[i]); });
  }
  const m = kept("first_moment"), v = kept("second_moment");
  w.forEach((_, i) => {
    m[i] = 0.9 * m[i] + 0.1 * g[i]; v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
    const direction = m[i] / (1 - 0.9 ** steps) / (Math.sqrt(v[i] / (1 - 0.999 ** steps)) + epsilon);
    w[i] = w[i] * (1 - rate * weight_decay) - rate * direction;
  });
}
// ---- requests ----
function call({ method, arrays, number }) {
  const sent = arrays ? read() : {};
  switch (method) {
    case "load": [weights, state, steps, rate] = [sent, {}, 0, recipe.learning_rate]; return [null, {}];
    case "weights": return [null, weights];
    case "activations": return [null, { output: { shape: sent.inputs.shape, data: forward(sent.inputs).pop().data } }];
    case "loss_and_gradients": return lossAndGradients(sent.inputs, sent.targets);
    case "set_learning_rate": rate = number; return [null, {}];
    case "optimizer_state": return [null, state];
  }
  const [loss, gradients] = lossAndGradients(sent.inputs, sent.targets, steps++);
  for (const name in gradients) update(name, gradients[name].data);
  return [loss, {}];
}
readline.createInterface({ input: process.stdin }).on("line", line => {
  let reply = {};
  try {
    const request = JSON.parse(line);
    if (request.do === "prepare") {
      [layers, recipe, dtype] = [request.case.model.layers, request.recipe, request.case.dtype];
      if (recipe.objective === "contractive") throw new Error("the contractive penalty is not supported");
    } else {
      const [number, tensors] = call(request);
      write(tensors);
      reply = { number: number === null || Number.isFinite(number) ? number : String(number) }; // JSON has no NaN
    }
  } catch (error) { reply = { error: error.message }; }
  process.stdout.write(JSON.stringify(reply) + "\n");
});
