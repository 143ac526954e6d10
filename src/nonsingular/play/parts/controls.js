// What a model's page is made of: figures, sliders, choices, buttons, the clock.
"use strict";
play.controls = (() => {
  const { Plot } = play.plot;
  const still = matchMedia("(prefers-reduced-motion: reduce)");

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key in made && key !== "list") made[key] = value; else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }

  let count = 0;
  const unique = () => `control-${++count}`;

  class Stage {
    constructor(model) {
      this.plots = [];
      this.frames = [];
      this.big = element("div", { className: "big" });
      this.small = element("div", { className: "small" });
      this.controls = element("div", { className: "controls" });
      this.readout = element("p", { className: "readout" });
      this.time = element("div", { className: "time" });
      const look = element("div", { className: "look" }, element("h3", { textContent: "What to look at" }));
      this.looks = model.look.map((words) => element("li", { innerHTML: words }));
      look.append(element("ol", {}, ...this.looks), this.turner(), element("p", { className: "source", textContent: `Source: ${model.source}` }));
      this.root = element("section", { className: "model", id: `model-${model.id}`, role: "tabpanel" },
        element("div", { className: "head" }, element("h2", { textContent: model.title }), element("p", { textContent: model.question })),
        this.big, this.small, this.time,
        element("div", { className: "side" }, element("div", {}, element("h3", { textContent: "Try" }), this.controls, this.readout), look));
      this.root.setAttribute("aria-label", model.title);
    }

    // Buttons that lead through what to look at, for presentations, which show one of them at a time.
    turner() {
      const told = element("span"), button = (words, name, step) => {
        const made = element("button", { type: "button", textContent: words });
        made.setAttribute("aria-label", name);
        made.addEventListener("click", () => this.turn(step));
        return made;
      };
      let shown = 0;
      this.turn = (step) => {
        shown = (shown + step + this.looks.length) % this.looks.length;
        this.looks.forEach((item, i) => item.classList.toggle("now", i === shown));
        told.textContent = `${shown + 1} of ${this.looks.length}`;
      };
      this.turn(0);
      return element("div", { className: "turner" }, button("‹", "What to look at before", -1), told, button("›", "What to look at next", 1));
    }

    figure(title, keys = [], where = this.small) {
      const caption = element("figcaption", {}, element("span", { textContent: title }));
      for (const [words, classes, colour] of keys) {
        const swatch = element("i", { className: classes || "" });
        if (colour) swatch.style.borderColor = colour;
        caption.append(element("span", { className: "key" }, swatch, words));
      }
      const host = element("div", { className: "plot" });
      const figure = element("figure", {}, caption, host);
      where.append(figure);
      return { figure, host, caption };
    }

    plot(title, options, keys = [], where = this.small) {
      const { host } = this.figure(title, keys, where);
      const plot = new Plot(host, { label: title, ...options });
      this.plots.push(plot);
      return plot;
    }

    slider(words, { min, max, step, value, show = String, change }) {
      const id = unique();
      const output = element("output", { textContent: show(value) });
      const input = element("input", { type: "range", id, min, max, step, value });
      input.addEventListener("input", () => { output.textContent = show(Number(input.value)); change(Number(input.value)); });
      this.controls.append(element("div", { className: "control" },
        element("label", { htmlFor: id }, element("span", { textContent: words }), output), input));
      const set = (v) => { input.value = v; output.textContent = show(v); };
      return { input, set };
    }

    choice(words, options, value, change) {
      const buttons = options.map(([key, name]) => {
        const button = element("button", { type: "button", textContent: name });
        button.setAttribute("aria-pressed", String(key === value));
        button.addEventListener("click", () => { set(key); change(key); });
        return button;
      });
      const set = (key) => options.forEach(([k], i) => buttons[i].setAttribute("aria-pressed", String(k === key)));
      const group = element("div", { className: "buttons", role: "group" }, ...buttons);
      group.setAttribute("aria-label", words);
      this.controls.append(element("div", { className: "control" }, element("div", { className: "label", textContent: words }), group));
      return { buttons, set };
    }

    buttons(words, actions) {
      const group = element("div", { className: "buttons", role: "group" }, ...actions.map(([name, act]) => {
        const button = element("button", { type: "button", textContent: name });
        button.addEventListener("click", () => act(button));
        return button;
      }));
      group.setAttribute("aria-label", words);
      this.controls.append(element("div", { className: "control" }, element("div", { className: "label", textContent: words }), group));
      return group;
    }

    // Runs work(); while it says there is more (true), again in the next frame.
    whenIdle(work) {
      this.pending = work;
      if (this.waiting) return;
      const go = () => {
        this.waiting = 0;
        if (this.gone || !this.pending) return;
        if (this.pending()) this.waiting = requestAnimationFrame(go); else this.pending = null;
      };
      this.waiting = requestAnimationFrame(go);
    }

    // A clock from 0 to 1 with a play button: seconds long, tick(share) whenever it moves, say(share) in words.
    clock(seconds, tick, say) {
      const button = element("button", { type: "button", className: "strong", textContent: "Play" });
      const input = element("input", { type: "range", min: 0, max: 1000, step: 1, value: 1000 });
      input.setAttribute("aria-label", "Time");
      const output = element("output");
      this.time.append(button, input, output);
      let running = false, last = 0;
      const clock = { share: 1, get running() { return running; } };
      clock.show = (share) => {
        clock.share = share;
        input.value = Math.round(1000 * share);
        output.textContent = say(share);
        input.setAttribute("aria-valuetext", output.textContent);
        tick(share);
      };
      const frame = (now) => {
        if (!running || this.gone) return;
        clock.show(Math.min(1, clock.share + Math.min(100, now - last) / 1000 / seconds));
        last = now;
        if (clock.share >= 1) clock.pause(); else requestAnimationFrame(frame);
      };
      clock.play = () => {
        if (clock.share >= 1) clock.show(0);
        running = true;
        button.textContent = "Pause";
        last = performance.now();
        requestAnimationFrame(frame);
      };
      clock.pause = () => { running = false; button.textContent = "Play"; };
      clock.toggle = () => (running ? clock.pause() : clock.play());
      // From the start, where motion is welcome; else the end, at once.
      clock.restart = () => { if (still.matches) { clock.pause(); clock.show(1); } else { clock.show(0); clock.play(); } };
      clock.refresh = () => clock.show(clock.share);
      button.addEventListener("click", clock.toggle);
      input.addEventListener("input", () => { clock.pause(); clock.show(Number(input.value) / 1000); });
      this.toggle = clock.toggle;
      return clock;
    }
  }

  return { Stage, element, still };
})();
