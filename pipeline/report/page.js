// The page works without this: it adds sorting, hints where a table is wider than the window, and opens what a link leads to.
(() => {
  document.documentElement.classList.add("js");

  // Tables: a button in each head; up, down, and back to the order that the table came in.
  const number = (text) => {
    const found = text.replace(/[,\s\u00a0]/g, "").replace("\u2212", "-").match(/^[<(]?[+-]?\d+(\.\d+)?/);
    return found ? parseFloat(found[0].replace(/^[<(]/, "")) : NaN;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0], original = [...body.rows];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const next = { none: "ascending", ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")];
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", next);
        const sign = next === "descending" ? -1 : 1;
        const keyed = original.map((row) => [row.cells[column].textContent.trim(), row]);
        if (next !== "none") {
          keyed.sort(([a], [b]) => {
            const none = (a === "\u2013") - (b === "\u2013"); // nothing to tell comes last either way
            if (none) return none;
            const [x, y] = [number(a), number(b)];
            return sign * (isNaN(x) || isNaN(y) ? a.localeCompare(b, "en") : x - y);
          });
        }
        body.append(...keyed.map(([, row]) => row));
      });
    });
  }

  // A link to a section opens it.
  const open = (hash) => {
    const found = hash.length > 1 && document.getElementById(hash.slice(1));
    for (let fold = found && found.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  };
  addEventListener("hashchange", () => open(location.hash));
  open(location.hash);
  const contents = document.querySelector("nav details");
  for (const link of document.querySelectorAll("nav a")) {
    link.addEventListener("click", () => { open(link.hash); contents.open = false; });
  }

  // All at once, for those who search or print.
  const folds = [...document.querySelectorAll("details.section")], item = document.createElement("li");
  const all = document.createElement("button");
  const label = () => { all.textContent = folds.every((fold) => fold.open) ? "Close all" : "Open all"; };
  all.type = "button";
  all.addEventListener("click", () => {
    const to = !folds.every((fold) => fold.open);
    folds.forEach((fold) => { fold.open = to; });
  });
  folds.forEach((fold) => fold.addEventListener("toggle", label));
  label();
  item.append(all);
  if (folds.length) contents.querySelector("ul").append(item);

  // Say so where a table goes on to the right.
  const measured = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      target.parentElement.classList.toggle("overflows", target.scrollWidth > target.clientWidth + 1);
    }
  });
  for (const table of document.querySelectorAll(".table")) measured.observe(table);
})();
