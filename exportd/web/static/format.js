// Numbers, sizes and times as people read them. Pure functions.

const number = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat("en", { day: "numeric", month: "short" });
const exact = new Intl.DateTimeFormat("en", {
  day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
  fractionalSecondDigits: 3, hourCycle: "h23",
});

const precise = new Intl.DateTimeFormat("en", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23",
});

const SHORT = 18; // letters

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

export const plain = (value) => number.format(value);

export function count(value, one, many = `${one}s`) {
  return `${plain(value)} ${value === 1 ? one : many}`;
}

export function bytes(value) {
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit > 0 && value < 99.5 ? 1 : 0;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

// "8 s", "2 min 5 s", "3 h 20 min", "2 d": as exact as it matters.
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 600) return whole % 60 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${whole / 60} min`;
  const minutes = Math.round(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 && hours < 10 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.round(hours / 24)} d`;
}

// With the digits that a short time has.
export function exactDuration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  return seconds < 10 ? `${seconds.toFixed(1)} s` : duration(seconds);
}

// The clock for today, with the date for any other day.
export function moment(iso, now = new Date()) {
  const time = new Date(iso);
  const today = time.toDateString() === now.toDateString();
  return today ? clock.format(time) : `${day.format(time)}, ${clock.format(time)}`;
}

export const exactly = (iso) => exact.format(new Date(iso));

// The same without the date when it is that of `before`.
export function exactlyAfter(before, iso) {
  const [earlier, time] = [new Date(before), new Date(iso)];
  return earlier.toDateString() === time.toDateString() ? precise.format(time) : exact.format(time);
}

export function ago(iso, now = Date.now()) {
  const seconds = (now - Date.parse(iso)) / 1000;
  return seconds < 45 ? "just now" : `${duration(Math.round(seconds / 60) * 60)} ago`;
}

// How many a second, without digits that mean nothing.
export function rate(value) {
  return value < 9.5 ? value.toFixed(1) : plain(Math.round(value));
}

// What stands in one line; where it has to be broken, short parts stay whole.
export const parts = (...values) => values.filter(Boolean)
  .map((value) => (value.length < SHORT ? value.replaceAll(" ", "\u00a0") : value)).join(" · ");

export const remaining = (seconds) => (seconds < 2 ? "almost done" : `about ${duration(seconds)} left`);
