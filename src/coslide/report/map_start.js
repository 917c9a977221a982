// Begin: the map where the browser can draw it, else the still pictures stay.

function canDraw() {
  try {
    return Boolean(document.createElement("canvas").getContext("webgl2"));
  } catch {
    return false;
  }
}

/** Leave the page as it is without a map. */
function fallBack(error) {
  console.error(error);
  document.getElementById("map-section").hidden = true;
  document.getElementById("no-map").hidden = false;
  document.getElementById("stills").classList.remove("folded");
}

async function start() {
  const data = JSON.parse(document.getElementById("map-data").textContent);
  const mesh = new Mesh(data.mesh);
  const shapes = Object.fromEntries(Object.entries(data.shapes).map(([name, layer]) => [name, new Shapes(layer, mesh)]));
  const images = await decodePictures(data.pictures);
  document.getElementById("map-section").hidden = false;
  const view = new MapView(data, images, mesh, shapes);
  view.map.once("load", () => {
    if (shapes.recognised) new Panel(view, data, shapes);
    for (const button of document.querySelectorAll("button[data-landslide]")) {
      button.hidden = false;
      button.addEventListener("click", () => {
        view.show("recognised", Number(button.dataset.landslide));
        document.getElementById("map-section").scrollIntoView();
      });
    }
  });
  const stills = document.getElementById("stills"), toggle = document.getElementById("show-stills");
  stills.classList.add("folded");
  toggle.addEventListener("click", () => {
    const folded = stills.classList.toggle("folded");
    toggle.setAttribute("aria-expanded", String(!folded));
  });
}

if (document.getElementById("map-data")) {
  if (canDraw()) start().catch(fallBack);
  else document.getElementById("no-map").hidden = false;
}
