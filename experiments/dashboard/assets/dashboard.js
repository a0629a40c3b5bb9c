"use strict";

/* The address of the page is all its state: what a person does changes it here, and everything is
   drawn from it by the server. */
(() => {
  const root = document.documentElement;
  const remembered = localStorage.getItem("evounet-theme");
  if (remembered) root.style.colorScheme = remembered;

  const query = () => new URLSearchParams(location.search);

  /** Go to another state of the page; going back leads here again. */
  function go(change) {
    const next = query();
    change(next);
    const text = next.toString();
    if (text === query().toString()) return;
    history.pushState({}, "", text ? `?${text}` : location.pathname);
    window.dispatchEvent(new CustomEvent("_dashprivate_pushstate"));
  }

  function set(key, value, fallback) {
    go((next) => {
      if (value === fallback) next.delete(key);
      else next.set(key, value);
      // Of another run there are other rounds and other architectures.
      if (key === "run") ["round", "open", "others", "table"].forEach((each) => next.delete(each));
    });
  }

  function press(button) {
    const { key, value, kind } = button.dataset;
    if (kind === "several") {
      go((next) => (next.getAll(key).includes(value) ? next.delete(key, value) : next.append(key, value)));
    } else {
      set(key, value, button.dataset.default ?? "");
    }
  }

  /** Have all controls show what the address says. */
  function show() {
    const now = query();
    for (const button of document.querySelectorAll("button[data-kind=one], button[data-kind=several]")) {
      const { key, value } = button.dataset;
      const chosen = now.has(key) ? now.getAll(key) : [button.dataset.default];
      button.setAttribute("aria-pressed", String(chosen.includes(value)));
    }
    const tab = document.querySelector(".tabs [aria-pressed=true]");
    if (tab) tab.parentElement.scrollLeft = tab.offsetLeft - tab.parentElement.clientWidth / 2;
    for (const list of document.querySelectorAll("select[data-key]"))
      list.value = now.get(list.dataset.key) ?? list.dataset.default;
    for (const field of document.querySelectorAll("input[type=range]")) {
      const value = now.get(field.id.replace("slide-", "")) ?? field.max;
      field.value = value;
      tell(field);
    }
  }

  function tell(field) {
    field.closest("label").querySelector("output").textContent = `${field.value} of ${field.max}`;
  }

  function say(text) {
    const place = document.getElementById("said");
    place.textContent = text;
    setTimeout(() => { place.textContent = ""; }, 3000);
  }

  /** The picture with the colours of the page, as a file. */
  async function save() {
    const plot = document.querySelector("#figure .js-plotly-plot");
    const { backgroundColor: paper_bgcolor, color } = getComputedStyle(document.body);
    const { clientWidth: width, clientHeight: height } = plot;
    const layout = { ...plot.layout, paper_bgcolor, font: { ...plot.layout.font, color }, width, height };
    const filename = `evounet-${query().get("view") ?? "tradeoff"}`;
    await Plotly.downloadImage({ data: plot.data, layout }, { format: "png", scale: 2, filename, width, height });
    say("saved");
  }

  function switchTheme() {
    const dark = root.style.colorScheme
      ? root.style.colorScheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.style.colorScheme = dark ? "light" : "dark";
    localStorage.setItem("evounet-theme", root.style.colorScheme);
  }

  async function copyLink() {
    try {
      await navigator.clipboard.writeText(location.href);
      say("copied");
    } catch {
      say("not allowed here: copy the address of the page"); // of a page that is not local, say
    }
  }

  document.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    if (button.dataset.key) press(button);
    else if (button.id === "png") save();
    else if (button.id === "copy") copyLink();
    else if (button.id === "theme") switchTheme();
  });
  document.addEventListener("change", ({ target }) => {
    if (target.matches("select[data-key]")) set(target.dataset.key, target.value, target.dataset.default);
  });
  document.addEventListener("input", ({ target }) => {
    if (!target.matches("input[type=range]")) return;
    tell(target);
    set(target.id.replace("slide-", ""), target.value, target.max);
  });

  const same = () => window.dash_clientside.no_update;
  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.evounet = {
    show() {
      setTimeout(show);
      return same();
    },

    /** Another frame only for another view, or for another run, which has its own controls. */
    frame(search, drawn) {
      const wanted = `${query().get("view") ?? ""} ${query().get("run") ?? ""}`;
      return wanted === drawn ? same() : wanted;
    },

    href: (search) => `/table.csv${search || ""}`,

    /** The panel is drawn anew only if another architecture is open. */
    opening(search, known) {
      const wanted = ["run", "open"].map((key) => query().get(key) ?? "").join(" ");
      return wanted === known ? same() : wanted;
    },

    open(click) {
      const point = click?.points[0];
      const plot = document.querySelector("#figure .js-plotly-plot");
      // Where several runs lie over each other, a number says nothing of whose it is.
      if (point && !query().has("others")) {
        const name = plot._fullData[point.curveNumber].customdata?.[point.pointNumber] ?? "";
        if (name !== "") set("open", String(name), "");
      }
      return null; // so that the same mark can be clicked again
    },

    /** The sample of the architecture that is pointed at, if it has drawn one. */
    picture(hover, figure) {
      const point = hover?.points[0];
      const found = point && (figure.layout.meta?.pictures ?? {})[point.customdata];
      if (!found) return [false, same(), same()];
      const [src, alt] = found;
      const part = (type, props) => ({ namespace: "dash_html_components", type, props });
      const children = [part("Img", { src, alt }), part("P", { children: alt })];
      return [true, point.bbox, part("Div", { children, className: "sample" })];
    },
  };
})();
