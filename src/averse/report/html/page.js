"use strict";
(async () => {
  // A page without figures is still a report: its tables say the same.
  const without = (why) => {
    for (const place of document.querySelectorAll(".plot")) place.textContent = why;
  };
  const packed = document.getElementById("plotly").textContent;
  if (typeof DecompressionStream === "undefined") {
    without("This browser cannot draw the figure; one of 2023 or later can.");
    document.documentElement.dataset.ready = "yes";
    return;
  }
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const plotly = document.createElement("script");
  plotly.textContent = await new Response(unpacked).text();
  document.head.append(plotly);

  const hovering = matchMedia("(hover: hover)");
  const night = matchMedia("(prefers-color-scheme: dark)");
  const darker = JSON.parse(document.getElementById("colours").textContent);
  const specs = new Map();
  let printing = false;
  for (const script of document.querySelectorAll("script[data-for]")) {
    specs.set(script.dataset.for, script.textContent);
  }

  // Colours of the light page -> those of the dark one, wherever they stand; texts of other kinds are not colours.
  const recoloured = (value) => {
    if (typeof value === "string") return darker[value] ?? value;
    if (Array.isArray(value)) return value.map(recoloured);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, recoloured(inner)]));
  };

  const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  const merged = (below, above) => {
    const both = { ...below };
    for (const [name, value] of Object.entries(above)) {
      both[name] = isObject(value) && isObject(both[name]) ? merged(both[name], value) : value;
    }
    return both;
  };

  const look = (layout, width, several) => {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const [ink, faint, grid, wash] = ["--ink", "--faint", "--grid", "--wash"].map(colour);
    const axis = { gridcolor: grid, linecolor: faint, zerolinecolor: grid, automargin: true, title: { standoff: 8 } };
    const base = {
      autosize: true, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: several,
      font: { family: getComputedStyle(document.body).fontFamily, size: width < 500 ? 11 : 12, color: ink },
      margin: { l: 50, r: 12, t: layout.updatemenus ? 40 : 12, b: 44 },
      legend: { orientation: "h", x: 0, yref: "container", y: 0, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: faint, activecolor: ink },
      hoverlabel: { bgcolor: wash, bordercolor: faint, font: { color: ink } },
    };
    for (const name of new Set(["xaxis", "yaxis", ...Object.keys(layout).filter((key) => /^[xy]axis/.test(key))])) {
      base[name] = axis;
    }
    const full = merged(base, layout);
    const control = { bgcolor: wash, bordercolor: grid, font: { color: ink } };
    full.updatemenus = (layout.updatemenus ?? []).map((each) => merged(control, each));
    full.sliders = (layout.sliders ?? []).map((each) =>
      merged({ ...control, bgcolor: faint, activebgcolor: ink, tickcolor: faint, ticklen: 4 }, each));
    return full;
  };

  const draw = (place) => {
    let spec = JSON.parse(specs.get(place.id));
    if (night.matches && !printing) spec = recoloured(spec);
    const several = spec.data.filter((trace) => trace.name && trace.showlegend !== false).length > 1;
    const layout = look(spec.layout, place.clientWidth, several);
    const options = { responsive: true, displaylogo: false, displayModeBar: hovering.matches && place.clientWidth >= 500 ? "hover" : false };
    place.dataset.drawn = "yes";
    return Plotly.react(place, spec.data, layout, options);
  };

  const waiting = (root) => [...root.querySelectorAll(".plot")].filter((place) =>
    specs.has(place.id) && !place.dataset.drawn && !place.closest("details:not([open])"));
  const drawn = () => [...document.querySelectorAll(".plot[data-drawn]")];
  const drawWaiting = (root) => Promise.all(waiting(root).map(draw));

  document.addEventListener("toggle", (event) => { if (event.target.open) drawWaiting(event.target); }, true);
  night.addEventListener("change", () => drawn().forEach(draw));
  addEventListener("beforeprint", () => {
    printing = true;
    document.querySelectorAll(".warnings details").forEach((more) => { more.open = true; });
    drawn().forEach(draw);
  });
  addEventListener("afterprint", () => { printing = false; drawn().forEach(draw); });
  drawWaiting(document).then(() => { document.documentElement.dataset.ready = "yes"; });
})();
