// A figure's numbers: its CSV, its table, and what a tooltip says of one row.
"use strict";
{
  const { el, format } = Loraqd;
  const NUM_ROWS = 200;

  // A spreadsheet would execute text that begins like a formula.
  const csvCell = (value) => {
    if (value === null || value === undefined) return "";
    const text = String(value);
    const isNumber = typeof value === "number" || (text.trim() && Number.isFinite(+text));
    const safe = !isNumber && /^\s*[=+\-@]|^[\t\r]/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };

  Loraqd.csv = (figure) =>
    [figure.columns, ...figure.rows]
      .map((row) => `${row.map(csvCell).join(",")}\n`)
      .join("");

  Loraqd.download = (figure) => {
    const blob = new Blob([Loraqd.csv(figure)], { type: "text/csv;charset=utf-8" });
    const link = el("a", { download: `${figure.id}.csv`, href: URL.createObjectURL(blob) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };

  const cell = (figure, row, at, open) => {
    const value = figure.rows[row][at];
    const isMember = at === Loraqd.role(figure, "member") && Loraqd.memberOf(figure, row);
    if (isMember) {
      const id = String(value);
      return el("td", {}, Loraqd.button(id, () => open(id), { class: "link" }));
    }
    return el("td", { class: typeof value === "number" ? "number" : null }, format(value));
  };

  Loraqd.table = (figure, open) => {
    const shown = figure.rows.slice(0, NUM_ROWS);
    const head = figure.columns.map((name, at) => {
      const isNumber = shown.some((row) => typeof row[at] === "number");
      return el("th", { scope: "col", class: isNumber ? "number" : null }, name);
    });
    const body = shown.map((_, row) =>
      el("tr", {}, figure.columns.map((_, at) => cell(figure, row, at, open))),
    );
    const label = `${figure.title}: numbers`;
    const rest = figure.rows.length - shown.length;
    return [
      el(
        "div",
        { class: "table", tabindex: 0, role: "region", "aria-label": label },
        el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, body)),
      ),
      rest > 0 ? el("p", { class: "small" }, `${format(rest)} more rows are in the CSV.`) : null,
    ].filter(Boolean);
  };

  const shorten = (text) => {
    const signs = [...text];
    return signs.length > 160 ? `${signs.slice(0, 160).join("")}…` : text;
  };

  // Pairs of a column's name and a row's value, as text.
  Loraqd.describe = (figure, row) =>
    figure.columns.map((name, at) => [name, shorten(format(figure.rows[row][at]))]);

  const KEYS = new Map([
    ["lines", ["x", "series"]],
    ["bars", ["y", "series"]],
    ["heatmap", ["x", "y"]],
    ["tree", ["id"]],
    ["scatter", ["member", "x", "y"]],
  ]);

  // What tells a row from the others, also after an update.
  Loraqd.keyOf = (figure, row) => {
    const roles = (KEYS.get(figure.kind) ?? ["member"]).map((r) => Loraqd.role(figure, r));
    return JSON.stringify(roles.map((at) => (at < 0 ? null : figure.rows[row]?.[at])));
  };
}
