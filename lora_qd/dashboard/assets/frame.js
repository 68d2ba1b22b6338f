// A figure's frame: title, summary, choice of view, drawing, CSV and numbers.
"use strict";
{
  const { el, svg, button } = Loraqd;
  const ARROWS = new Map([
    ["ArrowLeft", [-1, 0]], ["ArrowRight", [1, 0]],
    ["ArrowUp", [0, -1]], ["ArrowDown", [0, 1]],
  ]);

  class Frame {
    constructor({ open, speak, changed }) {
      Object.assign(this, { open, speak, changed });
      this.row = -1;
      this.isDirty = true;
      this.isVisible = false;
      this.title = el("h3");
      this.summary = el("p", { class: "small" });
      this.choice = el("select", { "aria-label": "View", hidden: "" });
      this.body = el("div", { class: "canvas" });
      this.keys = el("div", { class: "keys" });
      this.table = el("div");
      this.details = el("details", {}, el("summary", {}, "Numbers"), this.table);
      const save = button("CSV", () => Loraqd.download(this.figure), { class: "quiet" });
      this.save = save;
      this.element = el(
        "figure",
        { class: "frame" },
        el("figcaption", {}, el("div", { class: "head" }, this.title, this.choice), this.summary),
        this.body,
        this.keys,
        (this.foot = el("div", { class: "foot" }, this.details, save)),
      );
      this.listen();
    }

    listen() {
      this.choice.addEventListener("change", () => this.choose(this.choice.value));
      this.details.addEventListener("toggle", () => this.fillTable());
      this.body.addEventListener("pointermove", (event) => this.hover(event));
      this.body.addEventListener("pointerleave", (event) => {
        if (event.pointerType === "mouse") this.point(-1);
      });
      this.body.addEventListener("click", (event) => this.click(event));
      this.body.addEventListener("keydown", (event) => this.press(event));
      this.body.addEventListener("focusin", (event) => {
        const row = event.target.getAttribute("data-row");
        if (row !== null && event.target.matches(":focus-visible")) this.point(+row);
      });
      this.body.addEventListener("focusout", () => this.point(-1));
    }

    // Take the figures of this frame, one per view; redraw if the chosen one changed.
    update(figures) {
      const old = this.figure;
      this.figures = figures;
      this.figure = figures.find((figure) => figure.id === old?.id) ?? figures[0];
      const views = figures.map((figure) => figure.id + figure.view).join();
      if (views !== this.views) {
        this.views = views;
        const options = figures.map((figure) =>
          el("option", { value: figure.id }, figure.view || figure.title),
        );
        this.choice.replaceChildren(...options);
        this.choice.value = this.figure.id;
        this.choice.hidden = figures.length < 2;
      }
      if (this.figure !== old) this.restart();
    }

    choose(id) {
      this.figure = this.figures.find((figure) => figure.id === id) ?? this.figure;
      this.restart();
    }

    restart() {
      const { title, summary, kind } = this.figure;
      this.title.textContent = Loraqd.visible(title);
      this.summary.textContent = Loraqd.visible(summary);
      this.save.setAttribute("aria-label", `CSV of ${Loraqd.visible(title)}`);
      this.element.classList.toggle("wide", kind === "tree" || kind === "table");
      this.element.classList.toggle("broad", kind === "parallel");
      this.isDirty = true;
      this.changed(this);
    }

    // Draw anew; what was pointed at, focused or scrolled to stays so.
    draw() {
      this.isDirty = false;
      const { scrollLeft, scrollTop } = this.body.querySelector(".table") ?? this.body;
      const focused = this.body.contains(document.activeElement);
      const key = this.row < 0 || !this.drawn ? null : Loraqd.keyOf(this.drawn, this.row);
      const { pointer } = this;
      const isFirst = !this.drawn;
      this.width = this.body.clientWidth;
      this.drawn = this.figure;
      this.isFilled = false;
      this.chart = null;
      this.render();
      this.fillTable();
      this.body.classList.add("done");
      const scrolled = this.body.querySelector(".table") ?? this.body;
      const middle = (this.body.scrollWidth - this.body.clientWidth) / 2;
      scrolled.scrollLeft = isFirst && this.figure.kind === "tree" ? middle : scrollLeft;
      scrolled.scrollTop = scrollTop;
      if (key !== null) this.pointAgain(key, focused, pointer);
    }

    render() {
      const { figure, body, keys } = this;
      const render = Loraqd.charts.get(figure.kind);
      this.details.hidden = !render;
      this.foot.hidden = !figure.rows.length;
      keys.replaceChildren();
      for (const name of ["role", "tabindex", "aria-label"]) body.removeAttribute(name);
      if (!figure.rows.length) {
        body.replaceChildren(el("p", { class: "nothing" }, "Nothing yet."));
      } else if (!render) {
        body.replaceChildren(...Loraqd.table(figure, this.open));
      } else {
        this.chart = render(figure, Math.max(240, this.width));
        body.replaceChildren(this.chart.canvas);
        this.label();
        const { legend: entries, ramp } = this.chart;
        if (entries?.length) keys.append(Loraqd.legend(entries));
        if (ramp) keys.append(Loraqd.rampBar(ramp));
      }
    }

    // Say what is drawn to those who do not see it, and let keys reach its rows.
    label() {
      const { title, view, summary } = this.figure;
      const { canvas, grid, start } = this.chart;
      canvas.setAttribute("role", grid ?? "img");
      const name = Loraqd.visible(`${title}${view && `, ${view}`}. ${summary}`);
      canvas.setAttribute("aria-label", name);
      if (grid) {
        this.marks().get(start)?.setAttribute("tabindex", "0");
      } else {
        this.body.setAttribute("tabindex", "0");
        this.body.setAttribute("role", "group");
        const hint = `${Loraqd.visible(title)}: arrow keys go through its rows`;
        this.body.setAttribute("aria-label", hint);
      }
    }

    marks() {
      const found = this.body.querySelectorAll("[data-row]");
      return new Map([...found].map((mark) => [+mark.getAttribute("data-row"), mark]));
    }

    fillTable() {
      if (!this.details.open || !this.figure.rows.length) return;
      if (this.isFilled === this.figure) return;
      const { scrollLeft = 0, scrollTop = 0 } = this.table.firstElementChild ?? {};
      this.table.replaceChildren(...Loraqd.table(this.figure, this.open));
      Object.assign(this.table.firstElementChild, { scrollLeft, scrollTop });
      this.isFilled = this.figure;
    }

    // --- Pointing -----------------------------------------------------------------------

    at(event) {
      const corner = this.chart.canvas.getBoundingClientRect();
      return this.chart.nearest(event.clientX - corner.left, event.clientY - corner.top);
    }

    hover(event) {
      if (!this.chart || event.pointerType !== "mouse") return;
      this.point(this.at(event), event);
    }

    click(event) {
      if (!this.chart) return;
      const row = this.at(event);
      const isSeen = event.pointerType !== "touch" || row === this.row;
      if (!isSeen || row < 0) return this.point(row, event);
      this.enter(row);
    }

    enter(row) {
      const id = Loraqd.memberOf(this.drawn, row);
      if (id === null) return;
      const key = Loraqd.keyOf(this.drawn, row);
      this.point(-1);
      this.open(id, () => (this.marks().get(this.rowOf(key)) ?? this.body).focus());
    }

    press(event) {
      const arrow = ARROWS.get(event.key);
      if (!this.chart || event.ctrlKey || event.metaKey || event.altKey) return;
      if ((event.key === "Enter" || event.key === " ") && this.row >= 0) {
        event.preventDefault();
        this.enter(this.row);
      } else if (arrow) {
        event.preventDefault();
        this.chart.step ? this.stepTo(arrow) : this.stepThrough(arrow);
      }
    }

    stepTo([dx, dy]) {
      const from = document.activeElement?.getAttribute("data-row");
      if (from === null || from === undefined) return;
      const marks = this.marks();
      const next = marks.get(this.chart.step(+from, dx, dy));
      this.focus(marks, next);
      next?.scrollIntoView({ block: "nearest", inline: "nearest" });
    }

    // One mark at a time is in the order of the Tab key.
    focus(marks, next) {
      for (const mark of marks.values()) mark.setAttribute("tabindex", mark === next ? "0" : "-1");
      next?.focus({ preventScroll: true });
    }

    stepThrough([dx, dy]) {
      const { points } = this.chart;
      if (!points.length) return;
      const at = points.findIndex((point) => point.row === this.row);
      const next = at < 0 ? 0 : (at + dx + dy + points.length) % points.length;
      this.point(points[next].row);
      const said = Loraqd.describe(this.drawn, points[next].row);
      this.speak(said.map(([name, value]) => `${name} ${value}`).join(", "));
    }

    rowOf(key) {
      return this.figure.rows.findIndex((_, row) => Loraqd.keyOf(this.figure, row) === key);
    }

    pointAgain(key, focused, pointer) {
      const row = this.rowOf(key);
      if (focused && this.chart?.grid) {
        const marks = this.marks();
        this.focus(marks, marks.get(row) ?? marks.get(this.chart.start));
      }
      this.point(this.chart ? row : -1, pointer);
    }

    // Mark a row and tell of it, beside the pointer or else beside its mark; -1: none.
    point(row, pointer = null) {
      this.body.querySelector(".on")?.classList.remove("on");
      this.cursor?.remove();
      this.row = row;
      this.pointer = pointer;
      this.body.classList.toggle("aims", row >= 0 && Loraqd.memberOf(this.drawn, row) !== null);
      const place = this.chart?.points.find((point) => point.row === row);
      if (row < 0 || !place) return Loraqd.hideTip(this);
      const mark = this.body.querySelector(`[data-row="${Number(row)}"]`);
      mark?.classList.add("on");
      if (mark?.matches(".thread")) mark.parentNode.append(mark); // above the others
      if (this.chart.hasCursor) {
        this.cursor = svg("circle", { cx: place.x, cy: place.y, r: 5, class: "cursor" });
        this.chart.canvas.append(this.cursor);
      }
      const corner = this.chart.canvas.getBoundingClientRect();
      const x = pointer?.clientX ?? corner.left + place.x;
      Loraqd.showTip(this, row, x, pointer?.clientY ?? corner.top + place.y);
    }
  }

  Loraqd.Frame = Frame;
}
