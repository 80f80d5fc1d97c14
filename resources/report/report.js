"use strict";
(function () {
  var zoom = document.getElementById("zoom");
  var large = zoom.querySelector("img");
  document.querySelectorAll("figure img").forEach(function (image) {
    image.tabIndex = 0;
    function open() { large.src = image.src; large.alt = image.alt; zoom.showModal(); }
    image.addEventListener("click", open);
    image.addEventListener("keydown", function (event) { if (event.key === "Enter") { open(); } });
  });
  zoom.addEventListener("click", function () { zoom.close(); });

  document.querySelectorAll("table.sortable").forEach(function (table) {
    table.querySelectorAll("thead th").forEach(function (head, column) {
      head.addEventListener("click", function () {
        var down = head.getAttribute("aria-sort") === "ascending";
        table.querySelectorAll("th").forEach(function (other) { other.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        var body = table.tBodies[0];
        var rows = Array.from(body.rows);
        function key(row) {
          var cell = row.cells[column];
          var text = cell.dataset.value || cell.textContent.trim();
          var number = parseFloat(text.replace(/[,%<>\s]/g, ""));
          return cell.classList.contains("n") ? (isNaN(number) ? -Infinity : number) : text;
        }
        rows.sort(function (a, b) {
          var x = key(a), y = key(b);
          var order = typeof x === "number" ? (x < y ? -1 : x > y ? 1 : 0) : x.localeCompare(y, "en", { numeric: true });
          return down ? -order : order;
        });
        rows.forEach(function (row) { body.appendChild(row); });
      });
    });
  });

  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details.pages").forEach(function (pages) { pages.open = true; });
  });

  var links = {};
  document.querySelectorAll("nav a").forEach(function (link) { links[link.getAttribute("href").slice(1)] = link; });
  var marks = Object.keys(links).map(function (id) { return document.getElementById(id); }).filter(Boolean);
  function follow() {
    var here = marks[0];
    marks.forEach(function (mark) { if (mark.getBoundingClientRect().top < 120) { here = mark; } });
    Object.keys(links).forEach(function (id) { links[id].classList.toggle("here", id === here.id); });
  }
  document.addEventListener("scroll", follow, { passive: true });
  follow();
})();
