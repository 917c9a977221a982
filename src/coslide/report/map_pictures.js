// Pictures of the map, drawn by the graphics processor: scenes that can be swiped, and levels that follow a slider.

const VERTEX = `#version 300 es
in vec2 corner;
out vec2 place;
uniform mat4 matrix;
void main() {
  place = corner;
  gl_Position = matrix * vec4(corner, 0.0, 1.0);
}`;

const FRAGMENTS = {
  scene: `#version 300 es
precision highp float;
in vec2 place;
out vec4 colour;
uniform sampler2D image;
void main() {
  colour = texture(image, place);
}`,
  // Levels count the thresholds that a pixel reaches, plus 1; 255 is nodata.
  probability: `#version 300 es
precision highp float;
in vec2 place;
out vec4 colour;
uniform sampler2D image;
uniform vec3 ramp[3];
void main() {
  float level = floor(texture(image, place).r * 255.0 + 0.5);
  if (level < 1.5 || level > 254.5) discard;
  float p = clamp((level - 1.0) / 100.0, 0.0, 1.0);
  vec3 shade = p < 0.5 ? mix(ramp[0], ramp[1], 2.0 * p) : mix(ramp[1], ramp[2], 2.0 * p - 1.0);
  colour = vec4(shade * p, p);
}`,
  cut: `#version 300 es
precision highp float;
in vec2 place;
out vec4 colour;
uniform sampler2D image;
uniform float least;
void main() {
  float level = floor(texture(image, place).r * 255.0 + 0.5);
  if (level < least + 0.5 || level > 254.5) discard;
  colour = vec4(0.8, 0.475, 0.655, 1.0) * 0.75;
}`,
  nodata: `#version 300 es
precision highp float;
in vec2 place;
out vec4 colour;
uniform sampler2D image;
void main() {
  float level = floor(texture(image, place).r * 255.0 + 0.5);
  if (level < 254.5) discard;
  colour = mod(gl_FragCoord.x + gl_FragCoord.y, 9.0) < 2.0 ? vec4(0.15, 0.15, 0.15, 1.0) : vec4(0.55, 0.55, 0.55, 1.0) * 0.6;
}`,
};

/** A layer of MapLibre that draws one picture; `shown`, `side` and `least` may change, then repaint the map. */
class PictureLayer {
  constructor(id, kind, picture, image, options = {}) {
    Object.assign(this, { id, kind, picture, image, type: "custom", renderingMode: "2d", shown: true, side: "whole", at: 0.5, least: 0 });
    Object.assign(this, options);
  }

  onAdd(map, gl) {
    this.map = map;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENTS[this.kind]]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.bindAttribLocation(program, 0, "corner");
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    this.program = program;
    this.array = gl.createVertexArray();
    gl.bindVertexArray(this.array);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([0, 0, 1, 0, 0, 1, 1, 1]), gl.STATIC_DRAW);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
    gl.bindVertexArray(null);
    const smooth = this.kind === "scene";
    this.texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, smooth);
    gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, false);
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, smooth ? gl.BROWSER_DEFAULT_WEBGL : gl.NONE);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, this.image);
    for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, smooth ? gl.LINEAR_MIPMAP_LINEAR : gl.NEAREST);
    if (smooth) gl.generateMipmap(gl.TEXTURE_2D);
  }

  render(gl, options) {
    if (!this.shown) return;
    const size = 512 * 2 ** this.map.getZoom();
    const [west, north, east, south] = this.picture.bounds;
    gl.useProgram(this.program);
    // In double precision, so that nothing trembles when zoomed in.
    const matrix = placed(options.modelViewProjectionMatrix, west * size, north * size, (east - west) * size, (south - north) * size);
    gl.uniformMatrix4fv(gl.getUniformLocation(this.program, "matrix"), false, new Float32Array(matrix));
    if (this.ramp) gl.uniform3fv(gl.getUniformLocation(this.program, "ramp"), this.ramp);
    if (this.kind === "cut") gl.uniform1f(gl.getUniformLocation(this.program, "least"), this.least);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.bindVertexArray(this.array);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    if (this.side !== "whole") {
      const edge = Math.round(this.at * gl.drawingBufferWidth);
      gl.enable(gl.SCISSOR_TEST);
      if (this.side === "left") gl.scissor(0, 0, edge, gl.drawingBufferHeight);
      else gl.scissor(edge, 0, gl.drawingBufferWidth - edge, gl.drawingBufferHeight);
    }
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    gl.disable(gl.SCISSOR_TEST);
    gl.bindVertexArray(null);
  }
}

/** A matrix of columns after moving by (x, y) and stretching by (width, height). */
function placed(matrix, x, y, width, height) {
  const found = Array.from(matrix);
  for (let k = 0; k < 4; k++) {
    found[12 + k] = matrix[k] * x + matrix[4 + k] * y + matrix[12 + k];
    found[k] = matrix[k] * width;
    found[4 + k] = matrix[4 + k] * height;
  }
  return found;
}

/** Red, green and blue of colours such as #E69F00, 0 to 1, one after the other. */
function rampOf(colours) {
  return colours.flatMap((colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255));
}

/** Decode the pictures of the page. */
async function decodePictures(pictures) {
  const decoded = {};
  for (const [name, picture] of Object.entries(pictures)) {
    const image = new Image();
    image.src = picture.uri;
    await image.decode();
    decoded[name] = image;
  }
  return decoded;
}

/** Cut what lies around a shape out of a picture, and draw its outline there. */
function thumbnail(shapes, number, picture, image, words) {
  const [west, south, east, north] = shapes.bounds(number);
  const [left, top] = toWorld(west, north), [right, bottom] = toWorld(east, south);
  const pixel = (picture.bounds[2] - picture.bounds[0]) / image.naturalWidth;
  const side = Math.max(1.6 * Math.max(right - left, bottom - top), 24 * pixel);
  const x = (left + right - side) / 2, y = (top + bottom - side) / 2;
  const canvas = document.createElement("canvas"), wide = 150;
  canvas.width = canvas.height = 2 * wide;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", words);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  const per = (2 * wide) / side;
  context.drawImage(
    image, (x - picture.bounds[0]) / pixel, (y - picture.bounds[1]) / pixel, side / pixel, side / pixel, 0, 0, 2 * wide, 2 * wide,
  );
  context.beginPath();
  for (const rings of shapes.parts(number, (col, row) => toWorld(...shapes.mesh.toLonLat(col, row))))
    for (const ring of rings) ring.forEach(([u, v], k) => context[k ? "lineTo" : "moveTo"]((u - x) * per, (v - y) * per));
  for (const [colour, thick] of [["#000", 4], ["#fff", 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = thick;
    context.stroke();
  }
  return canvas;
}
