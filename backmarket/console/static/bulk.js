// The page "Bulk files": the preview of a chosen file, of which only the beginning is sent, and what is wrong with it.
(() => {
  "use strict";

  const HEAD_BYTES = 256 * 1024;
  let isWorkbook = false;

  document.addEventListener("DOMContentLoaded", () => {
    const form = document.getElementById("drop-form");
    if (!form) return;
    const field = form.elements.file;
    const preview = document.getElementById("preview");
    const check = document.getElementById("check");

    function say(text) {
      const line = document.createElement("p");
      line.className = "fault";
      line.setAttribute("role", "alert");
      line.textContent = text;
      check.replaceChildren(line);
    }

    async function isReadable(file) {
      try {
        isWorkbook = String.fromCharCode(...new Uint8Array(await file.slice(0, 2).arrayBuffer())) === "PK";
        return true;
      } catch {
        return false;
      }
    }

    form.addEventListener("change", async (event) => {
      if (event.target.type === "checkbox") return;
      check.replaceChildren(); // what is said there is of another file, or of other choices
      htmx.trigger(preview, "htmx:abort"); // and a preview on its way would undo the choice
      const file = field.files[0];
      const most = Number(field.dataset.most);
      const isLarge = file && file.size > most;
      const megabytes = Math.round(most / 1024 / 1024);
      field.setCustomValidity(isLarge ? `This file is larger than ${megabytes} MB. Split it into smaller files.` : "");
      if (isLarge) say(field.validationMessage);
      if (!file || isLarge) preview.replaceChildren();
      else if (await isReadable(file)) htmx.trigger(preview, "preview");
    });

    preview.addEventListener("htmx:configRequest", (event) => {
      const file = field.files[0];
      if (file && !isWorkbook && file.size > HEAD_BYTES) event.detail.formData.set("file", file.slice(0, HEAD_BYTES), file.name);
    });

    form.addEventListener("htmx:sendError", async () => {
      // a browser refuses to send a file that has changed since it was chosen
      const file = field.files[0];
      if (!file || (await isReadable(file))) return;
      field.value = ""; // to choose the same file again is a change then
      preview.replaceChildren();
      say("The file has changed since you chose it. Choose it again.");
      document.getElementById("trouble").hidden = true;
    });
  });
})();
