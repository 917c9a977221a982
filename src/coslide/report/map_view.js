// The map itself: its layers, what can be switched on, the swipe, and what a landslide tells when it is chosen.

const LINES = {
  area: { words: "Area of the inventory", colour: "#ffffff", width: 2, dash: [4, 2] },
  held_out: { words: "Held out from training", colour: "#F0E442", width: 2, dash: [1, 1.5] },
  faults: { words: "Faults", colour: "#D55E00", width: 2.5 },
  contours: { words: "Shaking (PGA)", colour: "#DDCC77", width: 1.5 },
};
const MOST_DETAIL = 18;
const DOTS_M = 25; // a dot stands for a landslide where a pixel of the screen is wider [m]

class MapView {
  constructor(data, images, mesh, shapes) {
    Object.assign(this, { data, images, mesh, shapes });
    this.pictures = [];
    this.chosen = null;
    this.map = new maplibregl.Map({
      container: "map",
      style: { version: 8, sources: {}, layers: [{ id: "ground", type: "background", paint: { "background-color": "#b9b9b9" } }] },
      bounds: mesh.bounds,
      fitBoundsOptions: { padding: 12 },
      maxZoom: MOST_DETAIL,
      attributionControl: false,
      renderWorldCopies: false,
      dragRotate: false,
      pitchWithRotate: false,
      touchPitch: false,
      fadeDuration: 0,
    });
    this.map.touchZoomRotate.disableRotation();
    this.map.keyboard.disableRotation();
    this.map.addControl(new maplibregl.NavigationControl({ showCompass: false }), "top-right");
    this.map.addControl(new maplibregl.FullscreenControl({ container: document.getElementById("map-frame") }), "top-right");
    this.map.addControl(new maplibregl.ScaleControl({ maxWidth: 140 }), "bottom-left");
    this.map.on("load", () => this.fill());
  }

  /** Add all layers, from the ground up. */
  fill() {
    const { pictures } = this.data;
    for (const name of ["relief", "before", "after"]) if (pictures[name]) this.addPicture(name, "scene", name);
    if (pictures.levels) {
      this.addPicture("probability", "probability", "levels", { shown: false, ramp: rampOf(this.data.colours.ramp) });
      this.addPicture("cut", "cut", "levels", { shown: false });
      this.addPicture("nodata", "nodata", "levels");
    }
    for (const [name, look] of Object.entries(LINES)) if (this.shapes[name]) this.addLines(name, look);
    if (this.shapes.mapped) this.addLandslides("mapped", () => ({}), 0.12);
    if (this.shapes.recognised) {
      const { area_m2 } = this.shapes.recognised.columns, { reach } = this.shapes.recognised.layer;
      this.addLandslides("recognised", (n) => ({ a: area_m2[n], r: reach[n] }), 0.3);
    }
    this.map.addSource("chosen", { type: "geojson", data: { type: "FeatureCollection", features: [] } });
    for (const [id, colour, width] of [["chosen-rim", "#000000", 6], ["chosen", "#ffffff", 3]])
      this.map.addLayer({ id, type: "line", source: "chosen", paint: { "line-color": colour, "line-width": width } });
    if (this.data.epicentre) this.addEpicentre();
    this.addSwitches();
    this.addSwipe();
    this.addCoordinates();
    this.map.on("click", (event) => this.choose(event));
    document.getElementById("map").dataset.ready = "yes";
  }

  addPicture(id, kind, name, options = {}) {
    const layer = new PictureLayer(id, kind, this.data.pictures[name], this.images[name], options);
    this.pictures[id] = layer;
    this.map.addLayer(layer);
  }

  addLines(name, look) {
    this.map.addSource(name, { type: "geojson", data: this.withText(name) });
    const paint = { "line-color": look.colour, "line-width": look.width, ...(look.dash ? { "line-dasharray": look.dash } : {}) };
    const rim = { "line-color": "#000000", "line-width": look.width + 1.5, "line-opacity": 0.55 };
    this.map.addLayer({ id: `${name}-rim`, type: "line", source: name, paint: rim });
    this.map.addLayer({ id: name, type: "line", source: name, paint });
    if (name === "contours") {
      const layout = { "symbol-placement": "line", "text-field": ["get", "text"], "text-size": 13, "symbol-spacing": 400 };
      const text = { "text-color": "#000000", "text-halo-color": "#ffffff", "text-halo-width": 2 };
      this.map.addLayer({ id: "contours-text", type: "symbol", source: name, layout, paint: text });
    }
  }

  withText(name) {
    const { pga } = this.shapes[name].columns;
    return this.shapes[name].collection((n) => (pga ? { text: pga[n] } : {}));
  }

  addLandslides(name, properties, opacity) {
    const colour = this.data.colours[name], shapes = this.shapes[name];
    this.map.addSource(name, { type: "geojson", data: shapes.collection(properties), tolerance: 0.25 });
    const dots = { type: "FeatureCollection", features: [] };
    for (let n = 0; n < shapes.count; n++) {
      const [west, south, east, north] = shapes.bounds(n);
      const geometry = { type: "Point", coordinates: [(west + east) / 2, (south + north) / 2] };
      dots.features.push({ type: "Feature", geometry, properties: { n, ...properties(n) } });
    }
    this.map.addSource(`${name}-dots`, { type: "geojson", data: dots });
    const thick = (thin, wide) => ["interpolate", ["linear"], ["zoom"], 11, thin, 15, wide];
    const rim = { "line-color": "#000000", "line-width": thick(1, 4), "line-opacity": 0.5 };
    const maxzoom = Math.log2((78271.5 * Math.cos((this.mesh.bounds[1] * Math.PI) / 180)) / DOTS_M);
    this.map.addLayer({ id: `${name}-fill`, type: "fill", source: name, paint: { "fill-color": colour, "fill-opacity": opacity } });
    this.map.addLayer({ id: `${name}-rim`, type: "line", source: name, paint: rim });
    this.map.addLayer({ id: name, type: "line", source: name, paint: { "line-color": colour, "line-width": thick(0.6, 2.2) } });
    const circle = { "circle-color": colour, "circle-radius": 2, "circle-stroke-width": 0.5, "circle-stroke-color": "#000000" };
    this.map.addLayer({ id: `${name}-dots`, type: "circle", source: `${name}-dots`, maxzoom, paint: circle });
    for (const part of [`${name}-fill`, `${name}-dots`]) {
      this.map.on("mouseenter", part, () => (this.map.getCanvas().style.cursor = "pointer"));
      this.map.on("mouseleave", part, () => (this.map.getCanvas().style.cursor = ""));
    }
  }

  addEpicentre() {
    const star = document.createElement("div");
    star.className = "epicentre";
    star.textContent = "★";
    star.setAttribute("role", "img");
    star.setAttribute("aria-label", "Epicentre");
    star.title = "Epicentre";
    this.epicentre = new maplibregl.Marker({ element: star }).setLngLat(this.data.epicentre).addTo(this.map);
  }

  /** Say where the epicentre is, if it lies beside the map. */
  epicentreWords() {
    if (!this.data.epicentre) return "";
    const [lon, lat] = this.data.epicentre, [west, south, east, north] = this.mesh.bounds;
    const middle = new maplibregl.LngLat((west + east) / 2, (south + north) / 2);
    const turned = lon + 360 * Math.round((middle.lng - lon) / 360);
    if (turned >= west && turned <= east && lat >= south && lat <= north) return "Epicentre";
    const across = (turned - middle.lng) * Math.cos((middle.lat * Math.PI) / 180);
    const eighth = Math.round((4 * Math.atan2(across, lat - middle.lat)) / Math.PI + 8) % 8;
    const km = middle.distanceTo(new maplibregl.LngLat(turned, lat)) / 1000;
    return `Epicentre, ${km.toFixed(0)} km ${["N", "NE", "E", "SE", "S", "SW", "W", "NW"][eighth]} of the middle of the map`;
  }

  /** Show or hide a layer and what belongs to it. */
  switch(name, shown) {
    if (this.pictures[name]) this.pictures[name].shown = shown;
    for (const part of [name, `${name}-rim`, `${name}-fill`, `${name}-dots`, `${name}-text`])
      if (this.map.getLayer(part) && !this.pictures[part]) this.map.setLayoutProperty(part, "visibility", shown ? "visible" : "none");
    if (name === "epicentre") this.epicentre.getElement().hidden = !shown;
    this.map.triggerRepaint();
  }

  addSwitches() {
    const { pictures, colours } = this.data;
    const grounds = { swipe: "Before | after, swipe", after: "After", before: "Before", relief: "Shaded relief", none: "Nothing" };
    const has = { ...pictures, swipe: pictures.before && pictures.after, none: true };
    const usable = Object.keys(grounds).filter((name) => has[name]);
    this.grounds = option(document.getElementById("grounds"), "radio", usable, grounds, usable[0], (name) => this.setGround(name));
    const words = {
      recognised: `Recognised landslides (${this.shapes.recognised?.count.toLocaleString("en")})`,
      mapped: `Mapped landslides (${this.shapes.mapped?.count.toLocaleString("en")})`,
      probability: "Probability", cut: "Pixels from the threshold on", nodata: "Clouds and nodata: not mapped", epicentre: this.epicentreWords(),
      ...Object.fromEntries(Object.entries(LINES).map(([name, look]) => [name, look.words])),
    };
    const hatched = "repeating-linear-gradient(135deg, #262626 0 2px, #a0a0a0 2px 6px)";
    const swatches = { ...colours, probability: `linear-gradient(90deg, ${colours.ramp.join()})`, cut: "#CC79A7", nodata: hatched };
    for (const [name, look] of Object.entries(LINES)) swatches[name] = look.colour;
    const off = new Set(["probability", "cut", "held_out", "contours"]);
    const there = Object.keys(words).filter((name) => this.shapes[name] || this.pictures[name] || (name === "epicentre" && this.epicentre));
    option(document.getElementById("layers"), "checkbox", there, words, there.filter((name) => !off.has(name)), (name, shown) => this.switch(name, shown), swatches);
    for (const name of off) if (there.includes(name)) this.switch(name, false);
    this.setGround(usable[0]);
  }

  /** Choose what lies below the layers. */
  setGround(name) {
    const swiped = name === "swipe";
    for (const [ground, side] of [["before", "left"], ["after", "right"]]) {
      if (!this.pictures[ground]) continue;
      this.pictures[ground].shown = swiped || name === ground;
      this.pictures[ground].side = swiped ? side : "whole";
    }
    if (this.pictures.relief) this.pictures.relief.shown = name !== "none";
    document.getElementById("swipe").hidden = !swiped;
    const told = { swipe: ["before", "after"], none: [] }[name] ?? [name];
    document.getElementById("ground-text").textContent = told.map((one) => this.data.pictures[one].text).join(" | ");
    this.map.triggerRepaint();
  }

  addSwipe() {
    const handle = document.getElementById("swipe"), frame = document.getElementById("map");
    const set = (at) => {
      const share = Math.min(1, Math.max(0, at));
      handle.style.left = `${100 * share}%`;
      handle.setAttribute("aria-valuenow", String(Math.round(100 * share)));
      for (const ground of ["before", "after"]) if (this.pictures[ground]) this.pictures[ground].at = share;
      this.map.triggerRepaint();
    };
    const now = () => Number(handle.getAttribute("aria-valuenow")) / 100;
    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      event.preventDefault();
      handle.focus();
    });
    handle.addEventListener("pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      const box = frame.getBoundingClientRect();
      set((event.clientX - box.left) / box.width);
    });
    handle.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.02, ArrowDown: -0.02, ArrowRight: 0.02, ArrowUp: 0.02, PageUp: 0.1, PageDown: -0.1, Home: -1, End: 1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      set(now() + step);
    });
    set(0.5);
  }

  addCoordinates() {
    const output = document.getElementById("coordinates");
    const tell = ({ lng, lat }, what) => {
      const [x, y] = this.mesh.toMetres(lng, lat);
      const metres = Math.abs(x) < 1e8 && Math.abs(y) < 1e8 ? `${Math.round(x).toLocaleString("en")} m E, ${Math.round(y).toLocaleString("en")} m N` : "–";
      output.textContent = `${what}: ${metres}, ${this.mesh.crs} · ${degrees(lat, "N", "S")}, ${degrees(lng, "E", "W")}`;
    };
    this.map.on("mousemove", (event) => tell(event.lngLat, "Pointer"));
    this.map.on("move", () => tell(this.map.getCenter(), "Centre"));
    tell(this.map.getCenter(), "Centre");
  }

  /** Show only landslides of at least an area, and of at least a level where that is above the map's own. */
  filter(least_m2, level) {
    const parts = ["all", [">=", ["get", "a"], least_m2]];
    if (level > this.data.own) parts.push([">", ["get", "r"], level]);
    for (const part of ["recognised", "recognised-rim", "recognised-fill", "recognised-dots"])
      if (this.map.getLayer(part)) this.map.setFilter(part, parts);
  }

  /** Redraw the pixels that reach a threshold, by its place in the table. */
  cutAt(level) {
    if (!this.pictures.cut) return;
    this.pictures.cut.least = level + 2;
    this.map.triggerRepaint();
  }

  choose(event) {
    const around = [[event.point.x - 4, event.point.y - 4], [event.point.x + 4, event.point.y + 4]];
    const found = new Map();
    for (const name of ["recognised", "mapped"]) {
      const layers = [`${name}-fill`, `${name}-dots`].filter((part) => this.map.getLayer(part));
      const [feature] = layers.length ? this.map.queryRenderedFeatures(around, { layers }) : [];
      if (feature) found.set(name, feature.properties.n);
    }
    if (found.size) this.open(found, event.lngLat);
  }

  /** Open what is known of one or two landslides, by their numbers in their layers. */
  open(found, place) {
    const [[name, number]] = found;
    const [west, south, east, north] = this.shapes[name].bounds(number);
    const geometry = this.shapes[name].geometry(number);
    this.map.getSource("chosen").setData({ type: "Feature", geometry, properties: {} });
    this.popup?.remove();
    this.popup = new maplibregl.Popup({ maxWidth: "21rem" })
      .setLngLat(place ?? [(west + east) / 2, (south + north) / 2])
      .setDOMContent(this.describe(found))
      .addTo(this.map);
    this.popup.on("close", () => this.map.getSource("chosen").setData({ type: "FeatureCollection", features: [] }));
  }

  /** Go to a landslide and open it. */
  show(name, number) {
    const around = { top: 40, left: 40, right: 40, bottom: 0.6 * this.map.getContainer().clientHeight }; // room for the words
    this.map.fitBounds(this.shapes[name].bounds(number), { padding: around, maxZoom: 15, animate: false });
    this.open(new Map([[name, number]]));
  }

  describe(found) {
    const box = element("div", "found");
    const pairs = [["before", "Before"], ["after", "After"]].filter(([when]) => this.images[when]);
    for (const [name, number] of found) {
      const shapes = this.shapes[name], title = `${name === "mapped" ? "Mapped" : "Recognised"} landslide ${shapes.columns.id[number]}`;
      box.append(element("h3", "", title));
      const views = element("div", "thumbnails");
      for (const [when, words] of pairs) {
        const figure = element("figure");
        figure.append(thumbnail(shapes, number, this.data.pictures[when], this.images[when], `${title}, ${words.toLowerCase()} the earthquake`));
        figure.append(element("figcaption", "", words));
        views.append(figure);
      }
      box.append(views, this.attributes(shapes, number));
    }
    return box;
  }

  attributes(shapes, number) {
    const table = element("table"), body = element("tbody");
    for (const [column, values] of Object.entries(shapes.columns)) {
      const value = values[number];
      if (column === "id" || value === null || value === "") continue;
      const row = element("tr"), [words, unit] = this.data.words[column] ?? [column, ""];
      const head = element("th", "", words);
      head.scope = "row";
      row.append(head, element("td", "", told(value, unit)));
      body.append(row);
    }
    table.append(body);
    return table;
  }
}

/** Write a value and its unit for people. */
function told(value, unit) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  const text = typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: 3 }) : value;
  return unit === "°" ? `${text}°` : unit ? `${text} ${unit}` : text;
}

/** Write degrees with the name of their half of the Earth. */
function degrees(value, above, below) {
  const wrapped = above === "E" ? ((((value + 180) % 360) + 360) % 360) - 180 : value;
  return `${Math.abs(wrapped).toFixed(5)}° ${wrapped < 0 ? below : above}`;
}

/** Make an element with a text, which is never read as tags. */
function element(tag, name = "", text = "") {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== "") made.textContent = text;
  return made;
}

/** Fill a field set with options; `change(name, checked)` is called when one is chosen. */
function option(fields, kind, names, words, checked, change, swatches = {}) {
  for (const name of names) {
    const label = element("label"), input = element("input");
    input.type = kind;
    input.name = fields.id;
    input.value = name;
    input.checked = checked === name || (Array.isArray(checked) && checked.includes(name));
    input.addEventListener("change", () => change(name, input.checked));
    label.append(input);
    if (swatches[name]) {
      const swatch = element("span", `swatch of-${name}`);
      swatch.style.background = swatches[name];
      label.append(swatch);
    }
    label.append(words[name]);
    fields.append(label);
  }
}
