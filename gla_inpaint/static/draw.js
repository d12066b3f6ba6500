// The board in the browser. It shows the photo and says what hands and keys do,
// in pixels of the photo; the hole is drawn in Python (nbs/10_draw.ipynb explains).

// --- paint
const decode = async bytes =>
  bytes?.byteLength ? createImageBitmap(new Blob([bytes])) : null;

// Strokes are shown here until Python has answered with the hole that they made.
function drawStroke(ctx, {tool, points, width}) {
  ctx.globalCompositeOperation = tool == "eraser" ? "destination-out" : "source-over";
  const [[x, y], [u, v]] = [points[0], points.at(-1)];
  if (tool == "rectangle") ctx.fillRect(x, y, u - x, v - y);
  else {
    ctx.lineWidth = width;
    ctx.lineCap = ctx.lineJoin = "round";
    ctx.beginPath();
    ctx.moveTo(x, y);
    for (const p of points) ctx.lineTo(...p);
    ctx.stroke();
  }
  ctx.globalCompositeOperation = "source-over";
}

// A hole has one pixel for each, or for each second, third ... of a large photo.
function drawHole(ctx, hole, [left, top, right, bottom]) {
  const [w, h] = [right - left, bottom - top];
  const step = Math.round(Math.max(w, h) / Math.max(hole.width, hole.height));
  ctx.clearRect(left, top, w, h);
  ctx.drawImage(hole, left, top, step * hole.width, step * hole.height);
}

function drawAll(ctx, view) {
  ctx.fillStyle = ctx.strokeStyle = view.colour;
  if (view.hole) drawHole(ctx, view.hole, [0, 0, ...view.size]);
  if (view.nearHole) drawHole(ctx, view.nearHole.hole, view.nearHole.box);
  view.strokes.forEach(stroke => drawStroke(ctx, stroke));
}

function drawPhoto(ctx, view, name) {
  ctx.drawImage(view[name], 0, 0, ...view.size);
  if (!view.near[name]) return;
  const [left, top, right, bottom] = view.near.box;
  ctx.drawImage(view.near[name], left, top, right - left, bottom - top);
}

function drawRing(ctx, view) {
  const [[x, y], r, line] = [view.cursor, view.ring / 2, 1 / view.scale];
  for (const [colour, inset] of [["black", 0], ["white", 1]]) {
    ctx.strokeStyle = colour;
    ctx.lineWidth = line;
    ctx.beginPath();
    if (r) ctx.arc(x, y, Math.max(0, r - inset * line), 0, 7);
    else for (const [dx, dy] of [[9, 0], [0, 9]]) {
      ctx.moveTo(x - dx * line + inset * line, y - dy * line + inset * line);
      ctx.lineTo(x + dx * line + inset * line, y + dy * line + inset * line);
    }
    ctx.stroke();
  }
}

function paint(canvas, view) {
  const k = devicePixelRatio, [W, H] = view.box.map(side => Math.round(side * k));
  if (!W || !H || !view.photo) return;
  for (const c of [canvas, view.layer])
    if (c.width != W || c.height != H) [c.width, c.height] = [W, H];
  const [ctx, top] = [canvas, view.layer].map(c => c.getContext("2d"));
  for (const c of [ctx, top]) {
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, W, H);
    c.setTransform(k * view.scale, 0, 0, k * view.scale, k * view.x, k * view.y);
    c.imageSmoothingEnabled = k * view.scale < 4;  // from there on, pixels are squares
  }
  const compare = view.filled && view.reveal > 0 && !view.peek;
  drawPhoto(ctx, view, view.peek && view.original ? "original" : "photo");
  if (compare) {
    const seen = new Path2D(), edge = (1 - view.reveal) * view.box[0];
    seen.rect((edge - view.x) / view.scale, 0, view.box[0] / view.scale, view.size[1]);
    ctx.save();
    ctx.clip(seen);
    drawPhoto(ctx, view, "filled");
    ctx.restore();
  } else if (!view.peek) {  // opaque on a layer, so that twice is not darker than once
    drawAll(top, view);
    ctx.save();
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.globalAlpha = view.opacity;
    ctx.drawImage(view.layer, 0, 0);
    ctx.restore();
  }
  if (view.cursor && !compare && !view.peek) drawRing(ctx, view);
}

// --- view
const clamp = (v, low, high) => Math.min(Math.max(v, low), high);
const whole = ({box: [W, H], size: [w, h]}) => Math.min(W / w, H / h);
const isWhole = view => view.scale <= whole(view) * 1.001;

// scale: pixels of the page for one of the photo; x, y: where its corner lies
function lookAt(view, scale, x, y) {
  const at = (corner, room, length) =>
    length <= room ? (room - length) / 2 : clamp(corner, room - length, 0);
  view.scale = clamp(scale, whole(view), Math.max(8, 8 * whole(view)));
  view.x = at(x, view.box[0], view.size[0] * view.scale);
  view.y = at(y, view.box[1], view.size[1] * view.scale);
}

// what lies under x, y stays there
function zoom(view, factor, x = view.box[0] / 2, y = view.box[1] / 2) {
  const from = view.scale, [left, top] = [view.x, view.y];
  lookAt(view, from * factor, left, top);
  const k = view.scale / from;
  lookAt(view, view.scale, x - (x - left) * k, y - (y - top) * k);
}

// A panorama or a long receipt begins as large as its shorter side allows.
function begin(view) {
  const [w, h] = view.size, [W, H] = view.box, thin = w / h / (W / H);
  const cover = thin < 0.9 || thin > 1.1;
  lookAt(view, cover ? Math.max(W / w, H / h) : 0, 0, 0);
}

// --- pointer
function usePointer({canvas, view, get, set, refresh, moved, ask, say}) {
  let stroke = null, hand = null, fingers = new Map(), pinch = null;
  const on = e => {
    const box = canvas.getBoundingClientRect();
    return [e.clientX - box.left, e.clientY - box.top];
  };
  const place = e => {
    const [x, y] = on(e);
    return [(x - view.x) / view.scale, (y - view.y) / view.scale];
  };
  const tool = () => get("tools")[get("tool")];
  const add = ([x, y], least) => {
    const [u, v] = stroke.points.at(-1);
    if (stroke.tool == "rectangle") stroke.points[1] = [x, y];
    else if (Math.hypot(x - u, y - v) >= least) stroke.points.push([x, y]);
  };
  const down = at => {
    if (get("reveal")) set("reveal", 0);  // back from the result to the hole
    stroke = {id: Infinity, tool: tool(), width: get("brush"), points: [at]};
    view.strokes.push(stroke);
    add(at, 0);
    refresh();
  };
  const up = at => {
    add(at, 0);
    const {tool, width, points} = stroke;
    stroke.id = ask({kind: "stroke", tool, width, points});
    stroke = null;
  };
  const drop = () => {
    view.strokes = view.strokes.filter(s => s !== stroke);
    stroke = null;
    refresh();
  };
  const point = at => {
    view.cursor = at;
    view.ring = tool() == "rectangle" ? 0 : get("brush");
    refresh();
  };
  const spread = () => {
    const [[x, y], [u, v]] = [...fingers.values()];
    return {x: (x + u) / 2, y: (y + v) / 2, far: Math.hypot(x - u, y - v) || 1};
  };
  canvas.onpointerdown = e => {
    canvas.focus({preventScroll: true});
    canvas.setPointerCapture(e.pointerId);
    if (e.pointerType == "touch") fingers.set(e.pointerId, on(e));
    if (fingers.size == 2) { drop(); pinch = spread(); }
    if (fingers.size > 1 || pinch || stroke) return;
    if (e.button == 1 || view.space) { e.preventDefault(); hand = on(e); }
    else if (!e.button && e.isPrimary) down(place(e));
  };
  canvas.onpointermove = e => {
    if (fingers.has(e.pointerId)) fingers.set(e.pointerId, on(e));
    if (pinch && fingers.size == 2) {
      const now = spread();
      lookAt(view, view.scale, view.x + now.x - pinch.x, view.y + now.y - pinch.y);
      zoom(view, now.far / pinch.far, now.x, now.y);
      pinch = now;
      moved();
    } else if (hand) {
      const [x, y] = on(e);
      lookAt(view, view.scale, view.x + x - hand[0], view.y + y - hand[1]);
      hand = [x, y];
      moved();
    } else if (!pinch && e.isPrimary) {
      const events = e.getCoalescedEvents?.() ?? [];
      if (stroke) for (const c of events.length ? events : [e])
        add(place(c), stroke.width / 16);
      point(place(e));
    }
  };
  const end = e => {
    fingers.delete(e.pointerId);
    if (!fingers.size) pinch = null;
    if (hand) hand = null;
    else if (stroke && e.isPrimary) e.type == "pointerup" ? up(place(e)) : drop();
  };
  canvas.onpointerup = canvas.onpointercancel = end;
  canvas.onpointerleave = () => { if (!stroke) view.cursor = null; refresh(); };
  canvas.addEventListener("wheel", e => {
    if (!e.ctrlKey) {  // the page scrolls on
      const here = canvas.matches(":focus");
      if (!here) return say("Click the photo: then the wheel zooms.");
      if (isWhole(view) && e.deltaY > 0) return;
    }
    e.preventDefault();
    zoom(view, Math.exp(-e.deltaY * (e.ctrlKey ? 0.01 : 0.002)), ...on(e));
    view.cursor &&= place(e);
    moved();
  }, {passive: false});

  // the same by keyboard: arrows move the brush, Enter puts it down and lifts it
  const middle = () =>
    [view.x, view.y].map((corner, i) => (view.box[i] / 2 - corner) / view.scale);
  const spot = () => view.cursor.map(Math.round).join(", ");
  return {
    size: () => view.cursor && point(view.cursor),
    drop() {
      if (!stroke) return false;
      drop();
      say("Stroke dropped");
      return true;
    },
    move(dx, dy, fine) {
      const step = fine ? 1 : get("brush") / 2, at = view.cursor ?? middle();
      const to = [at[0] + dx * step, at[1] + dy * step];
      point(to.map((v, i) => clamp(v, 0, view.size[i])));
      if (stroke) add(view.cursor, 0);
      const off = i => {  // how far the brush has left the picture
        const v = view.cursor[i] * view.scale + [view.x, view.y][i];
        return clamp(v, 0, view.box[i]) - v;
      };
      lookAt(view, view.scale, view.x + off(0), view.y + off(1));
      moved();
    },
    press() {
      point(view.cursor ?? middle());
      (stroke ? up : down)(view.cursor);
      say(stroke ? `Down at ${spot()}: arrows draw` : `Lifted at ${spot()}`);
    },
  };
}

// --- bar
const ICONS = {
  brush: "M3 17c3.5.6 6-.5 6-3a2 2 0 0 0-4-.5C4.6 15 4.5 16 3 17zM8.5 12 16.5 3",
  eraser: "M8 17h9M8 17l-4.5-4.500a1.5 1.5 0 0 1 0-2L10.5 3.500a1.5 1.5 0 0 1 " +
    "2 0l4 4a1.5 1.5 0 0 1 0 2L9 17M7 7l6 6",
  rectangle: "M3 4.500h14v11H3z",
  undo: "M7 4 3 8l4 4M3 8h9a4.5 4.5 0 0 1 0 9H8",
  redo: "m13 4 4 4-4 4M17 8H8a4.5 4.5 0 0 0 0 9h4",
  clear: "M3.5 6h13M8 6V3.500h4V6M5.5 6l1 11h7l1-11",
  open: "M3 4h14v12H3zM3 14l4.5-4.500L12 14l2-2 3 3M13 7.500h.1",
  load: "M10 13V3M6 7l4-4 4 4M3 13v4h14v-4",
  fill: "M3 17 12 8M14 2.500v4M12 4.500h4M16.5 9.500v3M15 11h3M6.5 4v3M5 5.500h3",
  cancel: "m5 5 10 10M15 5 5 15",
  keep: "m3.5 10.5 4.5 4.5 8.5-10",
  save: "M3 3h11l3 3v11H3zM6 3v4.500h7V3M6 17v-6h8v6",
  download: "M10 3v10M6 9l4 4 4-4M3 17h14",
  out: "M5 10h10",
  in: "M5 10h10M10 5v10",
  whole: "M3 7V3h4M13 3h4v4M17 13v4h-4M7 17H3v-4",
};
// what stands on the bar: its name, its word, what it does
const BAR = [
  ["Tools", {
    brush: ["Brush", "Mark what to remove (B)"],
    eraser: ["Eraser", "Take marks away (E)"],
    rectangle: ["Rectangle", "Mark a rectangle (R)"],
  }],
  ["Brush", {}],
  ["Steps", {
    undo: ["Undo", "Take back the last step (Ctrl+Z)"],
    redo: ["Redo", "Do it again (Ctrl+Shift+Z)"],
    clear: ["Clear", "Remove the whole hole; undo brings it back"],
  }],
  ["Files", {
    open: ["Open photo", "Put another photo here; dropped or pasted ones come too"],
    load: ["Load hole", "A picture of the photo's size, white where to fill"],
  }],
  ["Work", {
    fill: ["Fill", "Fill the hole (F)"],
    keep: ["Keep", "Go on from the result: it becomes the photo (K)"],
    save: ["Save", "Write hole and result into the notebook's folder"],
    download: ["Download",
      "The result as a file, or the hole where nothing is filled"],
  }],
];
const ZOOM = ["Zoom", {
  out: ["Zoom out", "Zoom out (-)"],
  in: ["Zoom in", "Zoom in (+)"],
  whole: ["Whole photo", "Show the whole photo (Esc)"],
}];
const KEYS = [["B E R", "tools"], ["[ ]", "size"], ["Ctrl+Z", "undo"], ["F", "fill"],
  ["K", "keep"], ["C", "hold: the original"], ["wheel + -", "zoom"],
  ["Space", "hold: move"], ["Esc", "whole photo"], ["arrows, Enter", "draw"]];

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) element.setAttribute(k, v);
  element.append(...children);
  return element;
}
function icon(name) {
  const path = ["http://www.w3.org/2000/svg", "svg", "path"];
  const [svg, line] = path.slice(1).map(tag => document.createElementNS(path[0], tag));
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  line.setAttribute("d", ICONS[name]);
  svg.append(line);
  return svg;
}
// JupyterLab looks at the element that has the focus: its shortcuts are off there
const QUIET = "data-lm-suppress-shortcuts", quiet = {[QUIET]: "true"};
function makeGroup([label, buttons], words = true) {
  const group = make("div", {role: "group", "aria-label": label, class: "gla-group"});
  for (const [name, [word, tip]] of Object.entries(buttons)) {
    const label = words ? {} : {"aria-label": word};
    const about = {type: "button", "data-do": name, title: tip, ...label, ...quiet};
    const button = make("button", about);
    button.append(icon(name), ...(words ? [make("span", {}, word)] : []));
    group.append(button);
  }
  return group;
}
function makeSlider(label, range, onInput) {
  const input = make("input", {type: "range", "aria-label": label, ...range, ...quiet});
  const value = make("b"), box = make("label", {class: "gla-slider"});
  box.append(make("span", {}, label, " ", value), input);
  input.oninput = () => onInput(+input.value);
  const set = (at, text) => {
    input.value = at;
    value.textContent = text;
    input.setAttribute("aria-valuetext", text);
  };
  return {box, set};
}

// The sliders of the bar, and the line between before and after
function useSliders(board) {
  const {bar, edge, stage, get, set, slide} = board;
  board.size = makeSlider("Size", {min: 0, max: 100, step: "any"},
    at => board.setBrush(2 * (get("largest") / 2) ** (at / 100)));
  board.tint = makeSlider("Opacity", {min: 10, max: 100},
    at => set("opacity", at / 100));
  bar.children[1].append(board.size.box, board.tint.box);
  edge.onpointerdown = e => {
    e.preventDefault();
    edge.focus({preventScroll: true});
    edge.setPointerCapture(e.pointerId);
  };
  edge.onpointermove = e => {
    const {left, width} = stage.getBoundingClientRect();
    if (edge.hasPointerCapture(e.pointerId)) slide((e.clientX - left) / width);
  };
}

// --- talk
const PATIENCE = 5000;  // ms that Python may take to answer
const LOST = "Python has not answered for 5 seconds: it is busy with a cell, or its " +
  "kernel is gone. What you drew is still here, and Download keeps it as a file. " +
  "If the kernel was restarted, run this cell again and load that file.";

// Each message has a number, larger than the ones before; Python answers with the last.
function talk(model, onLost, onHeard) {
  let last = 0, clock = 0;
  return {
    ask(message, buffers) {
      last = Math.max(last + 1, Date.now());
      clock ||= setTimeout(onLost, PATIENCE);
      try {
        model.send({...message, id: last}, undefined, buffers);
      } catch { onLost(); }
      return last;
    },
    heard(number) {
      if (number < last) return;
      clearTimeout(clock);
      clock = 0;
      onHeard();
    },
  };
}

// Large files go in pieces: a server may refuse messages of 10 MB.
async function sendFile(ask, kind, file) {
  const size = 4 << 20, parts = Math.max(1, Math.ceil(file.size / size));
  for (let part = 0; part < parts; part++) {
    const piece = await file.slice(part * size, (part + 1) * size).arrayBuffer();
    ask({kind, part, parts}, [piece]);
  }
}

function download(name, data) {
  const url = URL.createObjectURL(new Blob([data]));
  make("a", {href: url, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

// The hole as the browser knows it, white on black, for when Python cannot make it
async function holeFile(view) {
  const sheet = new OffscreenCanvas(...view.size), ctx = sheet.getContext("2d");
  drawAll(ctx, view);
  const fill = (how, colour) => {
    [ctx.globalCompositeOperation, ctx.fillStyle] = [how, colour];
    ctx.fillRect(0, 0, ...view.size);
  };
  fill("source-in", "white");
  fill("destination-over", "black");
  return sheet.convertToBlob();
}

// --- keys
const ARROWS = {arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1],
  arrowdown: [0, 1]};
const LETTERS = {b: "brush", e: "eraser", r: "rectangle", f: "fill", k: "keep",
  "+": "in", "=": "in", "-": "out"};
const COMMANDS = {z: "undo", y: "redo"};

function useKeys({el, canvas, edge, view, get, refresh, hand, act, slide, setBrush}) {
  const onEdge = (key, fine) => {
    const at = {home: 0, end: 1}[key], [x, y] = ARROWS[key] ?? [0, 0], by = x - y;
    if (at !== undefined) slide(at);
    else if (by) slide(1 - get("reveal") + by * (fine ? 0.01 : 0.05));
    return at !== undefined || by;
  };
  const onCanvas = (key, fine) => {
    if (ARROWS[key]) hand.move(...ARROWS[key], fine);
    else if (key == "enter") hand.press();
    else if (key == " ") { view.space = true; canvas.classList.add("gla-hand"); }
    else return false;
    return true;
  };
  const onAny = key => {
    if (key == "]") setBrush(Math.ceil(get("brush") * 1.25));
    else if (key == "[") setBrush(Math.floor(get("brush") / 1.25));
    else if (key == "escape") hand.drop() || act("whole");
    else if (key == "c") { view.peek = true; refresh(); }
    else if (LETTERS[key]) act(LETTERS[key]);
    else return false;
    return true;
  };
  el.addEventListener("keydown", e => {
    const key = e.key.toLowerCase(), command = e.ctrlKey || e.metaKey;
    const asked = command && (key == "z" && e.shiftKey ? "redo" : COMMANDS[key]);
    if (asked) act(asked);
    else if (command || e.altKey) return;
    else if (e.target == canvas && onCanvas(key, e.shiftKey)) ;
    else if (e.target == edge && onEdge(key, e.shiftKey)) ;
    else if (!onAny(key)) return;
    e.preventDefault();
    e.stopPropagation();
  });
  const release = ({type, key}) => {
    const gone = type == "focusout";
    if (gone || key == " ") { view.space = false; canvas.classList.remove("gla-hand"); }
    if (gone || key.toLowerCase() == "c") view.peek = false;
    refresh();
  };
  el.addEventListener("keyup", release);
  el.addEventListener("focusout", release);

  // Ctrl+S and the like are JupyterLab's as ever: it must not find them switched off
  const letThrough = ({target, key, ctrlKey, metaKey}) => {
    if (!(ctrlKey || metaKey) || COMMANDS[key.toLowerCase()]) return;
    const off = el.contains(target) && target.closest(`[${QUIET}]`);
    if (!off) return;
    off.removeAttribute(QUIET);
    setTimeout(() => off.setAttribute(QUIET, "true"));
  };
  window.addEventListener("keydown", letThrough, true);
  return () => window.removeEventListener("keydown", letThrough, true);
}

// --- files
function useFiles({el, stage, file, ask}) {
  file.onchange = () => {
    if (file.files[0]) sendFile(ask, file.dataset.kind, file.files[0]);
    file.value = "";
  };
  const take = (e, files) => {
    const photo = [...files ?? []].find(f => f.type.startsWith("image/"));
    if (!photo) return;
    e.preventDefault();
    e.stopPropagation();
    sendFile(ask, "open", photo);
  };
  stage.ondragover = e => { e.preventDefault(); stage.classList.add("gla-over"); };
  stage.ondragleave = () => stage.classList.remove("gla-over");
  stage.ondrop = e => { stage.ondragleave(); take(e, e.dataTransfer.files); };
  const onPaste = e =>
    el.contains(document.activeElement) && take(e, e.clipboardData.files);
  document.addEventListener("paste", onPaste, true);
  return () => document.removeEventListener("paste", onPaste, true);
}

// --- follow
// What Python says: the line of text, and which buttons do something now
function showState({el, bar, status, get, lost}) {
  const able = get("able"), find = name => bar.querySelector(`[data-do=${name}]`);
  const fill = find("fill") ?? find("cancel");
  el.dataset.state = lost ? "lost" : get("state");
  status.textContent = lost ? LOST : get("status");
  for (const name of ["undo", "redo", "keep"])
    find(name).setAttribute("aria-disabled", !able.includes(name));
  const now = able.includes("cancel") ? "cancel" : "fill";
  if (fill.dataset.do == now) return;
  const [word, tip] = now == "fill" ? FILL : CANCEL;
  [fill.dataset.do, fill.title] = [now, tip];  // the same button, so the focus stays
  fill.replaceChildren(icon(now), make("span", {}, word));
}

function showEdge({edge, view, get, refresh}) {
  const after = view.reveal = get("reveal"), percent = Math.round(after * 100);
  edge.hidden = !view.filled;
  edge.style.left = `${(1 - after) * 100}%`;
  edge.style.setProperty("--at", 1 - after);
  edge.setAttribute("aria-valuenow", percent);
  edge.setAttribute("aria-valuetext", `${percent}% after`);
  refresh();
}

function showTools({bar, size, tint, view, get, refresh, hand}) {
  const [brush, largest] = [get("brush"), Math.max(3, get("largest"))];
  size.set(100 * Math.log(brush / 2) / Math.log(largest / 2), `${brush} px`);
  get("tools").forEach((name, i) => {
    const button = bar.querySelector(`[data-do=${name}]`);
    button.setAttribute("aria-pressed", i == get("tool"));
  });
  view.opacity = get("opacity");
  tint.set(Math.round(view.opacity * 100), `${Math.round(view.opacity * 100)}%`);
  hand.size();
  refresh();
}

function showSize({stage, canvas, view, get, fit}) {
  const [w, h] = view.size = get("size"), shape = clamp(w / h, 0.56, 2.5);
  stage.style.width = `min(100%, ${Math.max(w, 760)}px, ${65 * shape}vh)`;
  stage.style.aspectRatio = shape;
  canvas.setAttribute("aria-label", `Photo, ${w} by ${h} pixels: draw over what is ` +
    "to be filled. Arrow keys move the brush, Enter puts it down and lifts it.");
  view.box = [0, 0];
  [view.near, view.nearHole] = [{}, null];
  fit();
}

// Pictures take a moment to decode. One that the next has overtaken is not shown.
function follow(board) {
  const {view, get, heard, refresh, moved} = board, turns = {};
  const pictures = async (name, bytes, show) => {
    const mine = turns[name] = (turns[name] ?? 0) + 1;
    const got = await Promise.all(bytes.map(decode));
    if (mine != turns[name]) return;
    show(...got);
    refresh();
  };
  const one = (name, then) => () =>
    pictures(name, [get(name)], got => { view[name] = got; then(board); });
  const onDrawn = () => {
    const {hole, seen} = get("drawn"), {box, hole: part} = get("near_hole");
    heard(seen);
    pictures("drawn", [hole, part], (hole, near) => {
      view.hole = hole;
      view.nearHole = near && {box, hole: near};
      view.strokes = view.strokes.filter(stroke => stroke.id > seen);
    });
  };
  const onNear = () => {
    const {box, photo, filled} = get("near");
    pictures("near", [photo, filled], (photo, filled) => {
      view.near = {box, photo, filled};
    });
  };
  const state = () => showState(board), tools = () => showTools(board);
  return {size: () => showSize(board), photo: one("photo", moved),
    original: one("original", refresh), filled: one("filled", showEdge), drawn: onDrawn,
    near: onNear, near_hole: onDrawn, reveal: () => showEdge(board), status: state,
    state, able: state, tool: tools, brush: tools, largest: tools, opacity: tools};
}

// --- render
const FILL = BAR[4][1].fill, CANCEL = ["Cancel", "Stop filling; what is drawn stays"];

function makeBoard(el) {
  const part = (name, more, ...inner) => make("div", {class: name, ...more}, ...inner);
  const canvas = make("canvas", {tabindex: 0, role: "application", ...quiet});
  const edge = part("gla-edge", {role: "slider", tabindex: 0, "aria-valuemin": 0,
    "aria-valuemax": 100, "aria-label": "Compare: how much is after", ...quiet},
    make("span", {}, "Before"), make("i"), make("span", {}, "After"));
  const hint = part("gla-hint", {"aria-live": "polite"});
  const percent = make("b");
  const corner = makeGroup(ZOOM, false);
  corner.insertBefore(percent, corner.children[1]);
  corner.classList.add("gla-zoom");
  const stage = part("gla-stage", {}, canvas, edge, hint, corner);
  const bar = part("gla-bar", {}, ...BAR.map(group => makeGroup(group)));
  const status = make("div", {role: "status"}), keys = make("p", {class: "gla-keys"});
  for (const [key, does] of KEYS)
    keys.append(make("span", {}, make("kbd", {}, key), does));
  const file = make("input", {type: "file", accept: "image/*", hidden: ""});
  el.classList.add("gla-draw");
  el.append(bar, stage, status, keys, file);
  return {el, bar, stage, canvas, edge, hint, percent, status, file};
}

// What buttons and letters do: here, or in Python
function makeActions(board) {
  const {view, file, get, set, moved, ask} = board;
  const choose = kind => { file.dataset.kind = kind; file.click(); };
  const here = {
    in: () => { zoom(view, 1.5); moved(); },
    out: () => { zoom(view, 1 / 1.5); moved(); },
    whole: () => { lookAt(view, 0, 0, 0); moved(); },
    open: () => choose("open"),
    load: () => choose("load"),
    download: async () => board.lost ? download("hole.png", await holeFile(view))
      : ask({kind: "download"}),
  };
  return name => {
    const tool = get("tools").indexOf(name);
    if (tool >= 0) set("tool", tool);
    else if (here[name]) here[name]();
    else ask({kind: name});
  };
}

// Where the photo is seen larger than its copy, Python is asked for that part
function makeMoved({view, percent, refresh, ask}) {
  let clock = 0;
  const seen = (i, at) =>
    clamp((at - [view.x, view.y][i]) / view.scale, 0, view.size[i]);
  const look = () => {
    const copy = view.photo ? view.photo.width / view.size[0] : 1;
    if (copy >= 1 || view.scale * devicePixelRatio < 1.05 * copy) return;
    const [left, top] = [seen(0, 0), seen(1, 0)].map(Math.floor);
    const [right, bottom] = view.box.map((side, i) => Math.ceil(seen(i, side)));
    const box = [left, top, right, bottom];
    if (`${box}` != `${view.near.box}`) ask({kind: "look", box});
  };
  return () => {
    percent.textContent = `${Math.round(view.scale * 100)}%`;
    refresh();
    clearTimeout(clock);
    clock = setTimeout(look, 150);
  };
}

function makeFit({stage, view, moved}) {
  return () => {
    const box = [stage.clientWidth, stage.clientHeight], [W] = view.box;
    if (!box[0] || !box[1]) return;
    const [all, k] = [isWhole(view), box[0] / W];
    view.box = box;
    if (!W) begin(view);
    else lookAt(view, all ? 0 : view.scale * k, view.x * k, view.y * k);
    moved();
  };
}

function render({model, el}) {
  const board = makeBoard(el), {canvas, stage, hint} = board;
  const get = name => model.get(name);
  const set = (name, value) => { model.set(name, value); model.save_changes(); };
  const view = {box: [0, 0], size: [1, 1], scale: 1, x: 0, y: 0, near: {}, strokes: [],
    colour: get("colour"), layer: document.createElement("canvas")};
  let frame = 0, clock = 0;
  const refresh = () => {
    frame ||= requestAnimationFrame(() => { frame = 0; paint(canvas, view); });
  };
  const say = text => {
    hint.textContent = text;
    clearTimeout(clock);
    if (text) clock = setTimeout(say, 2500, "");
  };
  const lose = lost => { board.lost = lost; showState(board); };
  Object.assign(board, {get, set, view, refresh, say},
    talk(model, () => lose(true), () => board.lost && lose(false)));
  board.moved = makeMoved(board);
  board.fit = makeFit(board);
  board.hand = usePointer(board);
  board.act = makeActions(board);
  board.slide = share => set("reveal", clamp(1 - share, 0, 1));
  board.setBrush = width => set("brush", clamp(Math.round(width), 2, get("largest")));
  useSliders(board);
  el.addEventListener("click", e => {
    const button = e.target.closest("[data-do]:not([aria-disabled=true])");
    if (button) board.act(button.dataset.do);
  });
  const listeners = follow(board), ends = [useKeys(board), useFiles(board)];
  for (const [name, f] of Object.entries(listeners)) {
    model.on(`change:${name}`, f);
    f();
  }
  const onMessage = ({kind, name}, [data]) => {
    if (kind == "download") download(name, data);
  };
  const onComm = () => board.ask({kind: "hello"});  // the kernel has gone, or is back
  model.on("msg:custom", onMessage);
  model.on("comm_live_update", onComm);
  const sizes = new ResizeObserver(board.fit);
  sizes.observe(stage);
  return () => {
    sizes.disconnect();
    ends.forEach(end => end());
    for (const [name, f] of Object.entries(listeners)) model.off(`change:${name}`, f);
    model.off("msg:custom", onMessage);
    model.off("comm_live_update", onComm);
  };
}
export default {render};
