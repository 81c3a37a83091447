"use strict";
// Sorts tables by their headings, and filters the rows of long ones. Without this script the tables
// are complete, in the order of the report.
(() => {
  const LONG = 8;

  // numbers before text; rows without a value stay last in both directions
  function compare(a, b, direction) {
    if (a.empty !== b.empty) return a.empty ? 1 : -1;
    if (a.number !== null && b.number !== null) return direction * (a.number - b.number);
    if (a.number !== null) return -1;
    if (b.number !== null) return 1;
    return direction * a.text.localeCompare(b.text, "en", {numeric: true});
  }

  function value(row, index) {
    const cell = row.cells[index];
    const key = cell.dataset.key;
    const text = cell.textContent.trim();
    return {text, number: key === undefined ? null : Number(key), empty: text === "" || text === "–"};
  }

  function sort(table, index, heading) {
    const direction = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row) => ({row, value: value(row, index)}));
    rows.sort((a, b) => compare(a.value, b.value, direction));
    body.append(...rows.map((item) => item.row));
  }

  function addSorting(table) {
    Array.from(table.tHead.rows[0].cells).forEach((heading, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      button.title = "Sort by this column";
      button.addEventListener("click", () => sort(table, index, heading));
      heading.append(button);
    });
  }

  // every word must occur in a row
  function filter(table, input, status) {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = Array.from(table.tBodies[0].rows);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      if (!row.hidden) shown += 1;
    }
    status.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  }

  function addFilter(table) {
    if (table.tBodies[0].rows.length < LONG) return;
    const form = document.createElement("div");
    form.className = "filter";
    const label = document.createElement("label");
    label.textContent = "Filter rows ";
    const input = document.createElement("input");
    input.type = "search";
    input.setAttribute("aria-controls", table.id);
    const status = document.createElement("span");
    status.setAttribute("role", "status");
    status.className = "quiet";
    input.addEventListener("input", () => filter(table, input, status));
    label.append(input);
    form.append(label, status);
    table.parentElement.before(form);
  }

  for (const table of document.querySelectorAll("table[data-sortable]")) {
    addSorting(table);
    addFilter(table);
  }
})();
