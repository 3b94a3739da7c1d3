/* streamq: keys, dialogs, copy, the live feed, charts. Every page works without it. */
(() => {
  "use strict";
  const $ = (what, where) => (where || document).querySelector(what);
  const all = (what, where) => [...(where || document).querySelectorAll(what)];
  const root = document.documentElement;
  const body = document.body;

  /* -- copy: the clipboard where there is one, a selection over plain HTTP -- */
  const copy = async (text, button) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const field = document.createElement("textarea");
      field.value = text;
      field.className = "hide";
      body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    if (button) {
      const before = button.textContent;
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = before), 1200);
    }
  };

  /* -- theme: system, light, dark; in a cookie, so that the server sends the right page at once -- */
  const theme = () => {
    const next = { "": "light", light: "dark", dark: "" }[root.dataset.theme || ""];
    if (next) root.dataset.theme = next;
    else delete root.dataset.theme;
    document.cookie = `streamq_theme=${next}; path=${body.dataset.base || "/"}; max-age=${next ? 31536000 : 0}; samesite=lax`;
  };

  /* -- dialogs: htmx puts the fragment in, this opens it; the safe button has the focus -- */
  const dialog = $("#dialog");
  let opener = null;
  document.addEventListener("htmx:after:swap", () => {
    if (dialog && dialog.children.length && !dialog.open) {
      opener = document.activeElement;
      dialog.showModal();
      ($("[data-leave]", dialog) || dialog).focus();
    }
    frozen();
  });
  if (dialog) dialog.addEventListener("close", () => {
    dialog.replaceChildren();
    if (opener && opener.isConnected) opener.focus();
  });
  const typed = (field) => {
    const button = $("button.main", field.form);
    if (button) button.disabled = field.value.replace(/[,\s]/g, "") !== field.dataset.typed;
  };
  document.addEventListener("input", (event) => event.target.dataset.typed && typed(event.target));
  const frozen = () => all("[data-typed]").forEach(typed);

  document.addEventListener("click", (event) => {
    const at = event.target.closest("[data-copy], [data-leave], [data-theme-next], [data-pick-all]");
    if (!at) return;
    if (at.hasAttribute("data-copy")) {
      const from = at.dataset.copy && document.getElementById(at.dataset.copy);
      copy(from ? from.textContent.trim() : at.value, at);
    } else if (at.hasAttribute("data-leave") && dialog && dialog.open) {
      event.preventDefault();
      dialog.close();
    } else if (at.hasAttribute("data-theme-next")) theme();
    else if (at.hasAttribute("data-pick-all")) pick(at.checked);
  });
  document.addEventListener("submit", (event) => {
    if (event.target.method === "post") {
      if (event.target.dataset.sent) event.preventDefault(); /* a double click does it once */
      event.target.dataset.sent = "1";
      $("#busy").className = "on";
    }
  });
  addEventListener("pageshow", () => {
    all("form[data-sent]").forEach((form) => delete form.dataset.sent);
    $("#busy").className = "";
    frozen();
  });

  /* -- selection -- */
  const boxes = () => all("input[name='id'][type='checkbox']");
  const pick = (on) => { boxes().forEach((box) => (box.checked = on)); bulk(); };
  const bulk = () => {
    const chosen = boxes().filter((box) => box.checked);
    boxes().forEach((box) => box.closest("tr").classList.toggle("picked", box.checked));
    all("[data-picked]").forEach((at) => (at.textContent = chosen.length.toLocaleString("en")));
    all("[data-when-picked]").forEach((at) => (at.hidden = !chosen.length));
    all("[data-when-none]").forEach((at) => (at.hidden = !!chosen.length));
  };
  document.addEventListener("change", (event) => event.target.name === "id" && bulk());
  bulk();

  /* -- live: fragments by id; nothing moves under the hand -- */
  const line = $("#live");
  const lives = body.dataset.feed && line;
  let source = null, poll = 0, misses = 0, held = false, last = Date.now(), heldBy = "";
  const say = (how, text) => { if (line) { line.dataset.how = how; line.textContent = text; } };
  const busy = () => {
    if (held) return "by hand";
    if (dialog && dialog.open) return "while a dialog is open";
    if (boxes().some((box) => box.checked)) return "while you select";
    if (String(getSelection()).length > 0) return "while you mark text";
    const at = document.activeElement;
    return at && at.closest("table, form") && at.closest("[data-live]") ? "while you are in the list" : "";
  };
  const put = (id, html) => {
    const old = document.getElementById(id);
    if (!old) return;
    const fresh = document.createElement("template");
    fresh.innerHTML = html;
    const rows = all("[data-row]", old);
    if (!rows.length) {
      if (old.innerHTML.trim() !== html.trim()) { old.replaceChildren(fresh.content); wake(old); }
      return;
    }
    /* Rows change in place: none is moved, none pushed in. New ones wait, lost ones grow pale. */
    const known = new Map(rows.map((row) => [row.dataset.row, row]));
    let more = 0;
    for (const row of all("[data-row]", fresh.content)) {
      const was = known.get(row.dataset.row);
      if (!was) more += 1;
      else if (was.innerHTML !== row.innerHTML) { was.replaceChildren(...row.childNodes); was.classList.remove("gone"); }
      known.delete(row.dataset.row);
    }
    known.forEach((row) => row.classList.add("gone"));
    const note = $(`[data-newer="${CSS.escape(id)}"]`);
    if (note) { note.hidden = !more; const number = $("b", note); if (number) number.textContent = more.toLocaleString("en"); }
    wake(old);
  };
  const wake = (where) => { if (window.htmx) htmx.process(where); };
  const heard = (parts) => {
    last = Date.now();
    misses = 0;
    heldBy = busy();
    if (heldBy) return say("held", `Held ${heldBy}`);
    if (parts.title) document.title = parts.title;
    for (const [id, html] of Object.entries(parts.parts || {})) put(id, html);
    say("live", "Live");
  };
  const address = (how) => {
    const url = new URL(location.href);
    url.searchParams.set("live", how);
    url.hash = "";
    return url;
  };
  const ask = async () => {
    try {
      const answer = await fetch(address("poll"), { headers: { accept: "application/json" } });
      if (!answer.ok) throw new Error(answer.status);
      heard(await answer.json());
      say("live", "Live, asking every 5 s");
    } catch { lost(); }
  };
  const lost = () => say("lost", `Feed lost ${Math.round((Date.now() - last) / 1000)} s ago. Asking every 5 s`);
  const stop = () => { if (source) source.close(); source = null; clearInterval(poll); poll = 0; };
  const start = () => {
    if (!lives || source || poll) return;
    if (!window.EventSource || misses > 1) { poll = setInterval(ask, 5000); return; }
    source = new EventSource(address("stream"));
    source.addEventListener("parts", (event) => heard(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      misses += 1;
      lost();
      stop();
      if (misses > 1) { ask(); poll = setInterval(ask, 5000); setTimeout(() => { stop(); misses = 0; start(); }, 60000); }
      else setTimeout(start, 500 + Math.random() * 1500);
    });
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { stop(); say("asleep", "Asleep: this tab is in the background"); }
    else { misses = 0; start(); }
  });
  addEventListener("pagehide", stop);
  if (lives) { say("live", "Live"); start(); setInterval(() => { if (Date.now() - last > 12000 && !document.hidden) lost(); }, 3000); }

  /* -- the page while Redis is away looks again by itself -- */
  const again = $("[data-again]");
  if (again) {
    let left = Number(again.dataset.again) || 2;
    setInterval(async () => {
      left -= 1;
      again.textContent = left > 0 ? `in ${left} s` : "now";
      if (left > 0) return;
      left = Math.min(10, (Number(again.dataset.again) || 2) * 2);
      try {
        const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "manual" });
        if (answer.status !== 503) location.reload();
      } catch { /* the dashboard itself is away: go on asking */ }
    }, 1000);
  }

  /* -- charts: uPlot is only on pages that have some -- */
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const draw = () => all("[data-chart]").forEach((at) => {
    if (!window.uPlot || at.firstChild) return;
    const told = JSON.parse(at.dataset.chart);
    const series = told.lines.map((one) => ({
      label: one.label, stroke: colour(one.colour), width: 1.5, points: { show: false },
      fill: one.fill ? colour(one.fill) : undefined, dash: one.dash || undefined,
      value: (_, value) => (value == null ? "–" : value.toLocaleString("en") + (told.unit || "")),
    }));
    const axis = { stroke: colour("--ink3"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    const chart = new uPlot({
      width: at.clientWidth, height: 180, cursor: { sync: { key: "streamq" }, drag: { x: true, y: false } },
      scales: { y: { range: (_, low, high) => [0, Math.max(high, 1) * 1.1] } },
      axes: [{ ...axis, values: (_, at) => at.map((one) => new Date(one * 1000).toTimeString().slice(0, 5)) }, { ...axis, size: 54 }], series: [{}, ...series],
    }, [told.at, ...told.lines.map((one) => one.values)], at);
    new ResizeObserver(() => chart.setSize({ width: at.clientWidth, height: 180 })).observe(at.parentElement);
  });
  draw();

  /* -- keys -- */
  const off = () => { try { return localStorage.getItem("streamq.keys") === "off"; } catch { return false; } };
  const rows = () => all("[data-row]");
  const go = (step) => {
    const list = rows();
    const now = list.indexOf(document.activeElement && document.activeElement.closest("[data-row]"));
    const next = list[Math.max(0, Math.min(list.length - 1, now + step))];
    if (next) { next.tabIndex = -1; next.focus(); next.scrollIntoView({ block: "nearest" }); }
  };
  const places = { o: "/", j: "/jobs", d: "/dead", s: "/schedules", w: "/workers", l: "/limits", r: "/server", a: "/audit" };
  let before = "";
  document.addEventListener("keydown", (event) => {
    const at = event.target;
    if (event.ctrlKey || event.altKey || event.metaKey || off()) return;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName) && at.type !== "checkbox" || at.isContentEditable) {
      if (event.key === "Escape") at.blur();
      return;
    }
    if (dialog && dialog.open) return;
    const was = before;
    before = "";
    const row = at.closest && at.closest("[data-row]");
    const press = (key) => { const found = (row && $(`[data-key="${key}"]`, row)) || $(`[data-key="${key}"]`); if (found) found.click(); };
    if (was === "g" && places[event.key]) { location.href = (body.dataset.base || "") + places[event.key]; return; }
    const keys = {
      g: () => (before = "g"), j: () => go(1), k: () => go(-1), ArrowDown: () => row && go(1), ArrowUp: () => row && go(-1),
      "/": () => { const field = $("#find"); if (field) field.focus(); }, f: () => { const field = $("#filter"); if (field) field.focus(); },
      x: () => { const box = row && $("input[name='id']", row); if (box) { box.checked = !box.checked; bulk(); } },
      a: () => pick(boxes().some((box) => !box.checked)), Enter: () => { const link = row && at === row && $("a", row); if (link) link.click(); },
      r: () => press("r"), e: () => press("e"), p: () => press("p"), "[": () => press("["), "]": () => press("]"),
      c: () => { const button = $(".echo [data-copy]"); if (button) button.click(); },
      h: () => { held = !held; if (held) say("held", "Held by hand"); else say("live", "Live"); },
      t: theme, "?": () => { location.href = (body.dataset.base || "") + "/keys"; },
    };
    if (keys[event.key]) { if (event.key !== "Enter" || (row && at === row)) event.preventDefault(); keys[event.key](); }
  });
  const keyswitch = $("#keyswitch");
  if (keyswitch) {
    keyswitch.checked = !off();
    keyswitch.addEventListener("change", () => { try { localStorage.setItem("streamq.keys", keyswitch.checked ? "on" : "off"); } catch { /* kept for this page only */ } });
  }

  /* -- times: relative in the text, in the browser's zone on hover -- */
  all("time[datetime]").forEach((at) => {
    const when = new Date(at.getAttribute("datetime"));
    if (!Number.isNaN(+when)) at.title = when.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
  });
})();
