// The renderers of heatmaps and family trees, whose marks are reached by keyboard.
//
// Beside what charts.js says they return ``step(row, dx, dy)``: the row to which an
// arrow key leads.
"use strict";
{
  const { svg, column, numbers, scaleOf } = Loraqd;

  // --- Heatmap ------------------------------------------------------------------

  const numCells = (scale, indices) =>
    Math.max(1, scale.names?.length || scale.num_cells || 0, Loraqd.extent(indices)[1] + 1);

  const hasNumbers = (scale) =>
    !scale.names?.length && scale.low !== null && scale.low < scale.high;

  // The title of a cell's place on one axis: its name, or from where to where it goes.
  const placeName = (scale, index) => {
    if (scale.names?.length) return scale.names[index] ?? `cell ${index}`;
    if (!hasNumbers(scale) || !scale.num_cells) return `cell ${index}`;
    const step = (scale.high - scale.low) / scale.num_cells;
    const [from, to] = [scale.low + index * step, scale.low + (index + 1) * step];
    return `${scale.label} ${Loraqd.format(from)} to ${Loraqd.format(to)}`;
  };

  const mapFrame = (scales, nums, width) => {
    const names = scales.y.names ?? [];
    const longest = Math.max(...names.map(Loraqd.width), 0);
    const left = names.length ? Math.min(longest + 10, width * 0.3) : 40;
    const top = names.length ? 4 : 24;
    const size = Math.min((width - left - 14) / nums.x, 46, Math.max(16, 340 / nums.y));
    const box = { left, top, right: left + size * nums.x, bottom: top + size * nums.y };
    const slanted = Math.min(Math.max(...(scales.x.names ?? []).map(Loraqd.width), 0), 110);
    const foot = slanted ? slanted * 0.72 + 18 : 42;
    return { box, size, canvas: Loraqd.canvas(width, box.bottom + foot) };
  };

  const axisOfNames = (canvas, box, size, scale, isAcross) => {
    (scale.names ?? []).forEach((name, i) => {
      const x = isAcross ? box.left + (i + 0.6) * size : box.left - 6;
      const y = isAcross ? box.bottom + 12 : box.bottom - (i + 0.5) * size + 4;
      const text = Loraqd.text(x, y, "end", Loraqd.cut(name, 110), "name");
      if (isAcross) text.setAttribute("transform", `rotate(-40 ${x} ${y})`);
      canvas.append(text);
    });
  };

  const mapAxes = (canvas, box, size, scales, nums) => {
    for (const [role, draw] of [["x", Loraqd.axisX], ["y", Loraqd.axisY]]) {
      const scale = scales[role];
      const isAcross = role === "x";
      axisOfNames(canvas, box, size, scale, isAcross);
      if (scale.names?.length) continue;
      const range = hasNumbers(scale) ? [scale.low, scale.high] : [0, nums[role]];
      const at = isAcross
        ? Loraqd.linear(range, box.left, box.right)
        : Loraqd.linear(range, box.bottom, box.top);
      const isSingle = nums[role] === 1 && !scale.label;
      const room = isAcross ? box.right - box.left : box.bottom - box.top;
      const ticks = isSingle ? { values: [] } : Loraqd.ticks(range, room / 48);
      draw(canvas, box, { ticks, at, label: scale.label, hasGrid: false });
    }
  };

  // Empty cells are one hatched ground with lines between the cells.
  const emptyCells = (canvas, box, size, nums, id) => {
    const pattern = svg(
      "pattern",
      { id, width: 6, height: 6, patternUnits: "userSpaceOnUse" },
      svg("path", { d: "M0 6L6 0", class: "hatch" }),
    );
    const place = { x: box.left, y: box.top, width: size * nums.x, height: size * nums.y };
    canvas.append(
      svg("defs", {}, pattern),
      svg("rect", { ...place, class: "void" }),
      svg("rect", { ...place, fill: `url(#${id})` }),
    );
    for (let i = 1; i < nums.x; i += 1) {
      const x = box.left + i * size;
      canvas.append(Loraqd.line(x, box.top, x, box.bottom, "cut"));
    }
    for (let i = 1; i < nums.y; i += 1) {
      const y = box.top + i * size;
      canvas.append(Loraqd.line(box.left, y, box.right, y, "cut"));
    }
  };

  const cellLabel = (figure, scales, row, x, y, value) => {
    const id = Loraqd.memberOf(figure, row);
    const places = [placeName(scales.x, x)];
    if (scales.y.label || scales.y.names?.length) places.push(placeName(scales.y, y));
    const best = figure.marked.includes(row) ? ", the best" : "";
    return `${places.join(", ")}: ${Loraqd.format(value)}${id ? `, member ${id}` : ""}${best}`;
  };

  // The nearest point in the direction of an arrow key, or the same one.
  const stepping = (points) => (row, dx, dy) => {
    const from = points.find((point) => point.row === row);
    let [best, least] = [row, Infinity];
    for (const point of from ? points : []) {
      const ahead = (point.x - from.x) * dx + (point.y - from.y) * dy;
      const aside = Math.abs((point.x - from.x) * dy) + Math.abs((point.y - from.y) * dx);
      const distance = ahead + aside * 4;
      if (ahead > 0.5 && distance < least) [best, least] = [point.row, distance];
    }
    return best;
  };

  const cellsOf = (figure, box, size) => {
    const [xs, ys] = [numbers(figure, "x"), numbers(figure, "y")];
    const values = numbers(figure, "value");
    return figure.rows
      .map((_, row) => ({ row, column: xs[row], line: ys[row] ?? 0, value: values[row] }))
      .filter((cell) => cell.column !== null)
      .map((cell) => ({
        ...cell,
        x: box.left + (cell.column + 0.5) * size,
        y: box.bottom - (cell.line + 0.5) * size,
      }));
  };

  const drawCells = (figure, scales, cells, size, ramp) => {
    const lines = new Map();
    for (const cell of cells) {
      const label = cellLabel(figure, scales, cell.row, cell.column, cell.line, cell.value);
      const rect = svg("rect", {
        x: cell.x - size / 2 + 0.5, y: cell.y - size / 2 + 0.5,
        width: size - 1, height: size - 1, class: "cell", role: "gridcell",
        fill: cell.value === null ? "gray" : Loraqd.colour(ramp.share(cell.value)),
        "data-row": cell.row, tabindex: -1, "aria-label": label,
        "aria-colindex": cell.column + 1,
      });
      if (!lines.has(cell.line)) {
        lines.set(cell.line, svg("g", { role: "row" }));
      }
      lines.get(cell.line).append(rect);
    }
    return [...lines].sort((a, b) => b[0] - a[0]).map(([, line]) => line);
  };

  const cellMarks = (figure, scales, cells, size, ramp) => {
    const layer = svg("g", { class: "over", "aria-hidden": "true" });
    for (const { row, x, y, value } of cells) {
      if (scales.x.names?.length && size >= 26 && value !== null) {
        const kind = Loraqd.isBright(ramp.share(value)) ? "on-bright" : "on-dark";
        layer.append(Loraqd.text(x, y + 4, "middle", value.toFixed(2), kind));
      }
      if (figure.marked.includes(row)) {
        const d = Loraqd.star(x, y, Math.max(6, Math.min(11, size * 0.42)));
        layer.append(svg("path", { d, class: "star" }));
      }
    }
    return layer;
  };

  let numMaps = 0;
  const heatmap = (figure, width) => {
    const scales = { x: scaleOf(figure, "x"), y: scaleOf(figure, "y") };
    const nums = {
      x: numCells(scales.x, numbers(figure, "x")),
      y: numCells(scales.y, numbers(figure, "y")),
    };
    const { box, size, canvas } = mapFrame(scales, nums, width);
    const ramp = Loraqd.ramp(figure);
    const points = cellsOf(figure, box, size);
    numMaps += 1;
    emptyCells(canvas, box, size, nums, `hatch-${numMaps}`);
    mapAxes(canvas, box, size, scales, nums);
    canvas.append(...drawCells(figure, scales, points, size, ramp));
    canvas.append(cellMarks(figure, scales, points, size, ramp));
    const nearest = Loraqd.nearest(points, size * 0.71);
    const start = figure.marked[0] ?? points[0]?.row;
    return { canvas, points, nearest, ramp, step: stepping(points), start, grid: "grid" };
  };

  // --- Family tree --------------------------------------------------------------

  const [NODE_WIDTH, NODE_HEIGHT, GAP_X, GAP_Y] = [112, 38, 14, 46];

  const nodesOf = (figure) => {
    const ids = column(figure, "id");
    const parents = column(figure, "parents");
    const layers = numbers(figure, "generation");
    return ids.map((id, row) => ({
      row,
      id: String(id ?? ""),
      layer: Math.max(0, layers[row] ?? 0),
      parents: String(parents[row] ?? "").split(/\s+/).filter(Boolean),
    }));
  };

  // Generations downwards; each node as near as possible below its children.
  const placeNodes = (nodes, width) => {
    const byId = new Map(nodes.map((node) => [node.id, node]));
    const layers = new Map();
    for (const node of nodes) {
      if (!layers.has(node.layer)) layers.set(node.layer, []);
      layers.get(node.layer).push(node);
    }
    const most = Math.max(...[...layers.values()].map((layer) => layer.length));
    const wide = Math.max(width, most * (NODE_WIDTH + GAP_X) + 8);
    const ordered = [...layers].sort((a, b) => a[0] - b[0]).map(([, layer]) => layer);
    ordered.forEach((layer, level) => {
      for (const node of layer) node.wish = node.wishes?.length ? mean(node.wishes) : wide / 2;
      layer.sort((a, b) => a.wish - b.wish);
      const gap = Math.min(wide / layer.length, (NODE_WIDTH + GAP_X) * 1.6);
      layer.forEach((node, i) => {
        node.x = wide / 2 + (i - (layer.length - 1) / 2) * gap;
        node.y = 8 + NODE_HEIGHT / 2 + level * (NODE_HEIGHT + GAP_Y);
        for (const id of node.parents) {
          const parent = byId.get(id);
          if (parent) (parent.wishes ??= []).push(node.x);
        }
      });
    });
    return { byId, wide, height: ordered.length * (NODE_HEIGHT + GAP_Y) - GAP_Y + 16 };
  };
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

  const edge = (child, parent) => {
    const [y0, y1] = [child.y + NODE_HEIGHT / 2, parent.y - NODE_HEIGHT / 2];
    const middle = (y0 + y1) / 2;
    const d = `M${child.x} ${y0}C${child.x} ${middle} ${parent.x} ${middle} ${parent.x} ${y1}`;
    return svg("path", { d, class: "edge" });
  };

  const drawNode = (node, value, ramp) => {
    const [left, top] = [node.x - NODE_WIDTH / 2, node.y - NODE_HEIGHT / 2];
    const score = value === null ? "" : Loraqd.format(value);
    const label = `member ${node.id}${score && `, ${ramp.label} ${score}`}`;
    const fill = value === null ? "gray" : Loraqd.colour(ramp.share(value));
    return svg(
      "g",
      { class: "node", role: "button", tabindex: -1, "data-row": node.row, "aria-label": label },
      svg("rect", { x: left, y: top, width: NODE_WIDTH, height: NODE_HEIGHT, rx: 4 }),
      svg("rect", { x: left, y: top, width: 5, height: NODE_HEIGHT, class: "mark", fill }),
      Loraqd.text(left + 12, node.y - 3, "start", Loraqd.cut(node.id, NODE_WIDTH - 16), "name"),
      Loraqd.text(left + 12, node.y + 12, "start", score),
    );
  };

  const tree = (figure, width) => {
    const nodes = nodesOf(figure);
    const { byId, wide, height } = placeNodes(nodes, width);
    const values = numbers(figure, "value");
    const ramp = Loraqd.ramp(figure);
    const canvas = Loraqd.canvas(wide, height);
    for (const node of nodes) {
      for (const id of node.parents) {
        if (byId.has(id) && byId.get(id) !== node) canvas.append(edge(node, byId.get(id)));
      }
    }
    canvas.append(...nodes.map((node) => drawNode(node, values[node.row], ramp)));
    const within = ({ x, y }, px, py) =>
      Math.abs(x - px) <= NODE_WIDTH / 2 && Math.abs(y - py) <= NODE_HEIGHT / 2;
    const nearest = (x, y) => nodes.find((node) => within(node, x, y))?.row ?? -1;
    const hasValues = values.some((value) => value !== null);
    const start = nodes.find((node) => node.layer === 0)?.row ?? 0;
    return {
      canvas, points: nodes, nearest, start, step: stepping(nodes), grid: "group",
      ramp: hasValues ? ramp : undefined,
    };
  };

  Loraqd.charts.set("heatmap", heatmap);
  Loraqd.charts.set("tree", tree);
}
