// What stands beside the map: sliders, the numbers that follow them, the search, and downloads.

class Panel {
  constructor(view, data, shapes) {
    Object.assign(this, { view, data, shapes: shapes.recognised });
    this.level = data.own;
    this.least_m2 = 0;
    const areas = this.shapes.columns.area_m2 ?? [];
    this.smallest = areas.reduce((one, other) => Math.min(one, other), Infinity);
    this.largest = areas.reduce((one, other) => Math.max(one, other), 0);
    this.size = document.getElementById("size");
    this.threshold = document.getElementById("threshold");
    this.threshold.max = data.thresholds.thresholds.length - 1;
    this.threshold.value = data.own;
    this.size.addEventListener("input", () => this.update());
    this.threshold.addEventListener("input", () => this.update());
    document.getElementById("all").addEventListener("click", () => this.reset());
    document.getElementById("find").addEventListener("submit", (event) => this.find(event, shapes));
    document.getElementById("geojson").addEventListener("click", () => save(this.geojson(), "application/geo+json", `${data.name}.geojson`));
    document.getElementById("csv").addEventListener("click", () => save(this.csv(), "text/csv", `${data.name}.csv`));
    this.update();
  }

  /** The area that the slider stands for: its left end is all, then from the smallest to the largest as a logarithm. */
  areaAt(value) {
    if (!value || !this.largest) return 0;
    return Number((this.smallest * (this.largest / this.smallest) ** (value / 100)).toPrecision(2));
  }

  reset() {
    this.size.value = 0;
    this.threshold.value = this.data.own;
    this.update();
  }

  /** Whether a landslide is shown. */
  keeps(number) {
    return this.shapes.columns.area_m2[number] >= this.least_m2 && (this.level <= this.data.own || this.shapes.layer.reach[number] > this.level);
  }

  update() {
    this.least_m2 = this.areaAt(Number(this.size.value));
    this.level = Number(this.threshold.value);
    const { thresholds, pixels, tp, fp, mapped } = this.data.thresholds;
    const value = thresholds[this.level], km2 = this.data.mesh.pixel_m ** 2 / 1e6;
    const shown = this.least_m2 ? `${this.least_m2.toLocaleString("en")} m²` : "all sizes";
    const own = this.level === this.data.own ? ", the map's own" : "";
    set("size-value", shown);
    set("threshold-value", `${Number(value.toFixed(3))}${own}`);
    this.size.setAttribute("aria-valuetext", shown);
    this.threshold.setAttribute("aria-valuetext", `${value}${own}`);
    const kept = this.counts();
    set("count", `${kept.count.toLocaleString("en")} of ${this.shapes.count.toLocaleString("en")}`);
    set("kept-area", `${(kept.area_m2 / 1e6).toFixed(2)} km²`);
    set("cut-area", `${(pixels[this.level] * km2).toFixed(2)} km²`);
    if (mapped) {
      this.rates("kept", kept.tp, kept.fp, mapped);
      this.rates("cut", tp[this.level], fp[this.level], mapped);
    }
    this.view.cutAt(this.level);
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => {
      this.view.filter(this.least_m2, this.level);
      set("told", `${kept.count} landslides are shown`);
    }, 80);
  }

  /** Count the landslides that are shown, their area, and the correct and false pixels inside them. */
  counts() {
    const { reach, tp, fp } = this.shapes.layer, found = { count: 0, area_m2: 0, tp: 0, fp: 0 };
    for (let n = 0; n < reach.length; n++) {
      if (!this.keeps(n)) continue;
      found.count++;
      found.area_m2 += this.shapes.columns.area_m2[n];
      if (tp) {
        found.tp += tp[n];
        found.fp += fp[n];
      }
    }
    return found;
  }

  rates(which, tp, fp, mapped) {
    set(`${which}-precision`, tp + fp ? (tp / (tp + fp)).toFixed(3) : "–");
    set(`${which}-recall`, (tp / mapped).toFixed(3));
    set(`${which}-f1`, ((2 * tp) / (tp + fp + mapped)).toFixed(3));
  }

  find(event, shapes) {
    event.preventDefault();
    const text = document.getElementById("number").value.trim(), layer = document.getElementById("which")?.value ?? "recognised";
    const number = (shapes[layer]?.columns.id ?? []).findIndex((id) => String(id) === text);
    if (number < 0) return set("told", `There is no ${layer} landslide ${text}.`);
    if (layer === "recognised" && !this.keeps(number)) this.reset();
    this.view.show(layer, number);
    set("told", `Landslide ${text} is shown on the map.`);
  }

  geojson() {
    const names = Object.keys(this.shapes.columns), features = [];
    const round = (value) => Number(value.toFixed(7));
    const place = (col, row) => this.view.mesh.toLonLat(col, row).map(round);
    for (let n = 0; n < this.shapes.count; n++) {
      if (!this.keeps(n)) continue;
      const properties = Object.fromEntries(names.map((name) => [name, this.shapes.columns[name][n]]));
      features.push(JSON.stringify({ type: "Feature", properties, geometry: this.shapes.geometry(n, place) }));
    }
    return `{"type": "FeatureCollection", "features": [\n${features.join(",\n")}\n]}\n`;
  }

  csv() {
    const names = Object.keys(this.shapes.columns), lines = [[...names, "lon", "lat"].map(cell).join(",")];
    for (let n = 0; n < this.shapes.count; n++) {
      if (!this.keeps(n)) continue;
      const [west, south, east, north] = this.shapes.bounds(n);
      const place = [(west + east) / 2, (south + north) / 2].map((value) => Number(value.toFixed(6)));
      lines.push([...names.map((name) => this.shapes.columns[name][n]), ...place].map(cell).join(","));
    }
    return `${lines.join("\r\n")}\r\n`;
  }
}

/** Write a value as a cell of CSV; a text that a spreadsheet would take for a formula stays text. */
function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function set(id, text) {
  const found = document.getElementById(id);
  if (found) found.textContent = text;
}

/** Offer a text as a file. */
function save(text, type, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
