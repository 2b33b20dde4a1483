"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const [stage, plane, divider, frame] = ["stage", "plane", "divider", "frame"].map($);
  const sides = { before: $("before"), after: $("after") };
  const tiles = [...document.querySelectorAll(".tile")];
  const STEP = 1.25, MOST = 8, NEAR = 3;

  // The photo on the stage: its size, how large its preview is, and how it lies. Positions are CSS pixels of the stage,
  // scale is CSS pixels a photo pixel; 100 % is one photo pixel a pixel of the screen.
  let photo = null, current = null;
  let scale = 1, x = 0, y = 0, split = 50, fitted = true;
  const full = () => 1 / devicePixelRatio;
  const size = () => ({ width: stage.clientWidth, height: stage.clientHeight });

  function fitScale() {
    const { width, height } = size();
    return Math.min(width / photo.width, height / photo.height, 4 * full());
  }

  function clamp() {
    const { width, height } = size();
    const within = (at, room, length) => length <= room ? (room - length) / 2 : Math.min(0, Math.max(room - length, at));
    x = within(x, width, photo.width * scale);
    y = within(y, height, photo.height * scale);
  }

  function paint() {
    if (!photo) return;
    const { width, height } = size();
    const left = Math.max(0, x), right = Math.min(width, x + photo.width * scale);
    const top = Math.max(0, y), bottom = Math.min(height, y + photo.height * scale);
    const line = left + (right - left) * split / 100;
    const cut = Math.min(photo.width, Math.max(0, (line - x) / scale));
    const zoom = scale / full();
    // On whole pixels of the screen: between them 100 % would be blurred.
    const box = stage.getBoundingClientRect();
    const whole = (at, origin) => Math.round((origin + at) * devicePixelRatio) / devicePixelRatio - origin;
    plane.style.transform = `translate(${whole(x, box.left)}px, ${whole(y, box.top)}px) scale(${scale})`;
    plane.style.setProperty("--scale", scale);
    sides.before.style.clipPath = `inset(0 ${photo.width - cut}px 0 0)`;
    sides.after.style.clipPath = `inset(0 0 0 ${cut}px)`;
    plane.classList.toggle("close", zoom > photo.preview / photo.width + .001);
    plane.classList.toggle("pixels", zoom >= NEAR);
    divider.style.transform = `translate(${line}px, ${top}px)`;
    divider.style.height = `${bottom - top}px`;
    for (const [tag, at, room] of [["tag-before", left + 12, line - left], ["tag-after", right - 12, right - line]]) {
      const element = $(tag), wide = element.offsetWidth;
      element.style.transform = `translate(${tag === "tag-after" ? at - wide : at}px, ${top}px)`;
      element.classList.toggle("off", room < wide + 34);
    }
    stage.classList.toggle("zoomed", !fitted);
    const shown = Math.round(split);
    divider.setAttribute("aria-valuenow", shown);
    divider.setAttribute("aria-valuetext", `${shown} % before, ${100 - shown} % after`);
    $("zoom").value = `${Math.round(zoom * 100)} %`;
    $("fit").setAttribute("aria-pressed", fitted);
    $("full").setAttribute("aria-pressed", Math.abs(zoom - 1) < .001);
    $("in").disabled = zoom >= MOST;
    $("out").disabled = scale <= Math.min(fitScale(), full());
  }

  function fit() {
    if (!photo) return;
    fitted = true;
    scale = fitScale();
    clamp();
    paint();
  }

  function zoomTo(wanted, at) {
    if (!photo) return;
    const { width, height } = size();
    const { x: px, y: py } = at || { x: width / 2, y: height / 2 };
    const next = Math.min(MOST * full(), Math.max(Math.min(fitScale(), full()), wanted));
    x = px - (px - x) * next / scale;
    y = py - (py - y) * next / scale;
    scale = next;
    fitted = Math.abs(scale - fitScale()) < 1e-6;
    clamp();
    paint();
  }

  function zoomFull(at) {
    if (!photo) return;
    const { width, height } = size();
    if (!at && photo.detail) {
      const [left, top, across, down] = photo.detail;
      at = { x: width / 2, y: height / 2 };
      x = at.x - (left + across / 2) * scale;
      y = at.y - (top + down / 2) * scale;
    }
    zoomTo(full(), at);
  }

  function move(dx, dy) {
    if (!photo) return;
    x += dx;
    y += dy;
    clamp();
    paint();
  }

  function splitAt(px) {
    if (!photo) return;
    const left = Math.max(0, x), right = Math.min(size().width, x + photo.width * scale);
    setSplit((px - left) / (right - left) * 100);
  }

  function setSplit(value) {
    split = Math.min(100, Math.max(0, value));
    paint();
  }

  // Photos: the pictures stay text until they are wanted, and only those of one photo are ever decoded.
  function numbers(tile, name) {
    return tile.dataset[name] ? tile.dataset[name].split(" ").map(Number) : null;
  }

  async function show(tile) {
    if (tile === current) return;
    const first = !current;
    current?.firstChild.removeAttribute("aria-current");
    current = tile;
    tile.firstChild.setAttribute("aria-current", "true");
    reveal(tile, first);
    const about = $("about");
    about.replaceChildren(tile.querySelector("template").content.cloneNode(true));
    about.dataset.of = tile.dataset.status;
    tell();
    const parts = [...tile.querySelectorAll("[data-part]")];
    if (!parts.length) return put(tile, []);
    stage.setAttribute("aria-busy", "true");
    const images = await Promise.all(parts.map(async (part) => {
      const image = new Image();
      image.alt = "";
      image.draggable = false;
      image.dataset.part = part.dataset.part;
      image.src = `data:${part.dataset.type};base64,${part.textContent}`;
      await image.decode();
      return image;
    })).catch(() => []);
    if (tile === current) put(tile, images);
  }

  function reveal(tile, first) {
    const list = $("tiles");
    // Where the list scrolls with the page it is the photo that has to come into view.
    if (getComputedStyle(list).overflowY === "auto") tile.scrollIntoView({ block: "nearest" });
    else if (!first) stage.scrollIntoView({ block: "nearest" });
  }

  function put(tile, images) {
    const box = numbers(tile, "size");
    stage.setAttribute("aria-busy", "false");
    stage.classList.toggle("empty", !images.length);
    $("nothing").hidden = images.length > 0;
    for (const button of $("zooms").querySelectorAll("button")) button.disabled = !images.length;
    divider.tabIndex = images.length ? 0 : -1;
    for (const side of Object.values(sides)) side.replaceChildren();
    photo = null;
    if (!images.length) return;
    const detail = numbers(tile, "detail");
    photo = { width: box[0], height: box[1], preview: numbers(tile, "preview")[0], detail };
    const lay = (element) => {
      [element.style.left, element.style.top, element.style.width, element.style.height] = detail.map((n) => `${n}px`);
    };
    for (const image of images) {
      const close = image.dataset.part.startsWith("detail-");
      if (close) { image.className = "detail"; lay(image); }
      const side = sides[image.dataset.part.replace("detail-", "")];
      side.append(image);
      side.classList.toggle("clear", image.src.startsWith("data:image/webp"));
    }
    frame.hidden = !detail;
    if (detail) lay(frame);
    plane.style.width = `${photo.width}px`;
    plane.style.height = `${photo.height}px`;
    fit();
  }

  // The list, and the part of it that is chosen.
  const chosen = () => tiles.filter((tile) => !tile.hidden);

  function tell() {
    const list = chosen(), at = list.indexOf(current);
    const name = current?.firstChild.title ?? "";
    const unseen = document.createElement("span");
    unseen.className = "unseen";
    unseen.textContent = `: ${name}`;
    $("place").replaceChildren(at < 0 ? `– / ${list.length}` : `${at + 1} / ${list.length}`, unseen);
    $("previous").disabled = at <= 0;
    $("next").disabled = at < 0 ? !list.length : at >= list.length - 1;
    $("none").hidden = list.length > 0;
  }

  function step(by) {
    const list = chosen();
    const tile = list[list.indexOf(current) + by];
    if (!tile) return;
    // At once: the next key may come before the news of another address.
    show(tile);
    location.replace(tile.firstChild.getAttribute("href"));
  }

  function choose() {
    const text = $("find").value.trim().toLowerCase(), status = $("status").value;
    for (const tile of tiles) {
      tile.hidden = (status && tile.dataset.status !== status)
        || !tile.firstChild.title.toLowerCase().includes(text);
    }
    tell();
  }

  function arrange() {
    const order = $("order").value;
    const score = (tile) => tile.dataset.score === undefined ? Infinity : Number(tile.dataset.score);
    const place = (tile) => Number(tile.firstChild.hash.slice(7));
    tiles.sort((a, b) => {
      if (!order || score(a) === score(b)) return place(a) - place(b);
      // What has no score stays behind, whichever way.
      if (score(a) === Infinity || score(b) === Infinity) return score(a) - score(b);
      return order === "up" ? score(a) - score(b) : score(b) - score(a);
    });
    $("tiles").append(...tiles);
    tell();
  }

  function follow() {
    const wanted = /^#photo=\d+$/.test(location.hash) ? location.hash : "";
    const found = wanted && tiles.find((tile) => tile.firstChild.hash === wanted);
    show(found || tiles.find((tile) => tile.dataset.size) || tiles[0]);
  }

  // Pointers: one moves the divider, or the photo where it is zoomed in; two zoom.
  const pointers = new Map();
  let gesture = null, spread = 0, from = null;
  const local = (event) => {
    const box = stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const middle = ([a, b]) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
  const apart = ([a, b]) => Math.hypot(a.x - b.x, a.y - b.y);

  stage.addEventListener("pointerdown", (event) => {
    if (event.button || !photo || pointers.size === 2) return;
    const at = local(event);
    pointers.set(event.pointerId, at);
    stage.setPointerCapture(event.pointerId);
    if (pointers.size === 2) {
      gesture = "pinch";
      spread = apart([...pointers.values()]);
      return;
    }
    from = at;
    gesture = fitted || divider.contains(event.target) ? "split" : "pan";
    if (gesture === "split") divider.focus({ preventScroll: true, focusVisible: false });
    stage.classList.toggle("panning", gesture === "pan");
    if (event.pointerType === "mouse") event.preventDefault();
  });
  stage.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const at = local(event), centre = gesture === "pinch" ? middle([...pointers.values()]) : null;
    pointers.set(event.pointerId, at);
    if (gesture === "split") {
      // A click alone, the first half of a double one, leaves the divider where it is.
      if (from && Math.abs(at.x - from.x) < 3) return;
      from = null;
      splitAt(at.x);
    } else if (gesture === "pan") {
      move(at.x - last.x, at.y - last.y);
    } else if (gesture === "pinch") {
      const all = [...pointers.values()], now = apart(all), to = middle(all);
      zoomTo(scale * now / Math.max(1, spread), to);
      move(to.x - centre.x, to.y - centre.y);
      spread = now;
    }
  });
  const lift = (event) => {
    pointers.delete(event.pointerId);
    gesture = null;
    stage.classList.remove("panning");
  };
  stage.addEventListener("pointerup", lift);
  stage.addEventListener("pointercancel", lift);
  stage.addEventListener("dblclick", (event) => fitted ? zoomFull(local(event)) : fit());
  stage.addEventListener("wheel", (event) => {
    // Where the page itself scrolls the wheel is for that, and with Ctrl (a pinch on a touchpad) for the zoom.
    const root = document.documentElement;
    if (!photo || (!event.ctrlKey && root.scrollHeight > root.clientHeight)) return;
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    zoomTo(scale * Math.exp(-event.deltaY * lines * (event.ctrlKey ? .01 : .002)), local(event));
  }, { passive: false });

  const panes = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  document.addEventListener("keydown", (event) => {
    const target = event.target;
    if (event.ctrlKey || event.altKey || event.metaKey || target.matches("input, select, textarea")) return;
    if (target !== document.body && !$("viewer").contains(target)) return;
    if (event.shiftKey && panes[event.key]) {
      move(...panes[event.key].map((part) => part * 60));
    } else if (target === divider && key(event.key)) {
      // Done by key().
    } else if (event.key === "n") step(1);
    else if (event.key === "p") step(-1);
    else if (event.key === "+" || event.key === "=") zoomTo(scale * STEP);
    else if (event.key === "-") zoomTo(scale / STEP);
    else if (event.key === "0") fit();
    else if (event.key === "1") zoomFull();
    else return;
    event.preventDefault();
  });

  function key(name) {
    const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
    const places = { Home: 0, End: 100 };
    if (name in moves) setSplit(Math.round(split) + moves[name]);
    else if (name in places) setSplit(places[name]);
    else return false;
    return true;
  }

  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("in").addEventListener("click", () => zoomTo(scale * STEP));
  $("out").addEventListener("click", () => zoomTo(scale / STEP));
  $("fit").addEventListener("click", fit);
  $("full").addEventListener("click", () => zoomFull());
  $("find").addEventListener("input", choose);
  $("status").addEventListener("change", choose);
  $("order").addEventListener("change", arrange);
  addEventListener("hashchange", follow);
  new ResizeObserver(() => {
    if (!photo) return;
    if (fitted) return fit();
    clamp();
    paint();
  }).observe(stage);

  $("summary").replaceChildren($("told").content.cloneNode(true));
  document.body.classList.toggle("single", tiles.length < 2);
  const statuses = [...new Set(tiles.map((tile) => tile.dataset.status))];
  for (const status of statuses) $("status").append(new Option(status));
  $("status").hidden = statuses.length < 2;
  $("order").hidden = tiles.filter((tile) => tile.dataset.score).length < 2;
  $("choose").hidden = tiles.length < 2;
  if (tiles.length) follow();
})();
