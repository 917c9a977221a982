// Where things lie: whole numbers and meshes of the page become places on Earth, and places on Earth coordinates.

/** Read whole numbers as coslide.report.web_shapes.varints writes them. */
function readVarints(base64) {
  const text = atob(base64);
  let count = 0;
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) < 128) count++;
  const numbers = new Int32Array(count);
  let at = 0, value = 0, weight = 1;
  for (let i = 0; i < text.length; i++) {
    const byte = text.charCodeAt(i);
    value += (byte & 127) * weight;
    weight *= 128;
    if (byte < 128) {
      numbers[at++] = value % 2 ? -(value + 1) / 2 : value / 2;
      value = 0;
      weight = 1;
    }
  }
  return numbers;
}

/** Add up counts to the places where each begins; one more at the end. */
function startsOf(counts) {
  const starts = new Int32Array(counts.length + 1);
  for (let i = 0; i < counts.length; i++) starts[i + 1] = starts[i] + counts[i];
  return starts;
}

/** The grid of the map on Earth: longitude and latitude interpolated between the nodes of a mesh. */
class Mesh {
  constructor(given) {
    Object.assign(this, given);
  }

  /** The node next to a place, none at the rim. */
  nearest(place) {
    return Math.min(this.nodes - 2, Math.max(1, Math.round(place)));
  }

  /** Longitude and latitude of a place in pixels from the northwestern corner. */
  toLonLat(col, row) {
    const v = (row - this.from[0]) / this.step[0], u = (col - this.from[1]) / this.step[1];
    const i = this.nearest(v), j = this.nearest(u), y = v - i, x = u - j;
    const down = [(y * (y - 1)) / 2, 1 - y * y, (y * (y + 1)) / 2]; // a parabola through three nodes
    const across = [(x * (x - 1)) / 2, 1 - x * x, (x * (x + 1)) / 2];
    let lon = 0, lat = 0;
    for (let a = 0; a < 3; a++)
      for (let b = 0; b < 3; b++) {
        const weight = down[a] * across[b], place = (i + a - 1) * this.nodes + j + b - 1;
        lon += weight * this.lon[place];
        lat += weight * this.lat[place];
      }
    return [lon, lat];
  }

  /** Place in pixels of a longitude and a latitude, [col, row], by Newton's method. */
  toPixel(lon, lat) {
    let col = this.cols / 2, row = this.rows / 2;
    for (let n = 0; n < 8; n++) {
      const here = this.toLonLat(col, row), east = this.toLonLat(col + 1, row), south = this.toLonLat(col, row + 1);
      const a = east[0] - here[0], b = south[0] - here[0], c = east[1] - here[1], d = south[1] - here[1];
      const x = lon - here[0], y = lat - here[1], area = a * d - b * c;
      col += (d * x - b * y) / area;
      row += (a * y - c * x) / area;
    }
    return [col, row];
  }

  /** Coordinates in metres of the grid of a longitude and a latitude. */
  toMetres(lon, lat) {
    const [col, row] = this.toPixel(lon, lat);
    return [this.left + col * this.pixel_m, this.top - row * this.pixel_m];
  }

  /** West, south, east and north of the grid in degrees. */
  get bounds() {
    const corners = [[0, 0], [this.cols, 0], [0, this.rows], [this.cols, this.rows]].map(([x, y]) => this.toLonLat(x, y));
    const lon = corners.map((place) => place[0]), lat = corners.map((place) => place[1]);
    return [Math.min(...lon), Math.min(...lat), Math.max(...lon), Math.max(...lat)];
  }
}

/** Polygons or lines with their attributes, as coslide.report.web_shapes.vector_layer writes them. */
class Shapes {
  constructor(layer, mesh) {
    this.mesh = mesh;
    this.kind = layer.kind;
    this.count = layer.count;
    this.unit = layer.unit;
    this.columns = layer.columns;
    this.layer = layer;
    this.ofPoint = startsOf(readVarints(layer.points));
    this.ofRing = startsOf(readVarints(layer.rings));
    this.ofPart = startsOf(readVarints(layer.parts));
    this.xy = readVarints(layer.xy);
    for (let i = 2; i < this.xy.length; i++) this.xy[i] += this.xy[i - 2];
  }

  /** Rings of each polygon of a shape, or its lines, their points passed through `place(col, row)`. */
  parts(number, place) {
    const found = [];
    for (let part = this.ofPart[number]; part < this.ofPart[number + 1]; part++) {
      const rings = [];
      for (let ring = this.ofRing[part]; ring < this.ofRing[part + 1]; ring++) {
        const points = [];
        for (let k = this.ofPoint[ring]; k < this.ofPoint[ring + 1]; k++)
          points.push(place(this.xy[2 * k] * this.unit, this.xy[2 * k + 1] * this.unit));
        if (this.kind === "polygon") points.push(points[0]);
        rings.push(points);
      }
      found.push(rings);
    }
    return found;
  }

  /** Geometry of a shape as GeoJSON has it, in longitude and latitude. */
  geometry(number, place = (col, row) => this.mesh.toLonLat(col, row)) {
    const parts = this.parts(number, place);
    if (this.kind === "line") return { type: "MultiLineString", coordinates: parts.map((rings) => rings[0]) };
    return { type: "MultiPolygon", coordinates: parts };
  }

  /** West, south, east and north of a shape in degrees. */
  bounds(number) {
    const box = [Infinity, Infinity, -Infinity, -Infinity];
    this.parts(number, (col, row) => {
      const [lon, lat] = this.mesh.toLonLat(col, row);
      box[0] = Math.min(box[0], lon);
      box[1] = Math.min(box[1], lat);
      box[2] = Math.max(box[2], lon);
      box[3] = Math.max(box[3], lat);
    });
    return box;
  }

  /** All shapes as GeoJSON; `properties(number)` gives what filters need of one. */
  collection(properties = () => ({})) {
    const features = [];
    for (let number = 0; number < this.count; number++)
      features.push({ type: "Feature", id: number, geometry: this.geometry(number), properties: { n: number, ...properties(number) } });
    return { type: "FeatureCollection", features };
  }
}

/** Place in the world of web maps, 0 to 1 to the east and to the south. */
function toWorld(lon, lat) {
  const sine = Math.sin((lat * Math.PI) / 180);
  return [(lon + 180) / 360, 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI)];
}
