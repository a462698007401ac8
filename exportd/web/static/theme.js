// Runs before anything is drawn, so that no page flashes in the other theme. No module: those wait for the document.
try {
  document.documentElement.dataset.theme = localStorage.getItem("exportd.theme") ?? "auto";
} catch {
  // Storage is off: the system's theme it is.
}
