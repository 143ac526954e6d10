// Axes, curves, fields and points to drag, in SVG at the size it is shown, so that letters keep theirs.
"use strict";
play.plot = (() => {
  const NS = "http://www.w3.org/2000/svg";
  const SHADES = 6;

  function node(name, attributes = {}, parent = null) {
    const made = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (parent) parent.append(made);
    return made;
  }

  const short = (v) => {
    if (v === 0) return "0";
    const size = Math.abs(v);
    if (size >= 1e4 || size < 1e-3) {
      const power = Math.floor(Math.log10(size) + 1e-9), lead = v / 10 ** power;
      const digits = String(power).replace("-", "−").replace(/\d/g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]).replace("−", "⁻");
      return (Math.abs(lead - 1) < 1e-6 ? "" : `${Number(lead.toPrecision(3))}·`) + `10${digits}`;
    }
    return String(Number(v.toPrecision(3))).replace("-", "−");
  };

  function linearTicks([low, high], wanted) {
    const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((k) => k * power).find((k) => k >= rough * 0.999);
    const ticks = [];
    for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + 1e-9 * step; v += step) ticks.push(Math.abs(v) < 1e-9 * step ? 0 : v);
    return ticks;
  }

  function logTicks([low, high], wanted) {
    const [from, to] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
    const every = Math.max(1, Math.ceil((to - from) / wanted));
    const ticks = [];
    for (let power = from; power <= to; power++) if (power % every === 0) ticks.push(10 ** power);
    return ticks;
  }

  // Letters as large as their room lets them be.
  function fit(text, room) {
    const length = text.getComputedTextLength();
    if (length > room) text.style.fontSize = `${parseFloat(getComputedStyle(text).fontSize) * room / length}px`;
  }

  class Plot {
    // x, y: { range, log, label }; label: what the picture is, for those who do not see it.
    constructor(host, { x, y, label }) {
      this.host = host;
      Object.assign(this, { x, y });
      this.svg = node("svg", { role: "group", "aria-label": label }, host);
      const id = `clip-${Math.random().toString(36).slice(2)}`;
      this.clip = node("rect", {}, node("clipPath", { id }, node("defs", {}, this.svg)));
      this.axes = node("g", {}, this.svg);
      this.inside = node("g", { "clip-path": `url(#${id})` }, this.svg);
      this.under = node("g", {}, this.inside);
      this.field = node("g", {}, this.inside);
      this.lines = node("g", {}, this.inside);
      this.ground = node("rect", { class: "ground" }, this.svg);
      this.over = node("g", {}, this.svg);
      this.measure();
    }

    measure() {
      this.width = Math.max(60, this.host.clientWidth);
      this.height = Math.max(60, this.host.clientHeight);
      this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
      const large = this.large = document.body.classList.contains("present") ? 1.2 : 1;
      const name = node("text", { class: "name" }, this.axes);
      name.textContent = this.y.label;
      this.flat = 0.75 * name.getComputedTextLength() > this.height - 4; // too long to stand beside its axis: it lies above
      this.left = (this.flat ? 46 : 62) * large; this.right = this.width - 12;
      this.top = (this.flat ? 22 : 10) * large; this.bottom = this.height - 38 * large;
      for (const rect of [this.clip, this.ground]) {
        rect.setAttribute("x", this.left); rect.setAttribute("y", this.top);
        rect.setAttribute("width", Math.max(1, this.right - this.left)); rect.setAttribute("height", Math.max(1, this.bottom - this.top));
      }
      this.drawAxes();
    }

    share(axis, v) {
      const [low, high] = axis.range;
      if (axis.log) return Math.log(Math.max(v, 1e-300) / low) / Math.log(high / low);
      return (v - low) / (high - low);
    }

    px(v) { return this.left + this.share(this.x, v) * (this.right - this.left); }
    py(v) { return this.bottom - this.share(this.y, v) * (this.bottom - this.top); }

    value(axis, share) {
      const [low, high] = axis.range;
      return axis.log ? low * (high / low) ** share : low + share * (high - low);
    }

    // The point of the plane under the pointer, inside it.
    under_(event) {
      const box = this.svg.getBoundingClientRect();
      const inside = (s) => Math.min(1, Math.max(0, s));
      return [
        this.value(this.x, inside((event.clientX - box.left - this.left) / (this.right - this.left))),
        this.value(this.y, inside((this.bottom - event.clientY + box.top) / (this.bottom - this.top))),
      ];
    }

    drawAxes() {
      this.axes.replaceChildren();
      const ticks = (axis, room) => axis.ticks || (axis.log ? logTicks : linearTicks)(axis.range, room);
      const write = (words, attributes) => {
        const text = node("text", attributes, this.axes);
        text.textContent = words;
        return text;
      };
      for (const v of ticks(this.x, Math.max(2, (this.right - this.left) / 80))) {
        const at = this.px(v);
        node("line", { class: "gridline", x1: at, x2: at, y1: this.top, y2: this.bottom }, this.axes);
        const text = write(short(v), { x: at, y: this.bottom + 16 * this.large, "text-anchor": "middle" });
        text.setAttribute("x", Math.min(at, this.width - 1 - text.getComputedTextLength() / 2));
      }
      for (const v of ticks(this.y, Math.max(1, (this.bottom - this.top) / 36))) {
        const at = this.py(v);
        node("line", { class: "gridline", x1: this.left, x2: this.right, y1: at, y2: at }, this.axes);
        write(short(v), { x: this.left - 7, y: at + 4, "text-anchor": "end" });
      }
      const within = (middle, length, end) => Math.max(length / 2 + 2, Math.min(end - 2 - length / 2, middle));
      const below = write(this.x.label, { class: "name", y: this.height - 5, "text-anchor": "middle" });
      fit(below, this.width - 4);
      below.setAttribute("x", within((this.left + this.right) / 2, below.getComputedTextLength(), this.width));
      const beside = write(this.y.label, { class: "name", "text-anchor": this.flat ? "start" : "middle" });
      if (this.flat) {
        fit(beside, this.width - 4);
        for (const [key, value] of [["x", 4], ["y", 14]]) beside.setAttribute(key, value);
      } else {
        fit(beside, this.height - 4);
        const at = within((this.top + this.bottom) / 2, beside.getComputedTextLength(), this.height);
        beside.setAttribute("transform", `translate(${13 * this.large} ${at}) rotate(-90)`);
      }
    }

    // "M...L..." through points [[x, y]], lifted where one is not finite.
    route(points) {
      let d = "", pen = false;
      for (const [x, y] of points) {
        const [at, up] = [this.px(x), this.py(y)];
        if (!Number.isFinite(at) || !Number.isFinite(up)) { pen = false; continue; }
        const [h, v] = [Math.max(-1e4, Math.min(1e4, at)), Math.max(-1e4, Math.min(1e4, up))];
        d += `${pen ? "L" : "M"}${h.toFixed(1)} ${v.toFixed(1)}`;
        pen = true;
      }
      return d;
    }

    curve(classes, parent = this.lines) { return node("path", { class: classes }, parent); }

    set(curve, points) { curve.setAttribute("d", this.route(points)); }

    dot(classes, radius = 5.5) { return node("circle", { class: `dot ${classes}`, r: radius }, this.over); }

    place(dot, x, y) {
      const [at, up] = [this.px(x), this.py(y)];
      const shown = Number.isFinite(at) && Number.isFinite(up) && at >= this.left - 1 && at <= this.right + 1 && up >= this.top - 1 && up <= this.bottom + 1;
      dot.setAttribute("visibility", shown ? "visible" : "hidden");
      if (shown) { dot.setAttribute("cx", at.toFixed(1)); dot.setAttribute("cy", up.toFixed(1)); }
    }

    // Words on the plane, those that matter most first: each { at, words, anchor, dx, dy, classes, turn } in the first
    // wording that fits where it belongs, else the last one moved into the plane; not at all where it would cover another.
    label(labels) {
      for (const text of this.lines.querySelectorAll("text")) text.remove();
      const taken = [], covers = (box) => taken.some((o) => box.left < o.right && o.left < box.right && box.top < o.bottom && o.top < box.bottom);
      for (const { at: [x, y], words, anchor = "start", dx = 0, dy = 0, classes = "halo", turn = 0 } of labels) {
        const text = node("text", { class: classes, "text-anchor": anchor }, this.lines);
        const put = (right, down) => {
          text.setAttribute("transform", `translate(${this.px(x) + dx + right} ${this.py(y) + dy + down}) rotate(${turn})`);
          return this.box(text);
        };
        const push = (low, high, from, to) => Math.max(0, low + 3 - from) - Math.max(0, to - high + 3);
        let moves = [];
        for (const wording of [words].flat()) {
          text.textContent = wording;
          const box = put(0, 0);
          moves = [push(this.left, this.right, box.left, box.right), push(this.top, this.bottom, box.top, box.bottom)];
          if (!moves.some(Boolean) && !covers(box)) break;
        }
        const box = put(...moves);
        if (covers(box)) text.remove();
        else taken.push(box);
      }
    }

    // Where something is drawn, in the plot's own units.
    box(drawn) {
      const box = drawn.getBoundingClientRect(), frame = this.svg.getBoundingClientRect();
      return { left: box.left - frame.left, right: box.right - frame.left, top: box.top - frame.top, bottom: box.bottom - frame.top };
    }

    // Evenly spaced streamlines of velocity(x, y) -> [x', y'], the slower the stronger.
    flow(velocity) {
      this.field.replaceChildren();
      const gap = 15, step = 3, columns = Math.ceil((this.right - this.left) / gap), rows = Math.ceil((this.bottom - this.top) / gap);
      const taken = new Int16Array(columns * rows);
      const [sx, sy] = [(this.right - this.left) / (this.x.range[1] - this.x.range[0]), (this.bottom - this.top) / (this.y.range[1] - this.y.range[0])];
      const at = (px, py) => {
        const [vx, vy] = velocity(this.x.range[0] + (px - this.left) / sx, this.y.range[0] + (this.bottom - py) / sy);
        return [vx * sx, -vy * sy, Math.hypot(vx, vy)];
      };
      const cell = (px, py) => {
        const [c, r] = [Math.floor((px - this.left) / gap), Math.floor((py - this.top) / gap)];
        return c < 0 || r < 0 || c >= columns || r >= rows ? -1 : r * columns + c;
      };
      const lines = [];
      const trace = (px, py, sign, mark) => {
        const points = [];
        let before = null;
        for (let k = 0; k < 220; k++) {
          const [vx, vy, speed] = at(px, py), length = Math.hypot(vx, vy);
          if (!(length > 1e-12) || (before && before[0] * vx + before[1] * vy < 0)) break; // arrived: it would go to and fro
          before = [vx, vy];
          const [mx, my] = at(px + sign * step / 2 * vx / length, py + sign * step / 2 * vy / length);
          const middle = Math.hypot(mx, my) || 1;
          if (mx * vx + my * vy < 0) break;
          px += sign * step * mx / middle; py += sign * step * my / middle;
          const here = cell(px, py);
          if (here < 0 || (taken[here] && taken[here] !== mark)) break;
          taken[here] = mark;
          points.push([px, py, speed]);
        }
        return points;
      };
      let mark = 0;
      const seeds = Array.from({ length: columns * rows }, (_, k) => (k * 7919) % (columns * rows)); // scattered, always the same
      for (const seed of seeds) {
        if (taken[seed]) continue;
        const [px, py] = [this.left + (seed % columns + 0.5) * gap, this.top + (Math.floor(seed / columns) + 0.5) * gap];
        taken[seed] = ++mark;
        const back = trace(px, py, -1, mark).reverse(), on = trace(px, py, 1, mark);
        const line = [...back, ...on];
        if (line.length >= 7) lines.push(line);
      }
      const speeds = lines.flatMap((line) => line.map((p) => Math.log(p[2]))).sort((a, b) => a - b);
      const [low, high] = [speeds[Math.floor(speeds.length * 0.03)], speeds[Math.floor(speeds.length * 0.97)]];
      const shade = (speed) => Math.max(0, Math.min(SHADES - 1, Math.floor((Math.log(speed) - low) / (high - low || 1) * SHADES)));
      const strokes = Array.from({ length: SHADES }, () => ""), tips = strokes.slice();
      for (const line of lines) {
        let now = -1;
        line.forEach(([px, py, speed], k) => {
          const next = shade(speed);
          if (next !== now) {
            if (now >= 0) strokes[now] += `L${px.toFixed(1)} ${py.toFixed(1)}`;
            strokes[next] += `M${px.toFixed(1)} ${py.toFixed(1)}`;
            now = next;
          } else if (k % 2 === 0 || k === line.length - 1) strokes[now] += `L${px.toFixed(1)} ${py.toFixed(1)}`;
        });
        const middle = Math.floor(line.length * 0.6), [px, py, speed] = line[middle], [qx, qy] = line[Math.max(0, middle - 2)];
        const angle = Math.atan2(py - qy, px - qx), corner = (turn, r) => `${(px + r * Math.cos(angle + turn)).toFixed(1)} ${(py + r * Math.sin(angle + turn)).toFixed(1)}`;
        tips[shade(speed)] += `M${corner(0, 4.5)}L${corner(2.5, 4)}L${corner(-2.5, 4)}Z`;
      }
      for (let k = SHADES - 1; k >= 0; k--) {
        node("path", { class: "flow", d: strokes[k] }, this.field).style.stroke = `var(--flow-${k})`;
        node("path", { class: "tip", d: tips[k] }, this.field).style.fill = `var(--flow-${k})`;
      }
    }

    // A point to drag by pointer, touch or arrow keys. move(x, y) is told where to; done() that it was let go.
    handle({ label, step, move, done = () => {}, words }) {
      const group = node("g", { class: "handle", tabindex: 0, role: "slider", "aria-label": label,
        "aria-roledescription": "point to drag in two directions" }, this.over);
      node("circle", { class: "ring", r: 15 }, group);
      node("circle", { class: "hit", r: 24 }, group);
      node("circle", { class: "knob", r: 8 }, group);
      let held = null;
      const to = (x, y) => move(x, y);
      const down = (event) => {
        if (event.button > 0) return;
        held = event.pointerId;
        event.currentTarget.setPointerCapture(held);
        if (event.currentTarget === this.ground) to(...this.under_(event));
        event.preventDefault();
        group.focus({ preventScroll: true });
      };
      let wanted = null; // pointers report more often than frames are drawn
      const follow = () => { if (wanted) to(...this.under_(wanted)); wanted = null; };
      const drag = (event) => {
        if (event.pointerId !== held) return;
        if (!wanted) requestAnimationFrame(follow);
        wanted = event;
      };
      const up = (event) => { if (event.pointerId === held) { held = null; follow(); done(); } };
      for (const target of [group, this.ground]) {
        if (target === this.ground) {
          target.addEventListener("pointerdown", (e) => { if (e.pointerType === "mouse") down(e); });
          target.addEventListener("click", (e) => { if (e.pointerType !== "mouse") { to(...this.under_(e)); done(); } });
        } else target.addEventListener("pointerdown", down);
        target.addEventListener("pointermove", drag);
        target.addEventListener("pointerup", up);
        target.addEventListener("pointercancel", up);
      }
      group.addEventListener("keydown", (event) => {
        const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
        const way = ways[event.key];
        if (!way) return;
        event.preventDefault();
        event.stopPropagation();
        const size = step * (event.shiftKey ? 5 : 1);
        const within = ([low, high], v) => Math.min(high, Math.max(low, v));
        to(within(this.x.range, handle.x + size * way[0]), within(this.y.range, handle.y + size * way[1]));
        done();
      });
      const handle = {
        group, x: 0, y: 0,
        put: (x, y) => {
          [handle.x, handle.y] = [x, y];
          group.setAttribute("transform", `translate(${this.px(x).toFixed(1)} ${this.py(y).toFixed(1)})`);
          group.setAttribute("aria-valuemin", this.x.range[0]); group.setAttribute("aria-valuemax", this.x.range[1]);
          group.setAttribute("aria-valuenow", x.toFixed(3)); group.setAttribute("aria-valuetext", words(x, y));
        },
      };
      return handle;
    }
  }

  return { Plot, node, short };
})();
