// What people read: times, days, counts.

const LOCALE = navigator.language.startsWith("en") ? navigator.language : "en-GB";
const DAY = 86_400_000;

const clock = new Intl.DateTimeFormat(LOCALE, { hour: "numeric", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat(LOCALE, { weekday: "long" });
const date = new Intl.DateTimeFormat(LOCALE, { weekday: "long", day: "numeric", month: "long" });
const dateWithYear = new Intl.DateTimeFormat(LOCALE, { dateStyle: "long" });
const shortDate = new Intl.DateTimeFormat(LOCALE, { dateStyle: "short" });
const complete = new Intl.DateTimeFormat(LOCALE, { dateStyle: "full", timeStyle: "medium" });

const MARKS = {
  waiting: "Waiting to be sent",
  stored: "Sent",
  received: "Received",
  failed: "Not sent",
};

/** How a mark is read out. @param {keyof typeof MARKS} mark */
export function markName(mark) {
  return MARKS[mark];
}

/** @param {number} at */
export function timeOf(at) {
  return clock.format(at);
}

/** The whole of it, to point at. @param {number} at */
export function momentOf(at) {
  return complete.format(at);
}

/** A key that is the same for all times of one day. @param {number} at */
export function dayOf(at) {
  const day = new Date(at);
  return `${day.getFullYear()}-${day.getMonth() + 1}-${day.getDate()}`;
}

/** @param {number} at @param {number} [now] */
export function dayName(at, now = Date.now()) {
  const days = daysBetween(at, now);
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  const sameYear = new Date(at).getFullYear() === new Date(now).getFullYear();
  return (sameYear ? date : dateWithYear).format(at);
}

/** As short as it can be told. @param {number} at @param {number} [now] */
export function whenOf(at, now = Date.now()) {
  const days = daysBetween(at, now);
  if (days === 0) return timeOf(at);
  if (days === 1) return "Yesterday";
  return (days > 1 && days < 7 ? weekday : shortDate).format(at);
}

/** @param {number} count @param {string} noun */
export function counted(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

const ONLY_EMOJI = /^(?:(?![\d#*])[\p{Extended_Pictographic}\p{Emoji_Component}])+$/u;

/** True for a few emoji and nothing else: they are shown large. @param {string} text */
export function isEmoji(text) {
  return text.length <= 24 && ONLY_EMOJI.test(text.replaceAll(" ", ""));
}

/** Whole days, by the calendar of this place. @param {number} at @param {number} now */
function daysBetween(at, now) {
  return Math.round((new Date(now).setHours(0, 0, 0, 0) - new Date(at).setHours(0, 0, 0, 0)) / DAY);
}
