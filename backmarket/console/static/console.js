// What the pages do beside htmx: times in the reader's own zone, news as they happen, and words for what went wrong.
(() => {
  "use strict";

  const shown = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

  function localTimes(root) {
    for (const each of root.querySelectorAll("time[datetime]:not([title])")) {
      const at = new Date(each.dateTime);
      if (!Number.isNaN(at.getTime())) {
        each.title = exact.format(at);
        each.textContent = shown.format(at);
      }
    }
  }

  function columnNames(root) {
    // on a narrow screen a row becomes a card, whose cells say what they are
    for (const table of root.querySelectorAll("table.cards-narrow")) {
      const names = [...table.querySelectorAll("thead th")].map((each) => each.textContent.trim());
      for (const row of table.tBodies[0]?.rows || []) {
        if (row.matches(".under")) continue;
        [...row.cells].forEach((cell, place) => {
          if (!cell.dataset.label && names[place]) cell.dataset.label = names[place];
        });
      }
    }
  }

  function trouble(text) {
    const place = document.getElementById("trouble");
    if (place) {
      place.textContent = text;
      place.hidden = !text;
    }
  }

  function follow() {
    const light = document.getElementById("live");
    const address = document.body.dataset.live;
    if (!light || !address || !window.EventSource) return;
    const say = (state, words) => {
      light.dataset.state = state;
      light.querySelector(".words").textContent = words;
    };
    let source = null;
    const open = () => {
      source = new EventSource(address);
      source.addEventListener("open", () => say("on", "live"));
      source.addEventListener("change", () => document.body.dispatchEvent(new CustomEvent("live")));
      source.addEventListener("error", () => {
        say("off", "not live");
        if (source.readyState === EventSource.CLOSED) setTimeout(open, 15000);
      });
    };
    open();
    addEventListener("pagehide", () => source.close());
    addEventListener("pageshow", (event) => event.persisted && open());
  }

  document.addEventListener("click", (event) => {
    if (event.target.matches("[data-print]")) print();
  });

  document.addEventListener("DOMContentLoaded", () => {
    localTimes(document);
    columnNames(document);
    document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
    follow();
    const body = document.body;
    body.addEventListener("htmx:load", (event) => {
      localTimes(event.detail.elt.parentElement || document);
      columnNames(document);
    });
    body.addEventListener("htmx:beforeRequest", (event) => {
      // a hidden page does not refresh, nor a part that the user is typing in, or that says why a form did nothing
      const config = event.detail.requestConfig;
      const target = event.detail.target;
      const busy = target && target.contains(document.activeElement) && /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
      const open = target && target.querySelector('details[open], .fault[role="alert"]');
      const byItself = config.verb === "get" && !(config.triggeringEvent && config.triggeringEvent.type === "submit");
      const isRow = target && target.tagName === "TR";
      if (byItself && !isRow && (document.hidden || busy || open)) event.preventDefault();
    });
    body.addEventListener("htmx:afterRequest", (event) => {
      if (event.detail.successful) trouble("");
    });
    body.addEventListener("htmx:responseError", (event) => {
      const answer = new DOMParser().parseFromString(event.detail.xhr.responseText || "", "text/html");
      const why = answer.querySelector(".fault");
      trouble(why ? why.textContent : `The console answered ${event.detail.xhr.status}. Reload the page.`);
    });
    for (const name of ["htmx:sendError", "htmx:timeout"]) {
      body.addEventListener(name, () => trouble("The console is unreachable. What is shown may be old."));
    }
  });
})();
