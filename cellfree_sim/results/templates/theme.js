"use strict";
// Runs before the page is drawn, so that it never flashes in the other theme.
try {
  const kept = localStorage.getItem("cellfree-theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
} catch { /* a browser may keep nothing for files */ }
