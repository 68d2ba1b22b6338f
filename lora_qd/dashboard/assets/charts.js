// The renderers of lines, scatter, bars and parallel coordinates.
//
// Each takes (figure, width) and returns { canvas, points, nearest, legend?, ramp? }:
// ``points`` say where each row stands, ``nearest(x, y)`` which row is meant.
"use strict";
Loraqd.charts = new Map();
{
  const { svg, column, numbers, scaleOf } = Loraqd;

  // Axes over two columns of numbers.
  const plane = (figure, width, ys) => {
    const height = Math.round(Math.min(320, Math.max(210, width * 0.55)));
    const canvas = Loraqd.canvas(width, height);
    const scales = { x: scaleOf(figure, "x"), y: scaleOf(figure, "y") };
    const rangeX = Loraqd.domain(scales.x, numbers(figure, "x"));
    const rangeY = Loraqd.domain(scales.y, ys);
    const ticksY = Loraqd.ticks(rangeY, 5);
    const gutter = Math.max(...ticksY.values.map((v) => Loraqd.width(ticksY.text(v))), 12);
    const box = { left: gutter + 12, top: 24, right: width - 16, bottom: height - 40 };
    const x = Loraqd.linear(rangeX, box.left, box.right);
    const y = Loraqd.linear(rangeY, box.bottom, box.top);
    const ticksX = Loraqd.ticks(rangeX, Math.max(2, Math.floor(width / 90)));
    const label = (role) => scales[role].label || figure.encoding[role] || "";
    Loraqd.axisY(canvas, box, { ticks: ticksY, at: y, label: label("y") });
    Loraqd.axisX(canvas, box, { ticks: ticksX, at: x, label: label("x"), hasGrid: false });
    canvas.append(Loraqd.line(box.left, box.bottom, box.right, box.bottom, "base"));
    return { canvas, box, x, y };
  };

  const legendOf = (places, mark) =>
    places.size > 1 || [...places.keys()].some((name) => name !== null)
      ? [...places].map(([name, number]) => ({ name: name ?? "–", number, mark }))
      : [];

  // Rows without a number leave a gap: one list of rows for each piece between gaps.
  const pieces = (rows, isThere) => {
    const found = [];
    let last = null;
    for (const row of rows) {
      if (!isThere(row)) last = null;
      else if (last) last.push(row);
      else found.push((last = [row]));
    }
    return found;
  };

  const path = (points) =>
    `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`;

  const bySeries = (figure, xs) => {
    const series = column(figure, "series");
    const rows = new Map();
    series.forEach((name, i) => {
      if (xs[i] === null) return;
      if (!rows.has(name)) rows.set(name, []);
      rows.get(name).push(i);
    });
    for (const list of rows.values()) list.sort((a, b) => xs[a] - xs[b]);
    return rows;
  };

  const lines = (figure, width) => {
    const xs = numbers(figure, "x");
    const ys = numbers(figure, "y");
    const [lows, highs] = [numbers(figure, "low"), numbers(figure, "high")];
    const { canvas, x, y } = plane(figure, width, [...ys, ...lows, ...highs]);
    const places = Loraqd.places(column(figure, "series"));
    const points = [];
    for (const [name, rows] of bySeries(figure, xs)) {
      const kind = `s${places.get(name) % Loraqd.NUM_COLOURS}`;
      for (const piece of pieces(rows, (i) => lows[i] !== null && highs[i] !== null)) {
        const up = piece.map((i) => [x(xs[i]), y(highs[i])]);
        const down = piece.map((i) => [x(xs[i]), y(lows[i])]).reverse();
        canvas.append(svg("path", { d: `${path([...up, ...down])}Z`, class: `band ${kind}` }));
      }
      for (const piece of pieces(rows, (i) => ys[i] !== null)) {
        const at = piece.map((i) => [x(xs[i]), y(ys[i])]);
        piece.forEach((row, k) => points.push({ row, x: at[k][0], y: at[k][1] }));
        const [cx, cy] = at[0];
        const mark =
          at.length > 1
            ? svg("path", { d: path(at), class: `line ${kind}` })
            : svg("circle", { cx, cy, r: 3, class: `dot ${kind}` });
        canvas.append(mark);
      }
    }
    const nearest = Loraqd.nearest(points, 1e6);
    return { canvas, points, nearest, hasCursor: true, legend: legendOf(places, "line") };
  };

  const scatter = (figure, width) => {
    const [xs, ys] = [numbers(figure, "x"), numbers(figure, "y")];
    const { canvas, x, y } = plane(figure, width, ys);
    const series = column(figure, "series");
    const places = Loraqd.places(series);
    const points = [];
    figure.rows.forEach((_, row) => {
      if (xs[row] === null || ys[row] === null) return;
      const point = { row, x: x(xs[row]), y: y(ys[row]) };
      const number = places.get(series[row]);
      const kind = `dot s${number % Loraqd.NUM_COLOURS}`;
      const d = Loraqd.symbol(number, point.x, point.y, 4.5);
      canvas.append(svg("path", { d, class: kind, "data-row": row }));
      points.push(point);
    });
    for (const point of points.filter(({ row }) => figure.marked.includes(row))) {
      canvas.append(svg("circle", { cx: point.x, cy: point.y, r: 10, class: "ring" }));
    }
    const legend = legendOf(places, "symbol");
    return { canvas, points, nearest: Loraqd.nearest(points, 30), legend };
  };

  // --- Bars ---------------------------------------------------------------------

  // Where each row's bar begins and ends: rows of one name are put behind each other.
  const stack = (names, xs) => {
    const ends = new Map();
    return xs.map((length, row) => {
      const from = ends.get(names[row]) ?? 0;
      const to = from + (length ?? 0);
      ends.set(names[row], to);
      return [from, to];
    });
  };

  const whisker = (canvas, x, y, low, high) => {
    canvas.append(
      Loraqd.line(x(low), y, x(high), y, "whisker"),
      Loraqd.line(x(low), y - 4, x(low), y + 4, "whisker"),
      Loraqd.line(x(high), y - 4, x(high), y + 4, "whisker"),
    );
  };

  const barFrame = (figure, width, names, values) => {
    const step = names.size > 24 ? 19 : 24;
    const longest = Math.max(...[...names.keys()].map((n) => Loraqd.width(Loraqd.format(n))));
    const left = Math.min(longest + 12, width * 0.45);
    const height = names.size * step + 48;
    const box = { left, top: 4, right: width - 18, bottom: height - 40 };
    const canvas = Loraqd.canvas(width, height);
    const scale = scaleOf(figure, "x");
    const range = Loraqd.domain(scale, [0, ...values]);
    const x = Loraqd.linear(range, box.left, box.right);
    const ticks = Loraqd.ticks(range, Math.max(2, Math.floor((box.right - left) / 56)));
    Loraqd.axisX(canvas, box, { ticks, at: x, label: scale.label || figure.encoding.x });
    for (const [name, place] of names) {
      const y = box.top + (place + 0.5) * step + 4;
      const text = Loraqd.cut(Loraqd.format(name), left - 8);
      canvas.append(Loraqd.text(left - 8, y, "end", text, "name"));
    }
    canvas.append(Loraqd.line(x(0), box.top, x(0), box.bottom, "base"));
    return { canvas, x, y: (name) => box.top + (names.get(name) + 0.5) * step };
  };

  const bars = (figure, width) => {
    const [ys, xs] = [column(figure, "y"), numbers(figure, "x")];
    const [lows, highs] = [numbers(figure, "low"), numbers(figure, "high")];
    const series = column(figure, "series");
    const [names, places] = [Loraqd.places(ys), Loraqd.places(series)];
    const spans = stack(ys, xs);
    const isStacked = names.size < ys.length;
    const { canvas, x, y } = barFrame(figure, width, names, [...spans.flat(), ...lows, ...highs]);
    const points = [];
    xs.forEach((length, row) => {
      if (length === null) return;
      const [x0, x1] = spans[row].map(x).sort((a, b) => a - b);
      const middle = y(ys[row]);
      const kind = `bar s${places.get(series[row]) % Loraqd.NUM_COLOURS}`;
      const place = { x: x0, y: middle - 6, width: Math.max(1, x1 - x0), height: 12 };
      canvas.append(svg("rect", { ...place, class: kind, "data-row": row }));
      if (!isStacked && lows[row] !== null && highs[row] !== null) {
        whisker(canvas, x, middle, lows[row], highs[row]);
      }
      points.push({ row, x: x1, y: middle, x0, x1 });
    });
    const legend = legendOf(places, "bar");
    return { canvas, points, nearest: Loraqd.nearest(points, 400), legend };
  };

  // --- Parallel coordinates -----------------------------------------------------

  // One range for all axes, so that skills can be compared with each other.
  const parallelFrame = (figure, width, table) => {
    const { dimensions } = figure;
    const wide = Math.max(width, dimensions.length * 62 + 40);
    const canvas = Loraqd.canvas(wide, 290);
    const range = Loraqd.domain({}, table.flat());
    const ticks = Loraqd.ticks(range, 5);
    const gutter = Math.max(...ticks.values.map((v) => Loraqd.width(ticks.text(v))), 30);
    const box = { left: gutter + 12, top: 12, right: wide - 34, bottom: 254 };
    const y = Loraqd.linear(range, box.bottom, box.top);
    const gap = dimensions.length > 1 ? (box.right - box.left) / (dimensions.length - 1) : 0;
    Loraqd.axisY(canvas, box, { ticks, at: y, hasGrid: true });
    dimensions.forEach((name, i) => {
      const [x, text] = [box.left + i * gap, Loraqd.cut(name, (gap || 200) - 4)];
      const isLast = gap > 0 && i === dimensions.length - 1;
      const [at, anchor] = isLast ? [wide, "end"] : [x, "middle"];
      canvas.append(
        Loraqd.line(x, box.top, x, box.bottom, "base"),
        Loraqd.text(at, box.bottom + 18, anchor, text, "name"),
      );
    });
    return { canvas, box, y, gap };
  };

  const parallelNearest = (points, box, gap) => (px, py) => {
    const at = gap ? Math.max(0, (px - box.left) / gap) : 0;
    let [best, least] = [-1, 30];
    for (const { row, ys } of points) {
      const i = Math.min(ys.length - 1, Math.floor(at));
      const next = ys[Math.min(ys.length - 1, i + 1)];
      if (ys[i] === null || next === null) continue;
      const distance = Math.abs(ys[i] + (next - ys[i]) * Math.min(1, at - i) - py);
      if (distance < least) [best, least] = [row, distance];
    }
    return best;
  };

  const parallel = (figure, width) => {
    const columns = figure.dimensions.map((name) => figure.columns.indexOf(name));
    const table = figure.rows.map((row) => columns.map((at) => Loraqd.number(row[at])));
    const { canvas, box, y, gap } = parallelFrame(figure, width, table);
    const values = numbers(figure, "value");
    const ramp = Loraqd.ramp(figure);
    const points = table.map((row, i) => {
      const ys = row.map((value) => (value === null ? null : y(value)));
      const kept = pieces([...ys.keys()], (k) => ys[k] !== null);
      const d = kept.map((piece) => path(piece.map((k) => [box.left + k * gap, ys[k]])));
      const stroke = values[i] === null ? "gray" : Loraqd.colour(ramp.share(values[i]));
      const best = figure.marked.includes(i) ? " best" : "";
      canvas.append(svg("path", { d: d.join(""), class: `thread${best}`, stroke, "data-row": i }));
      return { row: i, x: box.left, y: ys.find((v) => v !== null) ?? box.bottom, ys };
    });
    return { canvas, points, nearest: parallelNearest(points, box, gap), ramp };
  };

  // The range of colours, or null of a figure without values.
  Loraqd.ramp = (figure) => {
    const scale = scaleOf(figure, "value");
    const [least, most] = Loraqd.extent(numbers(figure, "value"));
    const [low, high] = [scale.low ?? least, scale.high ?? most];
    const label = scale.label || figure.encoding.value || "";
    const share = (value) => (high > low ? (value - low) / (high - low) : 0.5);
    return { low, high, label, share };
  };

  Loraqd.charts.set("lines", lines);
  Loraqd.charts.set("scatter", scatter);
  Loraqd.charts.set("bars", bars);
  Loraqd.charts.set("parallel", parallel);
}
