// The panel of one member: scores, parents, commands and, on the live page, answers.
"use strict";
{
  const { el, button, format } = Loraqd;
  const NUM_SAMPLES = 100;

  const fact = (name, ...value) => [el("dt", {}, name), el("dd", {}, ...value)];

  const scoreBars = (scores) => {
    const rows = Object.entries(scores).map(([skill, score]) => {
      const share = Math.min(1, Math.max(0, Loraqd.number(score) ?? 0));
      const bar = Loraqd.svg(
        "svg",
        {
          class: "score", viewBox: "0 0 100 10", preserveAspectRatio: "none",
          "aria-hidden": "true",
        },
        Loraqd.svg("rect", { width: 100, height: 10, class: "void" }),
        Loraqd.svg("rect", { width: share * 100, height: 10, class: "bar s0" }),
      );
      return el(
        "tr", {},
        el("th", { scope: "row" }, skill), el("td", {}, bar),
        el("td", { class: "number" }, format(score)),
      );
    });
    return rows.length ? el("table", { class: "scores" }, el("tbody", {}, rows)) : null;
  };

  class MemberPanel {
    constructor({ members, isLive }) {
      this.members = members;
      this.isLive = isLive;
      this.dialog = document.getElementById("member");
      this.dialog.addEventListener("close", () => this.closed());
      this.dialog.addEventListener("click", (event) => {
        if (event.target === this.dialog) this.dialog.close(); // its backdrop
      });
      window.addEventListener("hashchange", () => this.follow());
      this.follow();
    }

    // ``back`` puts the focus where it was, should an update have taken its element.
    open(id, back = null) {
      if (back) this.back = back;
      const hash = `#member=${encodeURIComponent(id)}`;
      if (location.hash === hash) this.follow();
      else location.hash = hash;
    }

    // Show whom the address names, or nobody.
    follow() {
      const [, encoded] = location.hash.match(/^#member=(.+)$/) ?? [];
      let id = null;
      try {
        id = encoded ? decodeURIComponent(encoded) : null;
      } catch {
        return; // no address of ours
      }
      if (id !== null) this.show(id);
      else if (this.dialog.open) this.dialog.close();
    }

    closed() {
      this.loading?.abort();
      if (document.activeElement === document.body) this.back?.();
      this.back = null;
      if (location.hash.startsWith("#member=")) {
        history.replaceState(null, "", `${location.pathname}${location.search}`);
      }
    }

    async show(id) {
      this.loading?.abort();
      this.loading = new AbortController();
      this.frame(id);
      if (!this.dialog.open) this.dialog.showModal();
      this.dialog.scrollTop = 0;
      if (!this.isLive) {
        return this.fill(id, Object.hasOwn(this.members, id) ? this.members[id] : null);
      }
      const { signal } = this.loading;
      this.say("Loading …");
      const [member, error] = await this.ask(`/members/${encodeURIComponent(id)}`, signal);
      if (signal.aborted) return;
      this.say(error ?? "");
      if (member) this.fill(id, member);
    }

    // What the server answers, or what it has against it.
    async ask(address, signal) {
      try {
        const answer = await fetch(address, { signal, cache: "no-store" });
        const data = await answer.json();
        if (answer.ok) return [data, null];
        return [null, String(data.error ?? `the server answered ${answer.status}`)];
      } catch {
        return [null, "The server does not answer: is loraqd watch still running?"];
      }
    }

    frame(id) {
      this.content = el("div");
      this.status = el("p", { role: "status", class: "small" });
      const close = button("Close", () => this.dialog.close(), { class: "quiet" });
      this.dialog.replaceChildren(
        el("div", { class: "head" }, el("h2", { id: "member-title" }, `Member ${id}`), close),
        this.status,
        this.content,
      );
    }

    say(text) {
      this.status.textContent = Loraqd.visible(text);
    }

    fill(id, member) {
      if (!member) {
        const text = "This report does not hold it; the live page does: loraqd watch.";
        return this.content.replaceChildren(el("p", {}, text));
      }
      const parts = [
        this.facts(member),
        scoreBars(member.scores),
        this.commands(member.commands),
        this.isLive ? this.samples(id, member.splits) : null,
      ];
      this.content.replaceChildren(...parts.filter(Boolean));
    }

    facts(member) {
      const toParent = (id) => button(id, () => this.open(id), { class: "link" });
      const parents = member.parents.map(toParent);
      const spaced = parents.flatMap((parent, i) => (i ? [" ", parent] : [parent]));
      const { index, task, mean, operators, archives } = member;
      return el(
        "dl",
        { class: "about" },
        fact("mean score", format(mean)),
        index === null ? [] : fact("number", format(index)),
        task ? fact("bred for", task) : [],
        operators ? fact("operators", operators) : [],
        fact("parents", ...(spaced.length ? spaced : ["none"])),
        fact("holds a cell of", archives.length ? archives.join(", ") : "no archive"),
      );
    }

    commands(commands) {
      const rows = Object.entries(commands).map(([name, command]) => {
        const code = el("code", {}, command);
        const copy = button("Copy", () => this.copy(code), { "aria-label": `Copy ${name}` });
        return el("div", { class: "command" }, code, copy);
      });
      return rows.length ? el("div", {}, el("h3", {}, "Commands"), rows) : null;
    }

    // What is seen is copied: no hidden sign gets into a terminal.
    async copy(code) {
      try {
        await navigator.clipboard.writeText(code.textContent);
        this.say("Copied.");
      } catch {
        getSelection().selectAllChildren(code);
        this.say("Selected: copy it with Ctrl+C.");
      }
    }

    // --- Answers --------------------------------------------------------------------

    samples(id, splits) {
      const list = el("div", { class: "samples" });
      const choices = Object.entries(splits).flatMap(([split, skills]) =>
        skills.length
          ? el(
              "p",
              { class: "choices" },
              el("span", {}, split),
              skills.map((skill) => {
                const load = (event) => this.load(event.currentTarget, list, { id, split, skill });
                return button(skill, load, { "aria-pressed": "false", class: "quiet" });
              }),
            )
          : [],
      );
      return choices.length ? el("div", {}, el("h3", {}, "Answers"), choices, list) : null;
    }

    async load(pressed, list, { id, split, skill }) {
      for (const other of this.content.querySelectorAll("[aria-pressed]")) {
        other.setAttribute("aria-pressed", String(other === pressed));
      }
      const { signal } = this.loading;
      this.pressed = pressed;
      list.replaceChildren(el("p", { class: "small" }, "Loading …"));
      const query = new URLSearchParams({ split, skill });
      const address = `/members/${encodeURIComponent(id)}/samples?${query}`;
      const [found, error] = await this.ask(address, signal);
      if (signal.aborted || this.pressed !== pressed) return;
      if (error) return list.replaceChildren(el("p", { role: "alert" }, error));
      const samples = [...found.samples].sort((a, b) => (a.score ?? 0) - (b.score ?? 0));
      const wrong = samples.filter((sample) => sample.score < 1).length;
      const num = format(samples.length);
      const text = `${num} answers on ${skill} (${split}), ${format(wrong)} below 1.`;
      list.replaceChildren(el("p", { class: "small" }, text));
      if (found.note) list.append(el("p", { class: "small" }, found.note));
      this.more(list, samples, 0);
    }

    more(list, samples, from) {
      const to = Math.min(samples.length, from + NUM_SAMPLES);
      list.append(...samples.slice(from, to).map((sample) => this.sample(sample)));
      if (to === samples.length) return;
      const next = button(`Show more (${format(samples.length - to)} left)`, () => {
        next.remove();
        this.more(list, samples, to);
      });
      list.append(next);
    }

    sample({ id, prompt, answer, score, reason }) {
      const isRight = score >= 1;
      const verdict = `${isRight ? "✓" : "✗"} ${format(score)}${reason ? ` · ${reason}` : ""}`;
      const part = (name, text) => [
        el("h5", {}, name),
        el("pre", { tabindex: 0, role: "region", "aria-label": name }, text),
      ];
      return el(
        "article",
        { class: isRight ? "sample right" : "sample wrong" },
        el("h4", {}, el("span", { class: "verdict" }, verdict), el("span", { class: "small" }, id)),
        prompt === null
          ? el("p", { class: "small" }, "Its prompt is not here.")
          : part("prompt", prompt),
        part("answer", answer ?? ""),
      );
    }
  }

  Loraqd.MemberPanel = MemberPanel;
}
