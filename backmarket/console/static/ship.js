// The page "To ship" by keyboard and scanner: Enter sends a field and goes on to the next; chosen rows stay chosen.
(() => {
  "use strict";

  const chosen = new Set();
  let registers = false;
  const boxes = () => [...document.querySelectorAll('input[name="order"][type="checkbox"]')];
  const fields = () => [...document.querySelectorAll("form.scan input:not([type=hidden])")];

  function count() {
    const all = boxes();
    const number = all.filter((box) => box.checked).length;
    const place = document.getElementById("chosen");
    if (place) place.textContent = number ? `${number} chosen` : "none chosen";
    for (const each of document.querySelectorAll(".choose-all")) {
      each.checked = number > 0 && number === all.length;
      each.indeterminate = number > 0 && number < all.length;
    }
  }

  // the newest write that a row, or a line in it, was read with
  const newest = (place) =>
    Math.max(0, ...[place, ...place.querySelectorAll("[data-newest]")].map((each) => Number(each.dataset?.newest ?? 0)));

  function remember(box) {
    if (box.checked) chosen.add(box.value);
    else chosen.delete(box.value);
  }

  function go(all, from, steps) {
    const next = all[all.indexOf(from) + steps];
    if (!next) return;
    next.focus();
    next.select(); // at once: a scanner types faster than a timer runs, and must replace what stands there
  }

  document.addEventListener("change", (event) => {
    const box = event.target;
    if (box.matches(".choose-all")) {
      for (const each of boxes()) {
        each.checked = box.checked;
        remember(each);
      }
    } else if (box.name === "order") remember(box);
    else return;
    count();
  });

  document.addEventListener("click", (event) => {
    const field = event.target;
    if (field.matches("form.scan input") && field.value === field.defaultValue) field.select();
  });

  document.addEventListener("keydown", (event) => {
    const field = event.target;
    if (!field.matches("form.scan input")) return;
    if (event.key === "Enter" && !field.value.trim()) {
      event.preventDefault();
      go(fields(), field, 1);
    }
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const column = fields().filter((each) => each.name === field.name);
      go(column, field, event.key === "ArrowDown" ? 1 : -1);
    }
  });

  document.addEventListener("submit", (event) => {
    const field = event.target.matches("form.scan") && event.target.contains(document.activeElement) && document.activeElement;
    if (!field || !field.matches("input")) return;
    // after a parcel comes the next device, where devices are registered, or else the next parcel
    const all = registers || field.name === "imei" ? fields() : fields().filter((each) => each.name === field.name);
    registers = field.name === "imei";
    go(all, field, 1);
  });

  document.addEventListener("DOMContentLoaded", () => {
    boxes().filter((box) => box.checked).forEach(remember);
    count();
    const body = document.body;
    body.addEventListener("htmx:beforeRequest", (event) => {
      // nothing to ask for
      const form = event.detail.elt;
      if (/^(waiting|watching)$/.test(form.id) && !form.elements.length) event.preventDefault();
    });
    body.addEventListener("htmx:configRequest", (event) => {
      // an address has its limits; the others are asked for next time
      const asked = event.detail.formData;
      for (const name of ["waits", "watches"]) {
        const values = asked.getAll(name);
        asked.delete(name);
        for (const value of values.slice(0, 60)) asked.append(name, value);
      }
    });
    body.addEventListener("htmx:oobBeforeSwap", (event) => {
      // never a row in which the person types
      const row = event.detail.target;
      const typed = [...row.querySelectorAll("form.scan input:not([type=hidden])")];
      const types = typed.some((field) => field === document.activeElement || field.value !== field.defaultValue);
      // nor an answer that was read before the row's last form was sent, and comes late: it would take the parcel back
      if (types || newest(event.detail.fragment) < newest(row)) event.detail.shouldSwap = false;
    });
    for (const name of ["htmx:oobAfterSwap", "htmx:afterSwap"]) {
      body.addEventListener(name, () => {
        for (const box of boxes()) box.checked = chosen.has(box.value);
        count();
      });
    }
  });
})();
