/** Every word that the page says. Another language is another file of this shape. */

const lang = "en";
const number = (value, options) => new Intl.NumberFormat(lang, options).format(value);
const day = new Intl.DateTimeFormat(lang, { day: "numeric", month: "short" });
const moment = new Intl.DateTimeFormat(lang, { day: "numeric", month: "short", hour: "numeric", minute: "2-digit" });
const hour = new Intl.DateTimeFormat(lang, { hour: "numeric", minute: "2-digit" });

/** A number of bytes as people say it. */
export function size(bytes) {
  let unit = 0;
  for (; bytes >= 999.5 && unit < 4; unit++) bytes /= 1000;
  const maximumFractionDigits = unit > 1 && bytes < 100 ? 1 : 0;
  return number(bytes, { style: "unit", unit: ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"][unit], maximumFractionDigits });
}

/** Seconds as a clock shows them: 1:02:03. */
export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds || 0));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (!parts[0]) parts.shift();
  return parts.map((part, place) => (place ? String(part).padStart(2, "0") : part)).join(":");
}

const percent = (value) => number(value / 100, { style: "percent" });
const files = (count) => (count === 1 ? "1 file" : `${number(count)} files`);

export const texts = {
  lang,
  dir: "ltr",
  headline: "Turn videos into MP3s",
  lead: "Drop in your videos and get the sound as MP3 files, checked from beginning to end. Only your account can open them.",

  signIn: "Sign in",
  register: "Create an account",
  signOut: "Sign out",
  email: "Email",
  password: "Password",
  passwordRule: "At least 8 characters.",
  goRegister: "Create account",
  newHere: "New here?",
  known: "Already have an account?",
  expired: "You were signed out because your session ended. Sign in again, and everything goes on where it was.",
  expiredLink: "Your session ended. Open the address that the terminal shows now, and everything goes on where it was.",
  linkUsed: "This address was used already. Open the one that the terminal shows now, or sign in with email and password.",
  wrongLogin: "That email and password don’t go together. Check both and try again.",
  signedOut: "You are signed out.",
  signedIn: "You are signed in.",

  dropLabel: "Add videos",
  dropHere: "Drop videos here",
  choose: "Choose videos",
  limitEach: (bytes) => `Up to ${size(bytes)} each. Audio files work, too.`,
  noLimit: "Audio files work, too.",
  room: (left, limit) => `${size(left)} of your ${size(limit)} are free.`,
  hourly: (left, limit) => `${number(left)} of ${number(limit)} conversions are left this hour.`,
  unfinished: (name) => `“${name}” was not uploaded to its end. Choose it again and it goes on where it stopped.`,

  discard: "Discard it",
  options: "Options",
  sound: "Sound",
  sounds: [
    ["quality=0", "Best (about 245 kbit/s)"],
    ["", "Very good (about 190 kbit/s)"],
    ["quality=4", "Good (about 165 kbit/s)"],
    ["quality=6", "Small (about 115 kbit/s)"],
    ["quality=9", "Speech (about 65 kbit/s)"],
    ...[320, 256, 192, 128, 96, 64].map((rate) => [`bitrate=${rate}`, `Always ${rate} kbit/s`]),
  ],
  start: "From",
  end: "To",
  times: "Minutes and seconds, like 1:30. Leave both empty for all of it.",
  mono: "Mono, for speech",
  loudness: "Even out the loudness (takes longer)",
  defaults: "Reset",
  badTime: "Write a time like 1:30, with the end after the beginning.",
  chosen: ({ sound, from, to, mono, loudness }) =>
    [sound, from || to ? `${from || "0:00"}–${to || "end"}` : "", mono ? "mono" : "", loudness ? "even loudness" : ""].filter(Boolean).join(", "),

  yourFiles: "Your MP3s",
  none: "Your MP3s will show up here.",
  noneFound: "No file has this in its name.",
  search: "Search by name",
  more: "Show more",
  getAll: (count) => `Download all (${number(count)})`,
  notify: "Notify me when done",
  download: "Download",
  downloadOf: (name) => `Download ${name}`,
  playOf: (name) => `Play ${name}`,
  pauseOf: (name) => `Pause ${name}`,
  seekIn: (name) => `Position in ${name}`,
  at: (now, end) => `${clock(now)} of ${clock(end)}`,
  retry: "Try again",
  retryOf: (name) => `Try again: ${name}`,
  cancelOf: (name) => `Cancel ${name}`,
  deleteOf: (name) => `Delete ${name}`,
  removeOf: (name) => `Remove ${name} from the list`,
  undo: "Undo",
  undoOf: (name) => `Undo: keep ${name}`,
  deleted: "Deleted.",
  progressOf: (name) => `Progress of ${name}`,

  checking: "Looking at the file…",
  waiting: "Waiting for its turn to upload",
  uploading: (done, total, speed, left) =>
    [`Uploading ${percent(Math.floor((done / total) * 100))}`, speed && `${size(speed)}/s`, left > 0 && `${clock(left)} left`].filter(Boolean).join(" · "),
  uploaded: "Uploaded",
  interrupted: (seconds) => `The connection is gone. Trying again ${seconds > 1 ? `in ${seconds} s` : "now"}; nothing is lost.`,
  heldBack: (detail, when) => `${detail} Goes on by itself at ${hour.format(when)}.`,
  signInFirst: "Goes on when you have signed in.",
  queued: "Waiting to be converted",
  phases: { starting: "Starting", fetching: "Starting", encoding: "Converting", storing: "Almost done" },
  converting: (phase, value) => `${texts.phases[phase] ?? "Converting"} ${value ? percent(value) : "…"}`.replace(" …", "…"),
  ready: (job) =>
    [job.duration_seconds && clock(job.duration_seconds), job.size_bytes && size(job.size_bytes), moment.format(new Date(job.created))].filter(Boolean).join(" · "),
  readyUntil: (job) => (job.expires ? `Kept until ${day.format(new Date(job.expires))}` : ""),
  omitted: { tags: "without some tags", chapters: "without its chapters", cover: "without its cover" },
  cancelled: "Cancelled",
  expiredJob: "No longer kept",
  failed: "This did not work.",
  advice: {
    no_audio: "Choose a video with sound.",
    no_track: "Choose another track or none.",
    unreadable: "Check that it plays, or save it as MP4 and try that.",
    too_long: "Choose a shorter part under Options.",
    encrypted: "Use a copy without protection.",
    empty_range: "Change the times under Options and add it again.",
    gave_up: "Save it as MP4 and try that.",
  },

  empty: "This file is empty. Choose another one.",
  unreadableFile: "This file could not be read. If it was moved or changed, choose it again.",
  tooLarge: (bytes, limit) => `This file has ${size(bytes)}, and ${size(limit)} is the most. Shorten or compress it first.`,
  noRoom: (bytes, left) => `This file has ${size(bytes)}, and ${size(Math.max(0, left))} of your room are left. Delete some files first.`,
  notMedia: (what) => `This is ${what}, not a video. Choose a video or audio file.`,
  kinds: { archive: "an archive (unpack it first)", picture: "a picture", document: "a document", program: "a program", text: "text" },
  silent: "This video has no sound, so there is nothing to make an MP3 of. Choose another one.",

  offline: "The server can’t be reached. This page tries again by itself.",
  reload: "A part of this page could not be loaded. Load the page again, and then choose your files.",
  emptyFolder: "There are no files in this folder.",
  unreadFolder: "This folder could not be read. Choose the files in it instead.",
  unexpected: "Something went wrong. Please try again.",
  playFailed: "This can’t be played right now. Please try again.",

  saidAdded: (count) => `${files(count)} added.`,
  saidUploaded: (name) => `${name} is uploaded.`,
  saidReady: (name) => `${name} is ready.`,
  saidFailed: (name, why) => `${name}: ${why}`,
  saidDeleted: (name) => `${name} is deleted. Undo is possible for a few seconds.`,
  saidFound: (count, more) => (more ? `More than ${files(count)} found.` : `${files(count)} found.`),
  title: "video2mp3",
  titleRunning: (value) => `${percent(value)} · video2mp3`,
  titleReady: (count) => `✓ ${number(count)} ready · video2mp3`,
  notifyReady: "Your MP3 is ready",
  notifyFailed: "A video could not be converted",
};
