"use strict";

const plots = [...document.querySelectorAll(".plot")];
const config = { responsive: true, displaylogo: false, displayModeBar: false };

/** Text in the colours of the page, which follow the reader's scheme. */
function pageColors() {
  const style = getComputedStyle(document.documentElement);
  return { "font.color": style.getPropertyValue("--ink").trim() };
}

/** Buttons inside a plot answer to Tab, Enter and Space like any other. */
function reachByKeyboard(plot) {
  for (const button of plot.querySelectorAll(".updatemenu-button")) {
    button.setAttribute("tabindex", "0");
    button.setAttribute("role", "button");
    button.onkeydown = (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      button.dispatchEvent(new MouseEvent("click"));
    };
  }
}

async function draw(plot) {
  const { data, layout } = JSON.parse(plot.querySelector("script").textContent);
  // On a touch screen a drag scrolls the page.
  if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false;
  await Plotly.newPlot(plot, data, layout, config);
  plot.on("plotly_afterplot", () => reachByKeyboard(plot));
  await Plotly.relayout(plot, pageColors());
}

plots.forEach(draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const plot of plots) Plotly.relayout(plot, pageColors());
});
