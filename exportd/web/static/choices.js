// What goes into an export: the sensible choice to begin with, and the last one that was made here.

const KEY = "exportd.choices";
const SCALES = "exportd.scales";
const MOST_SCALES = 100;

export const OVERLAY = {
  showNumbers: true,
  polygonColors: { external: "#ff0000", internal: "#0000ff" },
  strokeWidth: 2,
  fontSize: 24,
  transparency: 0.7,
};

// Whatever table of formats the daemon has: its first format, and the first form of metrics.
function sensible(formats) {
  return {
    includeOriginalImages: true,
    includeVisualizations: false,
    annotationFormats: formats.annotations.slice(0, 1).map(({ id }) => id),
    metricsFormats: formats.metrics.slice(0, 1).map(({ id }) => id),
    includeDocumentation: true,
  };
}

export function remembered(projectId, formats) {
  try {
    const { [projectId]: pixelToMicrometerScale } = read(SCALES);
    return known({ ...sensible(formats), ...read(KEY), pixelToMicrometerScale }, formats);
  } catch {
    return sensible(formats);
  }
}

// Images are chosen anew each time. A scale belongs to its project: with another microscope it would be wrong, silently.
export function remember(projectId, { selectedImageIds: _, pixelToMicrometerScale: scale, ...options }) {
  try {
    localStorage.setItem(KEY, JSON.stringify(options));
    const { [projectId]: __, ...others } = read(SCALES);
    const newest = Object.entries(others).slice(1 - MOST_SCALES);
    localStorage.setItem(SCALES, JSON.stringify(Object.fromEntries(scale ? [...newest, [projectId, scale]] : newest)));
  } catch {
    // Storage is off or full: the next export begins with the sensible choice.
  }
}

const read = (key) => JSON.parse(localStorage.getItem(key) ?? "{}");

// Options without formats that this daemon does not have.
export function known(options, formats) {
  const of = (table, ids) => table.filter(({ id }) => ids?.includes(id)).map(({ id }) => id);
  return {
    ...options,
    annotationFormats: of(formats.annotations, options.annotationFormats),
    metricsFormats: of(formats.metrics, options.metricsFormats),
  };
}

export function isNothing(options) {
  return !(options.includeOriginalImages || options.includeVisualizations || options.includeDocumentation
    || options.annotationFormats.length || options.metricsFormats.length);
}

// A name for a request, so that a second try of the same cannot start a second export.
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
