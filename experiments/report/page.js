"use strict";

const plots = [...document.querySelectorAll(".plot")];
const config = { responsive: true, displaylogo: false, displayModeBar: false };

/** Unpack plotly.js out of the page itself. */
async function loadPlotly() {
  const packed = atob(document.getElementById("plotly").textContent);
  const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(unpacked).text();
  document.head.append(script);
}

/** Text in the colours of the page, which follow the reader's scheme. */
function pageColors() {
  return { "font.color": getComputedStyle(document.body).color };
}

/** The choices that a plot has built in, as radio buttons above it: they wrap, and take any key. */
function choices(plot, { buttons }) {
  const group = document.createElement("fieldset");
  group.className = "colorings";
  group.innerHTML = "<legend>Coloured by</legend>";
  for (const [i, { label }] of buttons.entries()) {
    const choice = document.createElement("label");
    const radio = Object.assign(document.createElement("input"), {
      type: "radio", name: plot.getAttribute("aria-label"), value: i, checked: i === 0,
    });
    choice.append(radio, label);
    group.append(choice);
  }
  plot.before(group);
  return group;
}

/** Show a state of a plot, by the choice that is made above it. */
async function show(plot, { data, layout }, group) {
  // On a touch screen a drag scrolls the page.
  if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false;
  layout.font = { ...layout.font, color: pageColors()["font.color"] };
  const menu = layout.updatemenus?.[0];
  delete layout.updatemenus;
  await Plotly.react(plot, data, layout, config);
  if (!group) return;
  group.hidden = !menu;
  const chosen = group.querySelector(":checked").value;
  if (menu && chosen !== "0") await Plotly.update(plot, ...menu.buttons[chosen].args);
}

async function draw(plot) {
  const states = [...plot.querySelectorAll("script")].map((script) => [
    script.dataset.name,
    script.textContent,
  ]);
  let shown = states.length - 1;
  const state = () => JSON.parse(states[shown][1]);
  const menu = state().layout.updatemenus?.[0];
  const group = menu && choices(plot, menu);
  const again = () => show(plot, state(), group);
  await again();
  group?.addEventListener("change", again);
  const slider = plot.parentElement.querySelector(".slider input");
  slider?.addEventListener("input", () => {
    shown = Number(slider.value);
    slider.setAttribute("aria-valuetext", states[shown][0]);
    slider.parentElement.querySelector("output").textContent = states[shown][0];
    again();
  });
}

loadPlotly().then(
  () => plots.forEach(draw),
  () => {
    for (const plot of plots) {
      plot.textContent = "The plots need a browser of 2023 or later.";
    }
  },
);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const plot of plots) Plotly.relayout(plot, pageColors());
});
