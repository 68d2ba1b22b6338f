// Load order: svg.js, charts.js, maps.js, numbers.js, hints.js, frame.js, member.js,
// page.js.
// This one: elements, colours, shapes, scales, ticks and axes.
"use strict";
const Loraqd = {};
{
  const NS = "http://www.w3.org/2000/svg";
  const HIDDEN =
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

  // What was written by strangers may reorder or hide what stands around it.
  Loraqd.visible = (text) =>
    String(text).replace(
      HIDDEN,
      (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );

  // Every text and attribute of the page is set here, and here only as text.
  const fill = (node, attributes, children) => {
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined && value !== false) {
        node.setAttribute(name, Loraqd.visible(value));
      }
    }
    for (const child of children.flat()) {
      if (child === null || child === undefined) continue;
      node.append(child instanceof Node ? child : Loraqd.visible(child));
    }
    return node;
  };
  Loraqd.el = (name, attributes = {}, ...children) =>
    fill(document.createElement(name), attributes, children);
  Loraqd.svg = (name, attributes = {}, ...children) =>
    fill(document.createElementNS(NS, name), attributes, children);
  Loraqd.button = (text, action, attributes = {}) => {
    const button = Loraqd.el("button", { type: "button", ...attributes }, text);
    button.addEventListener("click", action);
    return button;
  };

  // --- Data ---------------------------------------------------------------------

  Loraqd.number = (value) =>
    typeof value === "number" && Number.isFinite(value) ? value : null;

  Loraqd.role = (figure, name) =>
    Object.hasOwn(figure.encoding, name)
      ? figure.columns.indexOf(figure.encoding[name])
      : -1;

  // The values of a role, row by row; null where there is none.
  Loraqd.column = (figure, name) => {
    const at = Loraqd.role(figure, name);
    return figure.rows.map((row) => (at < 0 ? null : row[at]));
  };
  Loraqd.numbers = (figure, name) => Loraqd.column(figure, name).map(Loraqd.number);

  Loraqd.scaleOf = (figure, name) =>
    Object.hasOwn(figure.scales, name) ? figure.scales[name] : {};

  Loraqd.memberOf = (figure, row) => {
    const at = Loraqd.role(figure, "member");
    const id = at < 0 || !figure.rows[row] ? null : figure.rows[row][at];
    return id === null || id === "" ? null : String(id);
  };

  // Each name once, with its number, in the order of appearance.
  Loraqd.places = (names) => {
    const places = new Map();
    for (const name of names) if (!places.has(name)) places.set(name, places.size);
    return places;
  };

  // --- Numbers as text ----------------------------------------------------------

  const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
  const compact = new Intl.NumberFormat("en-US", {
    notation: "compact",
    maximumSignificantDigits: 4,
  });
  const precise = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 4 });

  Loraqd.format = (value) => {
    if (value === null || value === undefined) return "–";
    if (typeof value !== "number") return Loraqd.visible(value);
    if (!Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    if (Number.isInteger(value) && size < 1e15) return whole.format(value);
    if (size < 1e-4 || size >= 1e15) return value.toExponential(2);
    return size >= 10000 ? whole.format(value) : precise.format(value);
  };

  // About as wide as text of a drawing gets: measuring would force a layout.
  const SIGN_WIDTH = 6.7;
  Loraqd.width = (text) => [...Loraqd.visible(text)].length * SIGN_WIDTH;
  Loraqd.cut = (text, pixels) => {
    const signs = [...Loraqd.visible(text)];
    const room = Math.max(2, Math.floor(pixels / SIGN_WIDTH));
    return signs.length > room ? `${signs.slice(0, room - 1).join("")}…` : signs.join("");
  };

  // --- Scales -------------------------------------------------------------------

  Loraqd.extent = (values) => {
    let low = Infinity;
    let high = -Infinity;
    for (const value of values) {
      if (value === null) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    return low <= high ? [low, high] : [0, 1];
  };

  // The range of an axis: what its scale says, widened to what the data need.
  Loraqd.domain = (scale, values) => {
    let [low, high] = Loraqd.extent(values);
    low = Math.min(low, scale.low ?? low);
    high = Math.max(high, scale.high ?? high);
    if (low === high) {
      const pad = Math.abs(low) * 0.1 || 1;
      return [low >= 0 && low < pad ? 0 : low - pad, high + pad];
    }
    const pad = (high - low) * 0.04;
    const bottom = low === scale.low || low === 0 ? low : low - pad;
    return [low > 0 && bottom < 0 ? 0 : bottom, high === scale.high ? high : high + pad];
  };

  Loraqd.linear = ([low, high], from, to) => {
    const factor = high === low ? 0 : (to - from) / (high - low);
    return (value) => from + (value - low) * factor;
  };

  Loraqd.ticks = ([low, high], num) => {
    const rough = (high - low) / Math.max(1, num);
    if (!(rough > 0)) return { values: [low], text: Loraqd.format };
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((s) => s * power >= rough * 0.999) * power;
    const values = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) {
      values.push(i * step || 0);
    }
    const places = Math.min(8, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)));
    const style = { minimumFractionDigits: places, maximumFractionDigits: places };
    const plain = new Intl.NumberFormat("en-US", style);
    const text = (v) => {
      if (Math.abs(v) >= 1e6) return compact.format(v);
      return v && step < 1e-6 ? v.toExponential(1) : plain.format(v);
    };
    return { values, text };
  };

  // --- Colours and shapes -------------------------------------------------------

  const VIRIDIS = [
    [68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141],
    [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37],
  ];
  const blend = (share) => {
    const at = Math.min(1, Math.max(0, share)) * (VIRIDIS.length - 1);
    const i = Math.min(VIRIDIS.length - 2, Math.floor(at));
    return VIRIDIS[i].map((c, k) => Math.round(c + (VIRIDIS[i + 1][k] - c) * (at - i)));
  };
  Loraqd.colour = (share) => `rgb(${blend(share).join(",")})`;
  Loraqd.isBright = (share) => {
    const [red, green, blue] = blend(share);
    return red * 0.3 + green * 0.59 + blue * 0.11 > 115;
  };

  Loraqd.NUM_COLOURS = 8;
  const round = (points) => points.map((p) => p.map((v) => +v.toFixed(1)).join(" "));
  const shape = (x, y, points) =>
    `M${round(points.map(([dx, dy]) => [x + dx, y + dy])).join("L")}Z`;
  const SHAPES = [
    (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
    (x, y, r) => shape(x, y, [[-r, -r], [r, -r], [r, r], [-r, r]]),
    (x, y, r) => shape(x, y, [[0, -1.3 * r], [1.2 * r, r], [-1.2 * r, r]]),
    (x, y, r) => shape(x, y, [[0, -1.4 * r], [1.4 * r, 0], [0, 1.4 * r], [-1.4 * r, 0]]),
    (x, y, r) => shape(x, y, [[0, 1.3 * r], [1.2 * r, -r], [-1.2 * r, -r]]),
  ];
  Loraqd.symbol = (number, x, y, r) => SHAPES[number % SHAPES.length](x, y, r);
  Loraqd.star = (x, y, r) => {
    const tips = Array.from({ length: 10 }, (_, i) => {
      const angle = (i * Math.PI) / 5 - Math.PI / 2;
      const reach = i % 2 ? r * 0.42 : r;
      return [reach * Math.cos(angle), reach * Math.sin(angle)];
    });
    return shape(x, y, tips);
  };

  // --- Axes ---------------------------------------------------------------------

  Loraqd.canvas = (width, height) =>
    Loraqd.svg("svg", { width, height, viewBox: `0 0 ${width} ${height}` });

  Loraqd.text = (x, y, anchor, text, kind = "tick") =>
    Loraqd.svg("text", { x, y, "text-anchor": anchor, class: kind }, text);

  Loraqd.line = (x1, y1, x2, y2, kind = "grid") =>
    Loraqd.svg("line", { x1, y1, x2, y2, class: kind });

  Loraqd.axisX = (canvas, box, { ticks, at, label, hasGrid = true }) => {
    for (const value of ticks.values) {
      const x = at(value);
      canvas.append(
        Loraqd.line(x, hasGrid ? box.top : box.bottom, x, box.bottom + 4),
        Loraqd.text(x, box.bottom + 16, "middle", ticks.text(value)),
      );
    }
    const middle = (box.left + box.right) / 2;
    const room = box.right - box.left;
    canvas.append(
      Loraqd.text(middle, box.bottom + 33, "middle", Loraqd.cut(label ?? "", room), "axis"),
    );
  };

  Loraqd.axisY = (canvas, box, { ticks, at, label, hasGrid = true }) => {
    for (const value of ticks.values) {
      const y = at(value);
      canvas.append(
        Loraqd.line(box.left - 4, y, hasGrid ? box.right : box.left, y),
        Loraqd.text(box.left - 7, y + 4, "end", ticks.text(value)),
      );
    }
    const room = box.right;
    canvas.append(Loraqd.text(0, 12, "start", Loraqd.cut(label ?? "", room), "axis"));
  };

  // What lies nearest to the pointer among ``points``, or -1 beyond ``reach``.
  Loraqd.nearest = (points, reach) => (x, y) => {
    let best = -1;
    let least = reach * reach;
    for (const point of points) {
      const dx = Math.max((point.x0 ?? point.x) - x, x - (point.x1 ?? point.x), 0);
      const distance = dx * dx + (point.y - y) ** 2;
      if (distance < least) [best, least] = [point.row, distance];
    }
    return best;
  };
}
