"use strict";
(function () {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const config = {
    displaylogo: false, responsive: true, scrollZoom: false, showTips: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: { format: "svg" },
  };
  const canvases = Array.from(document.querySelectorAll(".canvas"));
  let drawn = 0;
  document.body.dataset.figures = String(canvases.length);
  document.body.dataset.drawn = "0";

  function draw(canvas) {
    const figure = figures[canvas.dataset.key];
    return Plotly.react(canvas, figure.data, figure.layout, config);
  }
  function next(index) { // one figure at a time, so that the page stays responsive while they appear
    if (index >= canvases.length) {
      document.body.dataset.ready = "yes";
      return;
    }
    draw(canvases[index]).then(function () {
      drawn += 1;
      document.body.dataset.drawn = String(drawn);
      setTimeout(next, 0, index + 1);
    });
  }
  document.querySelectorAll("select[data-target]").forEach(function (select) {
    select.selectedIndex = Array.from(select.options).findIndex(function (o) { return o.defaultSelected; });
    select.addEventListener("change", function () {
      const canvas = document.getElementById(select.dataset.target).querySelector(".canvas");
      canvas.dataset.key = select.value;
      Plotly.purge(canvas);
      draw(canvas);
    });
  });
  function fitAll() { canvases.forEach(function (c) { if (c.data) Plotly.Plots.resize(c); }); }
  window.addEventListener("beforeprint", fitAll);
  window.addEventListener("afterprint", fitAll);
  function unpacked(id) {
    const packed = Uint8Array.from(atob(document.getElementById(id).textContent), function (c) { return c.charCodeAt(0); });
    return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }
  if (typeof DecompressionStream === "undefined") {
    canvases.forEach(function (c) { c.textContent = "This browser is older than 2023 and cannot draw the figures."; });
    return;
  }
  unpacked("plotly").then(function (text) {
    const script = document.createElement("script");
    script.textContent = text; // it runs at once, and only if its hash stands in the policy of the page
    document.head.append(script);
    next(0);
  });
})();
