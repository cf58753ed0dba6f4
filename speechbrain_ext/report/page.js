"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const NAMES = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"];
  const noteName = (m) => {
    const n = Math.floor(m + 0.5);
    return NAMES[((n % 12) + 12) % 12] + (Math.floor(n / 12) - 1);
  };
  const clock = (s) => Math.floor(s / 60) + ":" + (s % 60 < 9.95 ? "0" : "") + (s % 60).toFixed(1);
  const make = (tag, text, className) => {
    const node = document.createElement(tag);
    if (text !== undefined && text !== null) node.textContent = text;
    if (className) node.className = className;
    return node;
  };
  const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
  const total = Math.max(data.seconds, 0.1);
  // Confidences of words are no probabilities: how sure a word is, is told by
  // comparison with the median word, 1 being as sure or surer.
  const known = data.words.map((w) => w[3]).filter((c) => c !== null).sort((a, b) => a - b);
  const middle = known.length ? known[known.length >> 1] : 0;
  const sureness = (c) => (c === null || !middle ? 1 : Math.min(c / middle, 1));

  // --- sound -------------------------------------------------------------
  // Every track is decoded when it is first switched on, and all of them are
  // played on one clock, so that they stay together to the sample.

  let context = null, playing = false, started = 0, place = 0;
  const tracks = new Map();

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;

  function rendered(melodies) {
    const rate = 22050;
    const offline = new OfflineAudioContext(1, Math.ceil((total + 0.5) * rate), rate);
    for (const notes of melodies) {
      for (const [onset, offset, midi] of notes) {
        const end = Math.max(offset, onset + 0.06);
        const level = offline.createGain();
        level.gain.setValueAtTime(0, onset);
        level.gain.linearRampToValueAtTime(0.25 / Math.sqrt(melodies.length), onset + 0.015);
        level.gain.setValueAtTime(0.2 / Math.sqrt(melodies.length), Math.max(end - 0.03, onset + 0.02));
        level.gain.linearRampToValueAtTime(0, end);
        level.connect(offline.destination);
        const tone = offline.createOscillator();
        tone.type = "triangle";
        tone.frequency.value = 440 * 2 ** ((midi - 69) / 12);
        tone.connect(level);
        tone.start(onset);
        tone.stop(end + 0.01);
      }
    }
    return offline.startRendering();
  }

  async function load(track) {
    if (track.buffer || track.loading) return track.loading;
    track.row.classList.add("busy");
    track.loading = track.source().then((buffer) => {
      track.buffer = buffer;
      track.row.classList.remove("busy");
      if (playing) sound(track, position());
    });
    return track.loading;
  }

  function sound(track, from) {
    silence(track);
    if (!track.on || !track.buffer || from >= track.buffer.duration) return;
    track.node = context.createBufferSource();
    track.node.buffer = track.buffer;
    track.gain = context.createGain();
    track.gain.gain.value = track.volume;
    track.node.connect(track.gain).connect(context.destination);
    track.node.start(0, Math.max(from, 0));
  }

  function silence(track) {
    if (track.node) { track.node.stop(); track.node.disconnect(); }
    track.node = null;
  }

  function position() {
    if (!playing) return place;
    return clamp(place + context.currentTime - started, 0, total);
  }

  async function play() {
    context = context || new AudioContext();
    await context.resume();
    await Promise.all([...tracks.values()].filter((t) => t.on).map(load));
    if (playing) return;
    if (place >= total - 0.02) place = 0;
    started = context.currentTime;
    playing = true;
    for (const track of tracks.values()) sound(track, place);
    $("play").classList.add("playing");
    $("play").setAttribute("aria-label", "Pause");
    requestAnimationFrame(frame);
  }

  function pause() {
    place = position();
    playing = false;
    for (const track of tracks.values()) silence(track);
    $("play").classList.remove("playing");
    $("play").setAttribute("aria-label", "Play");
    draw();
  }

  function seek(seconds) {
    place = clamp(seconds, 0, total);
    if (playing) {
      started = context.currentTime;
      for (const track of tracks.values()) sound(track, place);
    }
    if (place < view.start || place > view.start + view.span) centre(place);
    draw();
  }

  function addTrack(name, label, on, source) {
    const row = make("div", null, "track");
    const box = make("input");
    box.type = "checkbox"; box.checked = on; box.id = "track-" + name;
    const text = make("label");
    text.append(box, label);
    const level = make("input");
    level.type = "range"; level.min = 0; level.max = 1; level.step = 0.01; level.value = 0.9;
    level.setAttribute("aria-label", "Volume of " + label);
    row.append(text, level);
    $("tracks").append(row);
    const track = { name, row, source, on, volume: 0.9 };
    box.addEventListener("change", async () => {
      track.on = box.checked;
      if (!track.on) silence(track);
      else if (track.buffer) { if (playing) sound(track, position()); }
      else if (context) await load(track);
    });
    level.addEventListener("input", () => {
      track.volume = Number(level.value);
      if (track.gain) track.gain.gain.value = track.volume;
    });
    tracks.set(name, track);
  }

  Object.entries(data.tracks).forEach(([name, mp3], k) =>
    addTrack(name, name, k === 0, () => context.decodeAudioData(bytes(mp3))));
  addTrack("notes", "notes", !tracks.size, () => rendered(data.melodies.map((m) => m.notes)));
  if (data.melodies.some((m) => m.reference))
    addTrack("reference", "reference", false,
      () => rendered(data.melodies.filter((m) => m.reference).map((m) => m.reference)));

  // --- picture -----------------------------------------------------------

  const roll = $("roll"), map = $("map");
  const KEYS = 38, WORDS = 22;
  const pitches = data.melodies.flatMap((m) => [...m.notes, ...(m.reference || [])].map((n) => n[2]));
  let low = pitches.length ? Math.floor(Math.min(...pitches)) - 2 : 54;
  let high = pitches.length ? Math.ceil(Math.max(...pitches)) + 3 : 66;
  if (high - low < 14) { const more = 14 - (high - low); low -= more >> 1; high += (more + 1) >> 1; }
  // At least 70 pixels per second, so that words fit on their notes.
  const view = { start: 0, span: Math.min(total, 20, Math.max(roll.clientWidth / 70, 1)) };

  const tiles = (data.picture ? data.picture.tiles : []).map((source) => {
    const image = new Image();
    image.onload = () => draw();
    image.src = source;
    return image;
  });

  let style = null;
  const colour = (name) => style.getPropertyValue("--" + name).trim();
  const kinds = { right: "right", partly: "partly", extra: "extra", missed: "missed", found: "found" };
  const plain = ["right", "singer2", "singer3", "missed", "partly"];

  function surface(canvas) {
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    return [pen, width, height];
  }

  const atX = (seconds, width) => KEYS + (seconds - view.start) / view.span * (width - KEYS);
  const secondsAt = (x, width) => view.start + (x - KEYS) / (width - KEYS) * view.span;
  const atY = (midi, height) => (high - midi) / (high - low) * (height - WORDS);

  function drawRoll() {
    const [pen, width, height] = surface(roll);
    const base = height - WORDS;
    const step = base / (high - low);
    const end = view.start + view.span;
    const seen = (a, b) => b > view.start && a < end;
    for (let m = low; m <= high; m++) {
      if (NAMES[((m % 12) + 12) % 12].includes("#")) {
        pen.fillStyle = colour("black-key");
        pen.fillRect(KEYS, atY(m + 0.5, height), width, step);
      }
    }
    pen.save();
    pen.beginPath(); pen.rect(KEYS, 0, width - KEYS, base); pen.clip();
    if ($("spectrum").checked && data.picture) {
      const p = data.picture;
      let at = 0;
      for (const tile of tiles) {
        const span = tile.naturalWidth * p.column_s;
        if (tile.complete && span && seen(at, at + span)) {
          const x = atX(at, width);
          pen.drawImage(tile, x, atY(p.high, height), atX(at + span, width) - x,
            atY(p.low, height) - atY(p.high, height));
        }
        at += span;
      }
    }
    for (const [seconds, number] of data.beats) {
      if (!seen(seconds, seconds + 0.01)) continue;
      pen.strokeStyle = colour(number === 1 ? "faint" : "line");
      pen.lineWidth = number === 1 ? 1.2 : 0.6;
      if (number !== 1 && view.span > 60) continue;
      const x = atX(seconds, width);
      pen.beginPath(); pen.moveTo(x, 0); pen.lineTo(x, base); pen.stroke();
    }
    data.melodies.forEach((melody, k) => {
      for (const [onset, offset, midi, , , kind] of melody.reference || []) {
        if (!seen(onset, offset)) continue;
        const x = atX(onset, width), w = Math.max(atX(offset, width) - x, 2);
        pen.strokeStyle = colour(kinds[kind]);
        pen.lineWidth = 2;
        pen.setLineDash(kind === "missed" ? [4, 3] : []);
        pen.strokeRect(x, atY(midi + 0.5, height) - 1, w, step + 2);
        pen.setLineDash([]);
      }
      const free = new Map();  // where a row has room for the next text
      for (const [onset, offset, midi, lyric, sure, kind] of melody.notes) {
        if (!seen(onset, offset)) continue;
        const x = atX(onset, width), w = Math.max(atX(offset, width) - x - 1, 2);
        const y = atY(midi + 0.5, height) + step * 0.1, h = Math.max(step * 0.8, 3);
        pen.fillStyle = colour(kind ? kinds[kind] : plain[k % plain.length]);
        pen.globalAlpha = 0.35 + 0.6 * (sure === null ? 1 : sure);
        pen.beginPath(); pen.roundRect(x, y, w, h, Math.min(3, h / 2)); pen.fill();
        pen.globalAlpha = 1;
        pen.strokeStyle = colour("halo"); pen.lineWidth = 1; pen.stroke();
        const row = Math.round(midi);
        if (lyric && x >= (free.get(row) ?? -99)) {
          pen.font = "600 12px system-ui, sans-serif";
          free.set(row, x + pen.measureText(lyric).width + 4);
          pen.textBaseline = "bottom";
          pen.strokeStyle = colour("halo"); pen.lineWidth = 3.5; pen.lineJoin = "round";
          pen.strokeText(lyric, x + 1, y - 1);
          pen.fillStyle = colour("text");
          pen.fillText(lyric, x + 1, y - 1);
        }
      }
      if (melody.f0) {
        pen.strokeStyle = colour("f0"); pen.lineWidth = 1.2; pen.globalAlpha = 0.7;
        pen.beginPath();
        let last = null;
        const first = Math.max(0, Math.floor((view.start - melody.f0.start) / melody.f0.step) - 1);
        for (let n = first; n < melody.f0.midi.length; n++) {
          const t = melody.f0.start + n * melody.f0.step, m = melody.f0.midi[n];
          if (t > end) break;
          if (!m) { last = null; continue; }
          const x = atX(t, width), y = atY(m, height);
          if (last !== null && Math.abs(m - last) < 2.5) pen.lineTo(x, y); else pen.moveTo(x, y);
          last = m;
        }
        pen.stroke();
        pen.globalAlpha = 1;
      }
    });
    pen.restore();
    // Words below, as strong as they are sure.
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    const shownWords = data.words.filter(([, onset, offset]) => seen(onset, offset));
    pen.fillStyle = colour("line");
    for (const [, onset, offset, sure] of shownWords) {
      const x = atX(onset, width);
      pen.globalAlpha = 0.2 + 0.8 * sureness(sure);
      pen.fillRect(x + 0.5, base + 1, Math.max(atX(offset, width) - x - 1, 1), WORDS - 2);
    }
    pen.globalAlpha = 1;
    let room = KEYS;
    for (const [word, onset, , sure] of shownWords) {
      const x = atX(onset, width) + 2;
      if (x < room) continue;
      pen.fillStyle = colour(sureness(sure) < 0.5 ? "faint" : "text");
      pen.fillText(word, x, base + WORDS / 2);
      room = x + pen.measureText(word).width + 4;
    }
    // Names of pitches.
    pen.fillStyle = colour("panel");
    pen.fillRect(0, 0, KEYS, height);
    pen.fillStyle = colour("faint");
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    const shown = step >= 11 ? null : step >= 6 ? [0, 2, 4, 5, 7, 9, 11] : [0, 5];
    for (let m = low + 1; m < high; m++)
      if (!shown || shown.includes(((m % 12) + 12) % 12)) pen.fillText(noteName(m), 5, atY(m, height));
    // Seconds.
    const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300];
    const every = steps.find((s) => s / view.span * (width - KEYS) >= 56) || 600;
    pen.textBaseline = "top";
    for (let n = Math.ceil(view.start / every); n * every <= end; n++) {
      const x = atX(n * every, width);
      pen.fillStyle = colour("faint");
      pen.fillRect(x, 0, 1, 5);
      const text = every < 1 ? clock(n * every) : clock(n * every).slice(0, -2);
      pen.fillText(text, x + 3, 2);
    }
    const now = position();
    if (now >= view.start && now <= end) {
      const x = atX(now, width);
      pen.strokeStyle = colour("cursor"); pen.lineWidth = 2;
      pen.beginPath(); pen.moveTo(x, 0); pen.lineTo(x, height); pen.stroke();
    }
  }

  function drawMap() {
    const [pen, width, height] = surface(map);
    data.melodies.forEach((melody, k) => {
      pen.fillStyle = colour(plain[k % plain.length]);
      for (const [onset, offset, midi] of melody.notes)
        pen.fillRect(onset / total * width, (high - midi) / (high - low) * (height - 4),
          Math.max((offset - onset) / total * width, 1), 2.5);
    });
    pen.fillStyle = colour("accent"); pen.globalAlpha = 0.13;
    pen.fillRect(view.start / total * width, 0, view.span / total * width, height);
    pen.globalAlpha = 1;
    pen.fillStyle = colour("cursor");
    pen.fillRect(position() / total * width - 1, 0, 2, height);
  }

  let line = null;
  function drawWords(now) {
    if (!data.words.length) return;
    let next = data.words.findIndex((w) => w[2] > now);
    if (next < 0) next = data.words.length - 1;
    const current = data.words[next][4];
    if (current !== line) {
      line = current;
      $("words").replaceChildren(...data.words.filter((w) => w[4] === line).flatMap((w) => {
        const word = make("button", w[0], "word");
        word.dataset.onset = w[1]; word.dataset.offset = w[2];
        if (sureness(w[3]) < 0.5) word.classList.add("unsure");
        word.title = w[3] === null ? "" : "confidence " + w[3].toFixed(2);
        word.addEventListener("click", () => seek(w[1]));
        return [word, " "];
      }));
    }
    for (const word of $("words").querySelectorAll(".word")) {
      word.classList.toggle("sung", Number(word.dataset.onset) <= now);
      word.classList.toggle("now", Number(word.dataset.onset) <= now && now < Number(word.dataset.offset));
    }
  }

  function draw() {
    style = getComputedStyle(document.documentElement);
    const now = position();
    if (playing && $("follow").checked) {
      const wanted = now - view.span * 0.3;
      if (now < view.start || now > view.start + view.span * 0.3)
        view.start = clamp(Math.max(wanted, now < view.start ? 0 : view.start), 0, Math.max(total - view.span, 0));
    }
    drawRoll();
    drawMap();
    drawWords(now);
    $("time").textContent = clock(now) + " / " + clock(total);
    roll.setAttribute("aria-valuenow", now.toFixed(3));
    roll.setAttribute("aria-valuetext", clock(now));
  }

  function frame() {
    if (!playing) return;
    if (position() >= total) { pause(); return; }
    draw();
    requestAnimationFrame(frame);
  }

  function centre(seconds) {
    view.start = clamp(seconds - view.span * 0.3, 0, Math.max(total - view.span, 0));
  }

  function zoom(factor, around) {
    const share = (around - view.start) / view.span;
    view.span = clamp(view.span * factor, Math.min(0.5, total), total);
    view.start = clamp(around - share * view.span, 0, total - view.span);
    draw();
  }

  // --- hands -------------------------------------------------------------

  const fingers = new Map();
  let moved = false, pinch = 0;
  roll.addEventListener("pointerdown", (event) => {
    roll.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event.offsetX);
    moved = fingers.size > 1;
    pinch = 0;
  });
  roll.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    const before = fingers.get(event.pointerId);
    const width = roll.clientWidth;
    if (fingers.size === 1) {
      if (!moved && Math.abs(event.offsetX - before) < 5) return;
      moved = true;
      $("follow").checked = $("follow").checked && !playing;
      view.start = clamp(view.start - (event.offsetX - before) / (width - KEYS) * view.span, 0, Math.max(total - view.span, 0));
      fingers.set(event.pointerId, event.offsetX);
      draw();
      return;
    }
    fingers.set(event.pointerId, event.offsetX);
    const [a, b] = [...fingers.values()];
    const gap = Math.max(Math.abs(a - b), 20);
    if (pinch) zoom(pinch / gap, secondsAt((a + b) / 2, width));
    pinch = gap;
  });
  const lift = (event) => {
    if (!fingers.delete(event.pointerId)) return;
    if (event.type === "pointerup" && !moved) seek(secondsAt(Math.max(event.offsetX, KEYS), roll.clientWidth));
  };
  roll.addEventListener("pointerup", lift);
  roll.addEventListener("pointercancel", lift);
  roll.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) {
      const by = (event.deltaX || event.deltaY) / roll.clientWidth * view.span;
      view.start = clamp(view.start + by, 0, Math.max(total - view.span, 0));
      draw();
    } else zoom(Math.exp(clamp(event.deltaY, -100, 100) * 0.003), secondsAt(event.offsetX, roll.clientWidth));
  }, { passive: false });
  const onMap = (event) => {
    if (event.type === "pointermove" && !event.buttons) return;
    seek(event.offsetX / map.clientWidth * total);
    if (!(place >= view.start && place <= view.start + view.span)) { centre(place); draw(); }
  };
  map.addEventListener("pointerdown", onMap);
  map.addEventListener("pointermove", onMap);

  const toggle = () => (playing ? pause() : play());
  $("play").addEventListener("click", toggle);
  $("in").addEventListener("click", () => zoom(0.6, position()));
  $("out").addEventListener("click", () => zoom(1 / 0.6, position()));
  $("all").addEventListener("click", () => zoom(1e9, 0));
  $("spectrum").addEventListener("change", draw);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const tag = event.target.tagName;
    if (tag === "INPUT" && event.target.type === "range") return;
    if (event.key === " " && (tag === "BUTTON" || tag === "INPUT" || tag === "SUMMARY")) return;
    const keys = {
      " ": toggle,
      ArrowLeft: () => seek(position() - 2), ArrowRight: () => seek(position() + 2),
      Home: () => seek(0), End: () => seek(total),
      "+": () => zoom(0.6, position()), "=": () => zoom(0.6, position()),
      "-": () => zoom(1 / 0.6, position()), "0": () => zoom(1e9, 0),
    };
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });
  new ResizeObserver(draw).observe(roll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  // --- text --------------------------------------------------------------

  for (const [name, value] of Object.entries(data.facts)) {
    const group = make("div");
    group.append(make("dt", name), make("dd", value));
    $("facts").append(group);
  }
  $("warnings").hidden = !data.warnings.length;
  $("warnings").append(...data.warnings.map((text) => make("li", text)));
  if (!data.picture) $("spectrum-label").hidden = true;

  const legend = (text, name, edge) => {
    const item = make("span", text);
    item.style.setProperty("--colour", edge ? "transparent" : "var(--" + name + ")");
    if (edge) item.style.setProperty("--edge", "var(--" + name + ")");
    $("legend").append(item);
  };
  if (data.melodies.some((m) => m.reference)) {
    legend("note, right", "right"); legend("note, end differs", "partly"); legend("note, extra", "extra");
    legend("reference, found", "found", true); legend("reference, missed", "missed", true);
  }
  data.melodies.forEach((m, k) => { if (!m.reference) legend(m.name || "notes", plain[k % plain.length]); });
  if (data.melodies.some((m) => m.f0)) legend("pitch of the voice", "f0", true);
  if (data.melodies.some((m) => m.notes.some((n) => n[4] !== null))) $("legend").append(make("em", "paler: less sure"));

  function table(title, heads, rows, open) {
    if (!rows.length) return;
    const fold = make("details");
    fold.open = Boolean(open);
    const head = make("summary");
    head.append(make("h2", title));
    const whole = make("table"), top = make("tr"), body = make("tbody"), scroll = make("div", null, "scroll");
    heads.forEach(([name, text]) => top.append(make("th", name, text ? "text" : "")));
    for (const { cells, at, kind } of rows) {
      const row = make("tr", null, kind || "");
      cells.forEach((cell, k) => row.append(make("td", cell, heads[k][1] ? "text" : "")));
      if (at !== undefined) {
        row.dataset.at = at;
        row.addEventListener("click", () => seek(at));
      }
      body.append(row);
    }
    const thead = make("thead");
    thead.append(top);
    whole.append(thead, body);
    scroll.append(whole);
    fold.append(head, scroll);
    $("tables").append(fold);
  }
  const three = (x) => x.toFixed(3);
  const sure = (x) => (x === null ? "" : x.toFixed(2));
  table("Scores", data.scores.heads.map((h, k) => [h, k === 0]), data.scores.rows.map((cells) => ({ cells })), true);
  for (const m of data.melodies) {
    const rows = (notes) => notes.map(([on, off, midi, lyric, c, kind]) => ({
      at: on, kind, cells: [three(on), three(off), noteName(midi), midi.toFixed(2), lyric || "", sure(c), kind || ""],
    }));
    const heads = [["onset s"], ["offset s"], ["note", true], ["midi"], ["sung", true], ["confidence"], ["", true]];
    table("Notes" + (m.name ? " of " + m.name : "") + " (" + m.notes.length + ")", heads, rows(m.notes));
    if (m.reference) table("Reference (" + m.reference.length + ")", heads, rows(m.reference));
  }
  table("Words (" + data.words.length + ")", [["word", true], ["onset s"], ["offset s"], ["confidence"]],
    data.words.map(([word, on, off, c]) => ({ at: on, cells: [word, three(on), three(off), sure(c)] })));

  roll.setAttribute("aria-valuemax", total.toFixed(3));
  draw();
})();
