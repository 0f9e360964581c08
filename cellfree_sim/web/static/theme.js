// Light or dark before anything is drawn: as chosen on this page before, else as the system says.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("cellfree-theme");
  } catch {
    // storage is switched off: the system decides
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
