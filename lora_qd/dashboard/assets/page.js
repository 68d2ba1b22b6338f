// The page: puts the frames under their headings, and keeps them up to date.
"use strict";
{
  const { el } = Loraqd;
  const byId = (id) => document.getElementById(id);
  const RETRY_MS = 5000;

  // --- Drawing: visible frames only, once per animation frame -------------------------

  const waiting = new Set();
  const frameOf = new WeakMap();
  let isAsked = false;

  const draw = () => {
    isAsked = false;
    const now = [...waiting];
    waiting.clear();
    for (const frame of now) if (frame.isDirty && frame.isVisible) frame.draw();
  };
  const changed = (frame) => {
    waiting.add(frame);
    if (isAsked) return;
    isAsked = true;
    requestAnimationFrame(draw);
  };

  const seen = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        const frame = frameOf.get(target);
        frame.isVisible = isIntersecting;
        if (isIntersecting && frame.isDirty) changed(frame);
      }
    },
    { rootMargin: "300px" },
  );
  const sized = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const frame = frameOf.get(target);
      if (!frame.drawn || frame.width === target.clientWidth) continue;
      frame.isDirty = true;
      changed(frame);
    }
  });
  // Paper has no scrolling: all that is not drawn yet is drawn before.
  window.addEventListener("beforeprint", () => {
    for (const frame of frames.values()) if (frame.isDirty) frame.draw();
  });

  // --- Frames and sections --------------------------------------------------------------

  const figures = new Map();
  const frames = new Map();
  const sections = new Map();
  let order = [];

  const speak = (text) => {
    byId("spoken").textContent = Loraqd.visible(text);
  };
  const newFrame = () => {
    const frame = new Loraqd.Frame({ open: (id, back) => panel.open(id, back), speak, changed });
    for (const node of [frame.element, frame.body]) frameOf.set(node, frame);
    seen.observe(frame.element);
    sized.observe(frame.body);
    return frame;
  };

  const newSection = (name) => {
    const id = `section-${sections.size}`;
    const heading = el("h2", { id: `${id}-title` }, name);
    const grid = el("div", { class: "figures" });
    const element = el("section", { id, "aria-labelledby": `${id}-title` }, heading, grid);
    const link = el("a", { href: `#${id}` }, name);
    const section = { element, grid, link };
    sections.set(name, section);
    return section;
  };

  // Elements that already stand in this order are not moved: they would lose their state.
  const arrange = (parent, wanted) => {
    const isSame =
      parent.children.length === wanted.length &&
      wanted.every((element, i) => parent.children[i] === element);
    if (!isSame) parent.replaceChildren(...wanted);
  };

  const framesBySection = () => {
    const bySection = new Map();
    for (const figure of figures.values()) {
      const key = figure.group ? `group ${figure.group}` : `figure ${figure.id}`;
      if (!bySection.has(figure.section)) bySection.set(figure.section, new Map());
      const groups = bySection.get(figure.section);
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(figure);
    }
    return bySection;
  };

  const arrangeAll = () => {
    const bySection = framesBySection();
    const kept = new Set();
    const names = [...new Set([...order, ...bySection.keys()])].filter((n) => bySection.has(n));
    for (const name of names) {
      const section = sections.get(name) ?? newSection(name);
      const shown = [];
      for (const [key, group] of bySection.get(name)) {
        const path = `${name} ${key}`;
        if (!frames.has(path)) frames.set(path, newFrame());
        frames.get(path).update(group);
        kept.add(path);
        shown.push(frames.get(path).element);
      }
      const isMap = ([figure]) => figure.kind === "heatmap" || figure.kind === "parallel";
      section.grid.classList.toggle("maps", [...bySection.get(name).values()].every(isMap));
      arrange(section.grid, shown);
    }
    for (const [path, frame] of frames) if (!kept.has(path)) drop(path, frame);
    arrange(byId("content"), names.map((name) => sections.get(name).element));
    arrange(byId("sections"), names.map((name) => sections.get(name).link));
  };

  const drop = (path, frame) => {
    frame.point(-1);
    seen.unobserve(frame.element);
    sized.unobserve(frame.body);
    frames.delete(path);
  };

  // --- The headline ---------------------------------------------------------------------

  const STATUSES = ["new", "running", "interrupted", "finished"];
  const showHeadline = ({ status, facts, notes }) => {
    const pill = byId("status");
    pill.textContent = Loraqd.visible(status);
    pill.dataset.status = STATUSES.includes(status) ? status : "new";
    const tiles = facts.map(([label, value]) =>
      el("div", {}, el("dt", {}, label), el("dd", {}, Loraqd.format(value))),
    );
    byId("facts").replaceChildren(...tiles);
    byId("notes").replaceChildren(...notes.map((note) => el("li", {}, note)));
  };

  const take = (news) => {
    for (const id of news.gone ?? []) figures.delete(id);
    for (const figure of news.figures) figures.set(figure.id, figure);
    order = news.sections ?? order;
    showHeadline(news);
    arrangeAll();
  };

  // --- Live -----------------------------------------------------------------------------

  const listen = () => {
    const source = new EventSource("/events");
    const say = (text) => {
      const node = byId("connection");
      if (node.textContent !== text) node.textContent = text;
    };
    source.addEventListener("open", () => say(""));
    source.addEventListener("update", (event) => take(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      say("Connection lost, trying again");
      if (source.readyState !== EventSource.CLOSED) return;
      setTimeout(listen, RETRY_MS); // a browser gives up after a refusal
    });
  };

  const themeButton = () => {
    const node = byId("theme");
    const prefers = matchMedia("(prefers-color-scheme: dark)");
    const { dataset } = document.documentElement; // nothing in it: as the system says
    const isDark = () => (dataset.theme ? dataset.theme === "dark" : prefers.matches);
    const show = () => node.setAttribute("aria-pressed", String(isDark()));
    node.addEventListener("click", () => {
      dataset.theme = isDark() ? "light" : "dark";
      show();
    });
    prefers.addEventListener("change", show);
    show();
  };

  const data = JSON.parse(byId("data").textContent);
  byId("title").textContent = Loraqd.visible(data.title);
  themeButton();
  take(data);
  const panel = new Loraqd.MemberPanel({ members: data.members, isLive: data.live });
  if (data.live) listen();
}
