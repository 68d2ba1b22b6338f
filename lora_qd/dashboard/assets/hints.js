// What explains a drawing: the tooltip, legends of colours and shapes, bars of colours.
"use strict";
{
  const { el, svg, format } = Loraqd;

  // --- The tooltip, one for the page ------------------------------------------------

  const tip = { owner: null };
  Loraqd.showTip = (frame, row, x, y) => {
    const node = document.getElementById("tip");
    const figure = frame.drawn;
    const pairs = Loraqd.describe(figure, row);
    const list = pairs.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
    const hint = Loraqd.memberOf(figure, row) ? "Click or Enter: show this member" : null;
    node.replaceChildren(el("dl", {}, list.flat()), hint ? el("p", {}, hint) : "");
    if (tip.owner !== frame) tip.owner?.point(-1);
    tip.owner = frame;
    node.hidden = false;
    const { width, height } = node.getBoundingClientRect();
    const room = { x: document.documentElement.clientWidth, y: window.innerHeight };
    const left = x + 14 + width > room.x ? x - 14 - width : x + 14;
    const top = y + 14 + height > room.y ? y - 14 - height : y + 14;
    node.style.left = `${Math.max(4, Math.min(left, room.x - width - 4))}px`;
    node.style.top = `${Math.max(4, top)}px`;
  };
  Loraqd.hideTip = (frame) => {
    if (tip.owner !== frame) return;
    tip.owner = null;
    document.getElementById("tip").hidden = true;
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && tip.owner) tip.owner.point(-1);
  });
  document.addEventListener("pointerdown", (event) => {
    if (tip.owner && !tip.owner.body.contains(event.target)) tip.owner.point(-1);
  });
  // A pointer stays where it is; a focused mark moves, and its tooltip with it.
  const scrolled = () => tip.owner?.point(tip.owner.pointer ? -1 : tip.owner.row);
  document.addEventListener("scroll", scrolled, { passive: true, capture: true });

  // --- Legends ----------------------------------------------------------------------

  const swatch = ({ number, mark }) => {
    const kind = `s${number % Loraqd.NUM_COLOURS}`;
    const shapes = {
      line: () => svg("path", { d: "M0 7H22", class: `line ${kind}` }),
      symbol: () => svg("path", { d: Loraqd.symbol(number, 11, 7, 5), class: `dot ${kind}` }),
      bar: () => svg("rect", { x: 4, y: 2, width: 14, height: 10, class: `bar ${kind}` }),
    };
    return svg("svg", { width: 22, height: 14, "aria-hidden": "true" }, shapes[mark]());
  };

  Loraqd.legend = (entries) =>
    el("ul", { class: "legend" }, entries.map((e) => el("li", {}, swatch(e), e.name)));

  Loraqd.rampBar = ({ low, high, label }) => {
    const steps = Array.from({ length: 40 }, (_, i) =>
      svg("rect", { x: i * 4, y: 0, width: 4.5, height: 10, fill: Loraqd.colour(i / 39) }),
    );
    return el(
      "p",
      { class: "ramp" },
      el("span", {}, label),
      el("span", {}, format(low)),
      svg("svg", { width: 160, height: 10, "aria-hidden": "true" }, steps),
      el("span", {}, format(high)),
    );
  };
}
